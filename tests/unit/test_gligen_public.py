"""GLIGEN's checkpoints in each public form, and parity with diffusers' own gated UNet on the same weights."""

from __future__ import annotations

import pickle
import sys
import types

import pytest
import torch
from diffusers.models.attention import GatedSelfAttentionDense
from diffusers.models.embeddings import GLIGENTextBoundingboxProjection
from gligen_parts import CONFIG, LAYOUT, OTHER, awake, gated_unet
from ldm_layout import unet_key
from public_layouts import checkpoint
from safetensors.torch import save_file
from tiny import tiny_pipeline, tiny_unet

from radl_bench.errors import BadInput, MissingWeights
from radl_model.adapters.adapter import FusionAdapter
from radl_model.checkpoints.adapters import load_adapter, save_adapter
from radl_model.checkpoints.public import read_public
from radl_model.gligen.adapter import GligenAdapter, block_sizes
from radl_model.gligen.config import GligenConfig
from radl_model.gligen.keys import is_base_key, our_key, public_key
from radl_model.gligen.layers import GatedSelfAttention, PositionNet, attention_arguments
from radl_model.gligen.public import load_gligen, read_gligen, weight_file

V1 = {
    "block_out_channels": (8, 8, 16, 16),
    "norm_num_groups": 4,
    "layers_per_block": 2,
    "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
    "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
}
"""Stable Diffusion v1's blocks, narrow."""


@pytest.fixture(autouse=True)
def home(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("RADL_BENCH_HOME", str(tmp_path_factory.mktemp("home")))


# Parity


def random_(module, seed=0):
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(torch.randn(p.shape, generator=rng) * 0.3)
    return module


def test_the_position_net_is_diffusers():
    theirs = random_(GLIGENTextBoundingboxProjection(24, 24)).eval()
    ours = PositionNet(24, 8, 512)
    ours.load_state_dict(theirs.state_dict())
    texts, boxes = torch.randn(2, 5, 24), torch.rand(2, 5, 4)
    masks = torch.tensor([[1.0, 1, 0, 0, 0], [1, 1, 1, 1, 1]])
    want = theirs(boxes, masks, texts)
    assert torch.allclose(ours(texts, boxes, masks.bool()), want, atol=1e-5)


@pytest.mark.parametrize(("channels", "heads"), [(16, 4), (40, 8)])
def test_the_gated_layer_is_diffusers(channels, heads):
    theirs = random_(GatedSelfAttentionDense(channels, 24, heads, channels // heads)).eval()
    ours = GatedSelfAttention(channels, heads, 24)
    ours.load_state_dict(theirs.state_dict())
    x, tokens = torch.randn(2, 9, channels), torch.randn(2, 5, 24)
    assert torch.allclose(ours(x, ours.slots(tokens), torch.ones(2, 1, 1)), theirs(x, tokens), atol=1e-5)


def grounded_pair(gated, plain, adapter, rows=2, slots=4):
    """Outputs of diffusers' gated UNet, and of the plain one with the adapter, on the same random inputs."""
    torch.manual_seed(7)
    text_dim = plain.config.cross_attention_dim
    texts, boxes = torch.randn(rows, slots, text_dim), torch.rand(rows, slots, 4)
    valid = torch.tensor([[False] * slots, [True] * (slots - 1) + [False]])
    call = (torch.randn(rows, 4, 16, 16), torch.tensor(500), torch.randn(rows, 7, text_dim))
    theirs = {"gligen": {"boxes": boxes, "masks": valid.float(), "positive_embeddings": texts}}
    with torch.no_grad():
        want = gated(*call, cross_attention_kwargs=theirs).sample
        adapter.attach(plain)
        ours = plain(*call, cross_attention_kwargs=attention_arguments(adapter.ground(texts, boxes, valid))).sample
        off = plain(*call).sample
        assert torch.equal(off, gated(*call).sample)
    assert (want - off).abs().max() > 1e-2
    return ours, want


def plain_of(gated, **changes):
    """The base that diffusers' gated UNet was made of."""
    plain = tiny_unet(**changes)
    own = {k: v for k, v in gated.state_dict().items() if ".fuser." not in k and not k.startswith("position_net.")}
    plain.load_state_dict(own)
    return plain


@pytest.mark.parametrize("changes", [{}, V1], ids=["tiny", "v1"])
def test_diffusers_folder_has_the_same_output(tmp_path, changes):
    gated = gated_unet(**changes)
    gated.save_pretrained(tmp_path / "pipeline" / "unet")
    plain = plain_of(gated, **changes)
    for place in (tmp_path / "pipeline", tmp_path / "pipeline" / "unet"):
        adapter = load_gligen(place, plain)
        ours, want = grounded_pair(gated, plain, adapter)
        assert torch.allclose(ours, want, atol=1e-5)
    assert adapter.settings == GligenConfig()


# The published file


def original(gated):
    return {k if k.startswith("position_net.") else unet_key(k): v for k, v in gated.state_dict().items()}


def fake_omegaconf(monkeypatch):
    """Classes by the names that the published file pickles, with code that must never run."""
    made = {}
    for name in ("omegaconf", "omegaconf.dictconfig", "omegaconf.nodes", "omegaconf.base"):
        made[name] = types.ModuleType(name)
        monkeypatch.setitem(sys.modules, name, made[name])
    for module, own in (("dictconfig", "DictConfig"), ("nodes", "AnyNode"), ("base", "ContainerMetadata")):
        cls = type(own, (), {"__module__": f"omegaconf.{module}", "__qualname__": own})
        cls.__setstate__ = lambda self, state: pytest.fail("a class of the file was run")
        setattr(made[f"omegaconf.{module}"], own, cls)
    node = made["omegaconf.nodes"].AnyNode()
    node.value = 3
    config = made["omegaconf.dictconfig"].DictConfig()
    config.content = {"steps": node}
    return config


def published(gated, monkeypatch):
    tables = {name: {"weight": torch.zeros(2)} for name in ("autoencoder", "text_encoder", "diffusion")}
    return {
        "model": original(gated),
        **tables,
        "config_dict": {"_content": fake_omegaconf(monkeypatch), "_parent": None},
    }


def test_the_published_pickle_has_the_same_output_and_runs_no_code(tmp_path, monkeypatch):
    gated, file = gated_unet(**V1), tmp_path / "diffusion_pytorch_model.bin"
    torch.save(published(gated, monkeypatch), file)
    plain = plain_of(gated, **V1)
    adapter = load_gligen(file, plain)
    ours, want = grounded_pair(gated, plain, adapter)
    assert torch.allclose(ours, want, atol=1e-5)
    assert len(adapter.named_layers()) == 16


def test_a_file_with_just_the_layers_and_half_precision(tmp_path):
    gated, file = gated_unet(**V1), tmp_path / "pruned.safetensors"
    kept = {k: v.half().contiguous() for k, v in original(gated).items() if ".fuser." in k or k.startswith("position")}
    save_file(kept, file)
    adapter = load_gligen(file, tiny_unet(**V1))
    assert {p.dtype for p in adapter.parameters()} == {torch.float32}
    for key, value in adapter.state_dict().items():
        assert torch.equal(value.half(), kept[public_key(key, original=True)])


def test_anything_else_in_a_pickle_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return (print, ("run",))

    file = tmp_path / "evil.bin"
    torch.save({"model": original(gated_unet(**V1)), "config_dict": Evil()}, file)
    with pytest.raises(BadInput, match="holds more than tensors"):
        load_gligen(file, tiny_unet(**V1))


def test_what_is_allowed_for_one_file_is_not_for_the_next(tmp_path, monkeypatch):
    file = tmp_path / "file.bin"
    torch.save(published(gated_unet(**V1), monkeypatch), file)
    before = set(torch.serialization.get_safe_globals())  # torch keeps a set, whose order changes
    load_gligen(file, tiny_unet(**V1))
    assert set(torch.serialization.get_safe_globals()) == before
    with pytest.raises(pickle.UnpicklingError, match="omegaconf"):
        torch.load(file, weights_only=True)


def test_names_map_both_ways():
    gated = gated_unet(**V1)
    own = [k for k in gated.state_dict() if ".fuser." in k or k.startswith("position_net.")]
    for key in own:
        assert public_key(our_key(key)) == key
        first = key if key.startswith("position_net.") else unet_key(key)
        assert public_key(our_key(key), original=True) == first
        assert our_key(first) == our_key(key)
    assert sorted(map(our_key, own)) == sorted(GligenAdapter.from_unet(tiny_unet(**V1)).state_dict())


def test_every_weight_of_a_base_is_known_and_no_other_name():
    for key in tiny_unet(**V1).state_dict():
        assert is_base_key(key), key
        assert is_base_key(unet_key(key)), key
        assert is_base_key(f"model.diffusion_model.{unet_key(key)}")
    assert not is_base_key("mid_block.attentions.0.transformer_blocks.0.attn2.processor.migc.norm.weight")
    assert not is_base_key("downsample_net.layers.0.weight")


# Damage


def damaged(change, tmp_path, **base):
    """Read a checkpoint after `change` of its table."""
    state, file = original(gated_unet(**V1)), tmp_path / "file.bin"
    torch.save({"model": change(dict(state))}, file)
    heads = {name: size["heads"] for name, size in block_sizes(tiny_unet(**(base or V1))).items()}
    return read_gligen(file, heads)


def without(part):
    return lambda state: {k: v for k, v in state.items() if part not in k}


def changed(key, value):
    return lambda state: {**state, key: value(state[key]) if callable(value) else value}


ONE = "middle_block.1.transformer_blocks.0.fuser.linear.weight"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (without("output_blocks"), "no gated layer for the block up_blocks.1.attentions.0.transformer_blocks.0"),
        (without("middle_block.1.transformer_blocks.0.fuser"), "no gated layer for the block mid_block.attentions.0"),
        (without("fuser.norm2"), r"fuser\.norm2\.weight is missing"),
        (without("fuser.alpha_dense"), r"fuser\.alpha_dense is missing"),
        (without("position_net"), r"position_net\.linears\.0\.weight is missing"),
        (without("fuser"), "no gated layer for the block"),
        (lambda s: without("fuser")(without("position_net")(s)), "is none of GLIGEN"),
        (changed(ONE, lambda v: v[:, :4]), "has the shape"),
        (changed(ONE, lambda v: v * torch.nan), "not finite"),
        (changed("colour.weight", torch.zeros(2)), "The key colour.weight is unknown"),
        (changed("middle_block.1.transformer_blocks.0.fuser.colour", torch.zeros(2)), r"fuser\.colour is unknown"),
        (changed("position_net.linears_text.0.weight", torch.zeros(2)), r"linears_text\.0\.weight is unknown"),
        (changed("input_blocks.0.0.weight", torch.zeros(8, 9, 3, 3)), "It is the inpainting model"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, change, words):
    with pytest.raises(BadInput, match=words):
        damaged(change, tmp_path)


def test_a_checkpoint_for_another_shape_of_base(tmp_path):
    with pytest.raises(BadInput, match="is none that this base has"):
        damaged(lambda state: state, tmp_path, layers_per_block=1)


def test_what_was_left_out_is_noted(tmp_path):
    made = damaged(lambda state: state, tmp_path)
    count = len(tiny_unet(**V1).state_dict())
    assert made.notes == (f"{count} weights of the base's UNet were left out; the base runs with its own.",)


def test_checkpoints_of_other_methods_and_theirs_of_ours(tmp_path):
    unet = tiny_unet()
    torch.save(checkpoint("migc", {"middle_block.1": 32, "output_blocks.3.1": 32}, 32), tmp_path / "migc.ckpt")
    with pytest.raises(BadInput, match="is none of GLIGEN"):
        load_gligen(tmp_path / "migc.ckpt", unet)
    save_adapter(FusionAdapter.from_unet(unet), tmp_path / "radl")
    with pytest.raises(BadInput, match="holds layers of RaDL or MIGC; wanted here: layers of GLIGEN"):
        load_gligen(tmp_path / "radl", unet)
    save_adapter(awake(unet), tmp_path / "gligen")
    with pytest.raises(BadInput, match="holds layers of GLIGEN; wanted here: layers of RaDL or MIGC"):
        load_adapter(tmp_path / "gligen")
    save_file(original(gated_unet(**V1)), tmp_path / "gligen.safetensors")
    with pytest.raises(BadInput, match="run it with the method gligen"):
        read_public(tmp_path / "gligen.safetensors")


def test_a_place_without_weights(tmp_path):
    with pytest.raises(MissingWeights, match="no weights of GLIGEN"):
        weight_file(tmp_path)
    with pytest.raises(MissingWeights, match="There is no checkpoint"):
        read_gligen(tmp_path / "file.bin", {})


# Its own folder


@pytest.mark.parametrize("half", [True, False])
def test_round_trip_of_its_own_folder(tmp_path, half):
    unet = tiny_unet()
    adapter = awake(unet)
    save_adapter(adapter, tmp_path, half=half)
    loaded = load_gligen(tmp_path, unet)
    assert loaded.settings == CONFIG
    for (name, a), (_, b) in zip(adapter.named_parameters(), loaded.named_parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-6 if half else 0, rtol=1e-3 if half else 0), name


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sizes": 1}, "sizes must be a table"),
        ({"sizes": {"mid": {"channels": 3, "heads": 2}}}, "it must state channels"),
        ({"text_dim": 0}, "text_dim must be a whole number"),
        ({"gligen": 1}, "gligen must be a table"),
        ({"gligen": {"colour": 1}}, "Unknown setting of GLIGEN 'colour'"),
    ],
)
def test_a_configuration_that_is_none_is_a_clear_error(tmp_path, changes, words):
    import json

    save_adapter(awake(tiny_unet()), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, **changes}))
    with pytest.raises(BadInput, match=f"cannot be read.*{words}"):
        load_gligen(tmp_path, tiny_unet())


# The method


@pytest.fixture
def place(tmp_path):
    """A base with GLIGEN's layers in its folder."""
    pipe = tiny_pipeline()
    pipe.save_pretrained(tmp_path / "base")
    save_adapter(awake(pipe.unet), tmp_path / "base" / "gligen")
    return tmp_path / "base"


def samples():
    from radl_bench.types import Instance, Sample

    return [
        Sample(f"s{i}", layout.prompt, tuple(
            Instance(p, p.split()[-1], None, box) for p, box in zip(layout.phrases, layout.boxes, strict=True)
        ), ())
        for i, layout in enumerate((LAYOUT, OTHER))
    ]  # fmt: skip


def test_the_method_draws_and_states_its_settings(place):
    from radl_bench.generators.gligen import GligenGenerator
    from radl_bench.generators.stable_diffusion import StableDiffusionGenerator

    numbers = {"num_inference_steps": 4, "scheduler": "base"}
    method = GligenGenerator(str(place), "cpu", **numbers)
    plain = StableDiffusionGenerator(str(place), "cpu", **numbers)
    drawn, text = (m.generate(samples(), [1, 2]) for m in (method, plain))
    assert method.params["active_fraction"] == CONFIG.active_fraction
    assert method.params["adapter"] == CONFIG.to_dict()
    assert method.params["recipe"] == "unified"
    assert all(a.tobytes() != b.tobytes() for a, b in zip(drawn, text, strict=True))
    off = GligenGenerator(str(place), "cpu", active_fraction="0", **numbers)
    assert [i.tobytes() for i in off.generate(samples(), [1, 2])] == [i.tobytes() for i in text]
    faded = GligenGenerator(str(place), "cpu", ramp="0.5", **numbers)
    assert faded.params["adapter"]["ramp"] == 0.5
    assert faded.generate(samples(), [1, 2])[0].tobytes() != drawn[0].tobytes()
    assert len({m.revision for m in (method, plain)}) == 2


def test_the_official_recipe(place):
    from radl_bench.generators.gligen import GligenGenerator

    method = GligenGenerator(str(place), "cpu", recipe="official")
    own = {k: method.params[k] for k in ("num_inference_steps", "scheduler", "guidance_scale", "active_fraction")}
    assert own == {"num_inference_steps": 50, "scheduler": "pndm", "guidance_scale": 7.5, "active_fraction": 0.3}
    assert method.params["negative_prompt"].startswith("longbody, lowres")
    assert GligenGenerator(str(place), "cpu", recipe="official", active_fraction=1).params["active_fraction"] == 1


def test_what_was_fetched_belongs_to_sd14(home):
    from radl_bench.downloads.fetch import find as item
    from radl_bench.generators.gligen import find
    from radl_model.home import data_home

    folder = item("gligen").folder
    assert folder == data_home() / "weights" / "gligen"
    (folder / "unet").mkdir(parents=True)
    (folder / "unet" / "config.json").write_text('{"_class_name": "UNet2DConditionModel"}')
    with pytest.raises(MissingWeights, match="radl-bench fetch gligen"):
        find("sd14", None)  # without its record the folder is not complete
    (folder / "SOURCE.json").write_text("{}")
    assert find("sd14", None) == folder / "unet"


def test_a_gligen_pipeline_is_base_and_layers_in_one(tmp_path):
    from radl_bench.generators.gligen import GligenGenerator

    pipe = tiny_pipeline()
    pipe.unet = gated_unet()
    pipe.save_pretrained(tmp_path / "pipeline")
    method = GligenGenerator(str(tmp_path / "pipeline"), "cpu")
    assert len(method.adapter.named_layers()) == 4
    tiny_pipeline().save_pretrained(tmp_path / "base")
    with pytest.raises(MissingWeights, match="radl-bench fetch gligen"):
        GligenGenerator(str(tmp_path / "base"), "cpu")
    other = GligenGenerator(str(tmp_path / "base"), "cpu", adapter=str(tmp_path / "pipeline"))
    assert torch.equal(
        other.adapter.fusers.state_dict()["mid_block-attentions-0-transformer_blocks-0.alpha_attn"], torch.tensor(0.8)
    )
