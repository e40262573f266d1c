"""The adapter on disk, on and off a UNet, and its training step."""

from __future__ import annotations

import json

import pytest
import torch
from diffusers import DDPMScheduler
from safetensors.torch import load_file, save_file
from tiny import tiny_text_encoder, tiny_unet, wake

from radl_bench.errors import BadInput, MissingWeights, UsageError
from radl_model.adapters.adapter import FusionAdapter
from radl_model.checkpoints.adapters import load_adapter, save_adapter
from radl_model.layers.config import FusionConfig
from radl_model.train.adapter_loss import adapter_loss, target_of
from radl_model.train.batch import AdapterBatch, TextBank
from radl_model.train.draws import Draws, Part

CONFIG = FusionConfig(position_hidden=16, mask_mode="area", active_fraction=0.4)


def make(unet):
    adapter = FusionAdapter.from_unet(unet, CONFIG)
    wake(adapter)
    return adapter


@pytest.mark.parametrize("half", [True, False])
def test_round_trip(tmp_path, half):
    adapter = make(tiny_unet())
    save_adapter(adapter, tmp_path, half=half)
    loaded = load_adapter(tmp_path)
    assert loaded.fusion_config == CONFIG
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}
    for (name, a), (_, b) in zip(adapter.named_parameters(), loaded.named_parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-6 if half else 0, rtol=1e-3 if half else 0), name
    assert {p.dtype for p in adapter.parameters()} == {torch.float32}


def test_attach_and_detach_leave_the_unet_as_it_was():
    unet = tiny_unet()
    before = dict(unet.attn_processors)
    adapter = make(unet)
    adapter.attach(unet)
    adapter.attach(unet)
    changed = [name for name, p in unet.attn_processors.items() if p is not before[name]]
    assert sorted(changed) == sorted(f"{name}.processor" for name, _ in adapter.named_layers())
    adapter.detach(unet)
    assert all(p is before[name] for name, p in unet.attn_processors.items())
    assert not any("instance" in key for key in unet.state_dict())


def test_another_base_is_refused():
    adapter = make(tiny_unet())
    with pytest.raises(UsageError, match="was made for"):
        adapter.attach(tiny_unet(block_out_channels=(64, 64)))
    with pytest.raises(UsageError, match="does not have"):
        adapter.attach(tiny_unet(layers_per_block=0, up_block_types=("UpBlock2D", "CrossAttnUpBlock2D")))


def test_damage_is_a_sentence(tmp_path):
    with pytest.raises(MissingWeights, match=r"config\.json is missing"):
        load_adapter(tmp_path)
    save_adapter(make(tiny_unet()), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["fusion"]["enhancement"] = "none"
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(BadInput, match="unknown weight"):
        load_adapter(tmp_path)
    (tmp_path / "diffusion_pytorch_model.safetensors").write_bytes(b"short")
    with pytest.raises(BadInput, match="cannot be read"):
        load_adapter(tmp_path)


SIZE = {"channels": 32, "heads": 4, "text_dim": 32}
NAME = "mid_block.attentions.0.transformer_blocks.0.attn2"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sizes": 1}, "it needs the tables 'sizes' and 'fusion'"),
        ({"sizes": {}}, "'sizes' names 0 layers"),
        ({"sizes": {NAME: 1}}, f"the layer '{NAME}'"),
        ({"sizes": {NAME: {**SIZE, "heads": 0}}}, f"heads of the layer '{NAME}'"),
        ({"sizes": {NAME: {**SIZE, "channels": 33}}}, f"the 33 channels of the layer '{NAME}'"),
        ({"sizes": {NAME: {**SIZE, "text_dim": "32"}}}, f"text_dim of the layer '{NAME}'"),
        ({"sizes": {NAME: {"channels": 32, "heads": 4}}}, f"the layer '{NAME}'"),
        ({"fusion": 1}, "it needs the tables 'sizes' and 'fusion'"),
        ({"fusion": {"fusion": 3}}, "'fusion.fusion' must be given as str"),
        ({"fusion": {"colour": 3}}, "Unknown layer setting 'colour'"),
        ({"fusion": {"active_fraction": float("nan")}}, "'fusion.active_fraction' must be"),
    ],
)
def test_a_configuration_that_is_none_is_a_clear_error(tmp_path, changes, words):
    save_adapter(make(tiny_unet()), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, **changes}))
    with pytest.raises(BadInput, match=f"cannot be read.*{words}"):
        load_adapter(tmp_path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda v: torch.full_like(v, torch.nan), "not finite"),
        (lambda v: v.to(torch.int64), "is of int64"),
        (lambda v: v.to(torch.complex64), "is of complex64"),
    ],
)
def test_tensors_that_are_no_weights_are_refused_by_name(tmp_path, change, words):
    save_adapter(make(tiny_unet()), tmp_path)
    (file,) = tmp_path.glob("*.safetensors")
    state = load_file(file)
    key = sorted(state)[0]
    save_file({**state, key: change(state[key])}, file)
    with pytest.raises(BadInput, match=f"The weight {key} .*{words}"):
        load_adapter(tmp_path)


def batch_of(seed=0):
    rng = torch.Generator().manual_seed(seed)
    ids = lambda *shape: torch.randint(1, 400, (*shape, 8), generator=rng)  # noqa: E731
    corner = torch.rand(2, 3, 2, generator=rng) * 0.4
    return AdapterBatch(
        latents=torch.randn(2, 4, 16, 16, generator=rng),
        prompt_ids=ids(2),
        phrase_ids=ids(2, 3),
        boxes=torch.cat([corner, corner + 0.4], -1),
        valid=torch.tensor([[True, True, False], [True, True, True]]),
        verb_ids=ids(2),
        verb_valid=torch.tensor([True, False]),
        weights=torch.ones(2, 1, 16, 16),
    )


@pytest.fixture
def training():
    unet = tiny_unet().requires_grad_(False)
    adapter = FusionAdapter.from_unet(unet, CONFIG)
    adapter.attach(unet)
    return unet, adapter, TextBank(tiny_text_encoder())


def scheduler(kind="v_prediction"):
    return DDPMScheduler(beta_schedule="scaled_linear", prediction_type=kind)


def loss_of(training, seed=0, kind="v_prediction", **extra):
    unet, adapter, texts = training
    draws = Draws(torch.Generator().manual_seed(seed), Part.whole(2))
    return adapter_loss(unet, adapter, batch_of(), scheduler(kind), draws, texts=texts, **extra)


def test_the_loss_depends_on_batch_and_rng_alone(training):
    first, again, other = (loss_of(training, seed).item() for seed in (0, 0, 1))
    assert first == again != other
    assert training[1].holder.context is None


def test_a_few_steps_teach_the_adapter_and_nothing_else(training):
    unet, adapter, _ = training
    frozen = {k: v.clone() for k, v in unet.state_dict().items()}
    optimizer = torch.optim.AdamW(adapter.parameters(), 5e-3)
    losses = []
    for _ in range(5):
        loss = loss_of(training)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 1e-3
    assert all(torch.equal(v, frozen[k]) for k, v in unet.state_dict().items())


def test_the_target_is_what_the_base_predicts():
    x, noise, t = torch.randn(2, 4, 2, 2), torch.randn(2, 4, 2, 2), torch.tensor([10, 900])
    assert torch.equal(target_of(scheduler("epsilon"), x, noise, t), noise)
    a = scheduler().alphas_cumprod[t].view(2, 1, 1, 1)
    assert torch.allclose(target_of(scheduler(), x, noise, t), a.sqrt() * noise - (1 - a).sqrt() * x, atol=1e-5)


def test_dropping_every_phrase_is_the_frozen_loss(training):
    dropped = loss_of(training, phrase_dropout=1.1)
    assert not dropped.requires_grad
    assert dropped.item() != loss_of(training).item()


def test_late_timesteps_only(training):
    seen = []
    hook = training[0].register_forward_pre_hook(lambda _, args: seen.append(args[1]))
    for seed in range(3):
        loss_of(training, seed, first_timestep=900)
    hook.remove()
    assert torch.cat(seen).min() >= 900


def test_the_bank_remembers_what_the_encoder_says():
    encoder = tiny_text_encoder()
    bank = TextBank(encoder)
    ids = torch.randint(1, 400, (4, 8))
    ids[2] = ids[0]
    calls = []
    hook = encoder.register_forward_hook(lambda _m, args, _o: calls.append(len(args[0])))
    states, pooled = bank.remembered(ids)
    again, _ = bank.remembered(ids)
    hook.remove()
    assert calls == [3]
    assert torch.equal(states, again)
    with torch.no_grad():
        direct = encoder(ids)
    assert torch.allclose(states, direct.last_hidden_state, atol=1e-6)
    assert torch.allclose(pooled, direct.pooler_output, atol=1e-6)


def test_a_config_nested_without_end_is_a_clear_error(tmp_path):
    FusionAdapter.from_unet(tiny_unet()).save_pretrained(tmp_path)
    config = (tmp_path / "config.json").read_text()
    (tmp_path / "config.json").write_text(config.replace('"fusion"', f'"more": {"[" * 5000 + "]" * 5000}, "fusion"'))
    with pytest.raises(BadInput, match=r"config\.json"):
        load_adapter(tmp_path)
