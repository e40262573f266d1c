"""GLIGEN's training on a frozen base."""

from __future__ import annotations

import pytest
import torch
from gligen_parts import CONFIG, awake
from tiny import tiny_parts, tiny_pipeline, tiny_text_encoder, tiny_unet
from torch import nn

from radl_bench.errors import BadInput, UsageError
from radl_bench.mini.train import adapter_stage, cache, stages
from radl_bench.mini.train.config import CONFIGS, load_config
from radl_model.adapters.adapter import FusionAdapter
from radl_model.checkpoints.adapters import save_adapter
from radl_model.gligen.adapter import GligenAdapter
from radl_model.gligen.config import GligenConfig
from radl_model.gligen.public import load_gligen
from radl_model.train.adapter_loss import adapter_loss
from radl_model.train.batch import AdapterBatch, TextBank
from radl_model.train.draws import Draws, Part
from radl_model.train.ways import Gligen, way_named, way_of


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


def loss_of(unet, adapter, seed=0, **options):
    from diffusers import DDPMScheduler

    scheduler = DDPMScheduler(beta_schedule="scaled_linear", prediction_type="v_prediction")
    draws = Draws(torch.Generator().manual_seed(seed), Part.whole(2))
    return adapter_loss(unet, adapter, batch_of(), scheduler, draws, texts=TextBank(tiny_text_encoder()), **options)


@pytest.fixture
def fresh():
    unet = tiny_unet().requires_grad_(False)
    adapter = GligenAdapter.from_unet(unet, CONFIG)
    adapter.attach(unet)
    return unet, adapter


def test_a_few_steps_teach_the_layers_and_nothing_else(fresh):
    unet, adapter = fresh
    frozen = {k: v.clone() for k, v in unet.state_dict().items()}
    start = {k: v.clone() for k, v in adapter.state_dict().items()}
    optimizer = torch.optim.AdamW(adapter.parameters(), 5e-3)
    losses = []
    for _ in range(8):
        loss = loss_of(unet, adapter)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 1e-3
    assert all(torch.equal(v, frozen[k]) for k, v in unet.state_dict().items())
    assert all(not torch.equal(v, start[k]) for k, v in adapter.state_dict().items() if "null" not in k)


def test_the_first_gradient_reaches_the_gates_alone(fresh):
    unet, adapter = fresh
    loss_of(unet, adapter).backward()
    for name, p in adapter.named_parameters():
        moved = p.grad is not None and bool(p.grad.any())
        assert moved == name.endswith(("alpha_attn", "alpha_dense")), name


def test_the_loss_is_that_of_the_engines_grounding():
    """Boxes, texts and slots reach the layers as they do in sampling, which pads to all slots."""
    unet = tiny_unet()
    adapter = awake(unet)
    adapter.attach(unet)
    seen = []
    adapter.position_net.register_forward_hook(lambda _m, args, _o: seen.append(args))
    with torch.no_grad():
        full, empty = loss_of(unet, adapter, null_share=0.0), loss_of(unet, adapter, null_share=1.0)
    batch, (texts, boxes, valid) = batch_of(), seen[0]
    assert valid.tolist() == [[True, True, False, False, False], [True, True, True, False, False]]
    assert torch.equal(boxes[:, :3], batch.boxes)
    with torch.no_grad():
        pooled = tiny_text_encoder()(batch.phrase_ids.flatten(0, 1)).pooler_output
    assert torch.allclose(texts[:, :3].flatten(0, 1), pooled, atol=1e-6)
    assert not seen[1][2].any()
    assert full.item() != empty.item()


def test_one_in_ten_images_sees_empty_slots(fresh):
    _, adapter = fresh
    seen = []
    adapter.position_net.register_forward_hook(lambda _m, args, _o: seen.append(args[2].any(1)))
    draws, texts = Draws(torch.Generator().manual_seed(0), Part.whole(2)), TextBank(tiny_text_encoder())
    for _ in range(150):
        Gligen.predict(lambda **_: (torch.zeros(1),), adapter, batch_of(), texts, draws)
    assert 0.85 < torch.cat(seen).float().mean() < 0.95


def test_too_few_slots_are_a_clear_error(fresh):
    unet = fresh[0]
    adapter = GligenAdapter.from_unet(unet, GligenConfig(slots=2))
    with pytest.raises(UsageError, match="3 instances an image"):
        loss_of(unet, adapter)


def test_each_kind_has_its_way():
    unet = tiny_unet()
    assert way_of(GligenAdapter.from_unet(unet)) is way_named("gligen") is Gligen
    assert way_of(FusionAdapter.from_unet(unet)) is way_named("fusion")
    assert isinstance(Gligen.make(unet, {"slots": 3}), nn.Module)
    with pytest.raises(UsageError, match="Did you mean 'gligen'"):
        way_named("gligan")


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A base and a shard of latents for it, as the stages before leave them."""
    folder = tmp_path_factory.mktemp("work")
    tiny_pipeline().save_pretrained(folder / "base")
    tiny_parts()["vae"].save_pretrained(folder / "vae")
    (folder / "latents").mkdir()
    cache.write_shard(0, folder / "latents", folder / "vae", size=6, seed=3, level_weights=(1, 1, 1))
    return folder


def settings_of(name, work, **changes):
    settings = load_config(CONFIGS / f"{name}.toml")
    settings |= {"base": str(work / "base"), "latents": [str(work / "latents")], **changes}
    settings["loop"] |= {"steps": 2, "batch_size": 2}
    return settings


def test_the_stage_trains_goes_on_and_draws_a_sheet(work, tmp_path, monkeypatch):
    monkeypatch.setattr(adapter_stage.sheet, "__defaults__", (2, 4.0))
    stages.adapter(settings_of("gligen", work), tmp_path / "short", None)
    assert (tmp_path / "short" / "sheet-000002.png").is_file()
    written = load_gligen(tmp_path / "short" / "adapter", tiny_unet())
    assert written.settings == GligenConfig(slots=12, active_fraction=0.8)
    assert all(layer.alpha_attn.abs() > 0 for _, layer in written.named_layers())
    again = settings_of("gligen", work, init_from=str(tmp_path / "short" / "adapter"))
    stages.adapter(again, tmp_path / "long", None)
    save_adapter(FusionAdapter.from_unet(tiny_unet()), tmp_path / "radl")
    with pytest.raises(BadInput, match="wanted here: layers of GLIGEN"):
        stages.adapter({**again, "init_from": str(tmp_path / "radl")}, tmp_path / "other", None)
