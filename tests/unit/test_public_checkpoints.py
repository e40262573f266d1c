"""Public checkpoints of MIGC, MIGC++ and RaDL: modes from shapes, every key accounted for, converted once."""

from __future__ import annotations

import json
import os
from dataclasses import replace

import pytest
import torch
from public_layouts import DIFFUSERS, SD_BLOCKS, TINY_BLOCKS, checkpoint, shapes
from safetensors.torch import save_file
from tiny import tiny_unet

from radl_bench.errors import BadInput, MissingWeights, UsageError
from radl_model.checkpoints.adapters import load_adapter, save_adapter
from radl_model.checkpoints.public import SD_LAYERS, convert_public, read_public
from radl_model.checkpoints.public_keys import split_key
from radl_model.layers.variants import MIGC, MIGC_PLUS, RELEASE

WIDTHS = dict(zip(TINY_BLOCKS, (64, 32, 32), strict=True))
LAYERS = tuple(DIFFUSERS[block] for block in TINY_BLOCKS)
SMALL = {"position_hidden": 16}


def table(kind):
    made = checkpoint(kind, WIDTHS, d=32, hidden=16)
    return made, made.get("state_dict", made)


@pytest.fixture
def write(tmp_path):
    def write(content, name="weights.ckpt"):
        torch.save(content, tmp_path / name)
        return tmp_path / name

    return write


@pytest.mark.parametrize(
    ("kind", "name", "config"), [("migc", "MIGC", MIGC), ("migc++", "MIGC++", MIGC_PLUS), ("radl", "RaDL", RELEASE)]
)
def test_kind_and_settings_follow_from_keys_and_shapes(write, kind, name, config):
    made = read_public(write(table(kind)[0]), layers=LAYERS)
    assert made.kind == name
    assert made.adapter.fusion_config == replace(config, **SMALL)
    made.adapter.attach(tiny_unet(attention_head_dim=8))


def test_every_weight_lands_where_it_belongs(write):
    made, tensors = table("radl")
    adapter = read_public(write(made), layers=LAYERS).adapter
    layer = dict(adapter.named_layers())["up_blocks.1.attentions.1.transformer_blocks.0.attn2"]
    prefix = "model.diffusion_model.output_blocks.4.1.transformer_blocks.0.attn2.radl."
    for ours, public in {
        "instance.attention.to_v.weight": "ea.to_v.weight",
        "layout.to_out.0.bias": "la.to_out.0.bias",
        "relation.to_k.weight": "vca.vca.to_k.weight",
        "instance.position.mlp.2.bias": "pos_net.linears_position.2.bias",
        "fusion.cbam1.channel.2.weight": "sac.cbam1.ChannelGate.mlp.3.weight",
        "fusion.cbam2.spatial.weight": "sac.cbam2.SpatialGate.spatial.conv.weight",
        "norm.weight": "norm.weight",
    }.items():
        assert torch.equal(layer.state_dict()[ours], tensors[prefix + public]), ours
    assert torch.equal(layer.fusion.conv1.weight, tensors[prefix + "sac.conv1.weight"][:, :, 0, 0])


def test_what_is_not_read_and_what_was_chosen_is_said(write):
    notes = " ".join(read_public(write(table("radl")[0]), layers=LAYERS).notes)
    assert "9 keys that no layer reads" in notes
    assert "Keys of 64 are read as channel_pooled" in notes
    assert "context=channel_tokens" in notes
    file = write(table("radl")[0])
    asked = read_public(file, layers=LAYERS, context="channel_tokens")
    assert asked.adapter.fusion_config.context == "channel_tokens"
    with pytest.raises(UsageError, match="context=token does not fit keys of 64"):
        read_public(file, layers=LAYERS, context="token")


def rename(tensors, old, new):
    key = next(k for k in tensors if old in k)
    tensors[key.replace(old, new)] = tensors.pop(key)


DAMAGE = {
    "an unknown key in a module": (lambda t: rename(t, "migc.la.to_q", "migc.ae.query"), r"ae\.query\.weight of .* is"),
    "a missing key": (lambda t: t.pop(next(k for k in t if "conv2.bias" in k)), r"fusion\.conv2\.bias .* is missing"),
    "an unknown key outside": (lambda t: t.update({"cond_stage.x": torch.ones(1)}), r"key cond_stage\.x is unknown"),
    "another shape": (
        lambda t: t.update({next(k for k in t if "norm.bias" in k): torch.ones(3)}), r"shape \(3,\), not \(64,\)"
    ),
    "a missing layer": (
        lambda t: [t.pop(k) for k in list(t) if "output_blocks.4" in k],
        r"no module for the layer up_blocks\.1\.attentions\.1",
    ),
    "a layer too many": (lambda t: rename(t, "output_blocks.4.1", "output_blocks.8.1"), r"up_blocks\.2\.attentions\.2"),
    "a deciding key missing": (lambda t: t.pop(next(k for k in t if "ea.to_k" in k)), r"ea\.to_k\.weight is missing"),
    "no module": (lambda t: [t.clear(), t.update({"a.b": torch.ones(1)})], "none of MIGC"),
    "odd keys": (
        lambda t: t.update({k: torch.ones(v.shape[0], 33) for k, v in t.items() if "ea.to_k" in k}), "neither the text"
    ),
}  # fmt: skip


NO_WEIGHTS = {
    "NaN": lambda v: torch.full_like(v, torch.nan),
    "infinite": lambda v: torch.full_like(v, -torch.inf),
    "complex": lambda v: v.to(torch.complex64),
    "whole": lambda v: v.long(),
    "bool": lambda v: v > 0,
    "sparse": lambda v: v.to_sparse(),
    "meta": lambda v: v.to("meta"),
}


@pytest.mark.parametrize("kind", NO_WEIGHTS)
def test_tensors_that_are_no_weights_are_refused_by_name(write, kind):
    made, tensors = table("migc")
    key = next(k for k in tensors if k.endswith("ea.to_k.weight"))
    tensors[key] = NO_WEIGHTS[kind](tensors[key])
    words = {"NaN": "not finite", "infinite": "not finite", "complex": "is of complex64", "whole": "is of int64"}
    words |= {"bool": "is of bool", "sparse": "not a dense tensor", "meta": "a meta tensor"}
    with pytest.raises(BadInput, match=rf"ea\.to_k\.weight of .* {words[kind]}"):
        read_public(write(made), layers=LAYERS)


@pytest.mark.parametrize("case", DAMAGE)
def test_a_checkpoint_that_does_not_fit_is_refused_with_a_sentence(write, case):
    break_it, sentence = DAMAGE[case]
    made, tensors = table("migc")
    break_it(tensors)
    with pytest.raises(BadInput, match=sentence):
        read_public(write(made), layers=LAYERS)


def test_unknown_keys_outside_the_modules_can_be_left_out(write):
    made, tensors = table("migc")
    tensors["cond_stage.x"] = torch.ones(1)
    notes = read_public(write(made), layers=LAYERS, allow_unknown=True).notes
    assert "1 unknown keys were left out, the first of them cond_stage.x." in notes


class Trap:
    """Unpickling it would run a command."""

    def __reduce__(self):
        return os.system, ("exit 1",)


def test_broken_files_are_sentences_and_run_no_code(tmp_path, write):
    with pytest.raises(MissingWeights, match="no checkpoint at"):
        read_public(tmp_path / "none.ckpt")
    with pytest.raises(BadInput, match="holds more than tensors"):
        read_public(write({"state_dict": {"x": Trap()}}))
    (tmp_path / "text.ckpt").write_text("not a checkpoint")
    with pytest.raises(BadInput, match="holds more than tensors, or is not a checkpoint"):
        read_public(tmp_path / "text.ckpt")
    whole = write(table("migc")[0]).read_bytes()
    (tmp_path / "short.ckpt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadInput, match="cut short"):
        read_public(tmp_path / "short.ckpt")
    (tmp_path / "short.safetensors").write_bytes(b"12345678")
    with pytest.raises(BadInput, match="cut short"):
        read_public(tmp_path / "short.safetensors")
    with pytest.raises(BadInput, match="not a table"):
        read_public(write([1, 2]))


def test_it_is_converted_once_into_the_users_folder(tmp_path, write, monkeypatch):
    monkeypatch.setenv("RADL_BENCH_HOME", str(tmp_path / "home"))
    made, tensors = table("migc")
    file = write(made)
    folder = convert_public(file, layers=LAYERS)
    assert folder.parent == tmp_path / "home" / "adapters"
    assert sorted(p.name for p in folder.iterdir()) == [
        "config.json", "diffusion_pytorch_model.safetensors", "source.json"
    ]  # fmt: skip
    source = json.loads((folder / "source.json").read_text())
    assert source["kind"] == "MIGC"
    assert source["file"] == "weights.ckpt"
    stamp = (folder / "config.json").stat().st_mtime_ns
    assert convert_public(file, layers=LAYERS) == folder
    assert (folder / "config.json").stat().st_mtime_ns == stamp
    loaded = load_adapter(folder, tiny_unet(attention_head_dim=8))
    direct = read_public(file, layers=LAYERS).adapter
    assert all(torch.equal(v, direct.state_dict()[k]) for k, v in loaded.state_dict().items())
    # Other contents are another folder, and a half-written one is made anew.
    tensors[next(iter(tensors))].add_(1)
    assert convert_public(write(made), layers=LAYERS) != folder
    (folder / "source.json").unlink()
    torch.save(table("migc")[0], file)
    assert convert_public(file, layers=LAYERS) == folder
    assert not list(folder.parent.glob(".*"))


def test_safetensors_and_half_precision_do_as_well(tmp_path):
    tensors = {k: v.half().contiguous() for k, v in table("migc++")[1].items()}
    save_file(tensors, tmp_path / "weights.safetensors")
    adapter = read_public(tmp_path / "weights.safetensors", layers=LAYERS).adapter
    save_adapter(adapter, tmp_path / "own")
    loaded = load_adapter(tmp_path / "own")
    assert loaded.fusion_config.fusion == "refined"
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}


def test_a_cache_that_cannot_be_written_is_a_sentence(tmp_path, write, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("RADL_BENCH_HOME", str(tmp_path / "file"))
    with pytest.raises(UsageError, match="Set RADL_BENCH_HOME"):
        convert_public(write(table("migc")[0]), layers=LAYERS)


@pytest.mark.parametrize(
    ("kind", "count", "mebibytes"), [("migc", 14_341_977, 218.84), ("migc++", 12_494_760, 190.65), ("radl", None, None)]
)
def test_full_size_layouts_have_the_published_sizes_and_load(kind, count, mebibytes):
    """Sizes of the public files (218.8 and 190.65 MiB for four modules of width 1280); no memory is taken."""
    names = {n: s for n, s in shapes(kind, 1280, 768).items() if "text_encoder" not in n}
    numbers = sum(int(torch.tensor(s).prod()) for s in names.values())
    if count is not None:
        assert numbers == count
        assert numbers * 16 / 2**20 == pytest.approx(mebibytes, abs=0.006)
    else:
        assert 330 <= numbers * 16 / 2**20 <= 354
    from radl_model.checkpoints.public import _fill
    from radl_model.checkpoints.public_keys import infer

    with torch.device("meta"):
        module = {n: torch.empty(s) for n, s in names.items() if "verb_embedding" not in n}
    modules = {f"{layer}.transformer_blocks.0.attn2": module for layer in SD_LAYERS}
    adapter, problems = _fill(modules, {name: infer(module, "x", None) for name in modules})
    assert problems == []
    assert adapter.parameter_count() == 4 * sum(v.numel() for v in module.values())
    assert len(SD_BLOCKS) == len(adapter.layers) == 4
    assert dict(adapter.config.sizes)[f"{SD_LAYERS[0]}.transformer_blocks.0.attn2"] == {
        "channels": 1280, "heads": 8, "text_dim": 768
    }  # fmt: skip


@pytest.mark.parametrize(
    ("key", "layer"),
    [
        ("model.diffusion_model.output_blocks.5.1.transformer_blocks.0.attn2.migc.ea.x", "up_blocks.1.attentions.2"),
        ("model.diffusion_model.input_blocks.8.1.transformer_blocks.0.attn2.migc.ea.x", "down_blocks.2.attentions.1"),
        ("unet.up_blocks.1.attentions.0.transformer_blocks.0.attn2.processor.radl.ea.x", "up_blocks.1.attentions.0"),
        ("mid_block.attentions.0.attn2.processor.migc.ea.x", "mid_block.attentions.0"),
    ],
)
def test_block_numbers_are_diffusers_names(key, layer):
    assert split_key(key) == (f"{layer}.transformer_blocks.0.attn2", "ea.x")


def test_other_keys_belong_to_no_layer():
    assert split_key("model.diffusion_model.output_blocks.5.1.transformer_blocks.0.attn2.to_q.weight") is None
