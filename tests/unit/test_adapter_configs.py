"""The shipped configurations of the adapter stage: each trains, and the ablations differ from RaDL in one point."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from tiny import tiny_parts, tiny_pipeline

from radl_bench.errors import MissingData, UsageError
from radl_bench.generators.radl import RadlGenerator
from radl_bench.mini.train import adapter_stage, cache, stages
from radl_bench.mini.train.config import CONFIGS, load_config
from radl_bench.types import Instance, Sample
from radl_model.adapters.adapter import FusionAdapter
from radl_model.checkpoints.adapters import load_adapter, save_adapter
from radl_model.layers.config import FusionConfig
from radl_model.layers.context import build_context
from radl_model.layers.inhibition import Inhibition

ADAPTERS = ("adapter", "migc", "radl-no-enhancement", "radl-no-relation", "radl-no-softmax")
ABLATIONS = {
    "radl-no-enhancement": {"enhancement": "none"},
    "radl-no-relation": {"relation": False},
    "radl-no-softmax": {"fusion": "mean"},
}


@pytest.fixture(scope="module")
def work(tmp_path_factory) -> Path:
    """A base and a shard of latents for it, as the stages before leave them."""
    folder = tmp_path_factory.mktemp("work")
    tiny_pipeline().save_pretrained(folder / "base")
    tiny_parts()["vae"].save_pretrained(folder / "vae")
    (folder / "latents").mkdir()
    cache.write_shard(0, folder / "latents", folder / "vae", size=6, seed=3, level_weights=(1, 1, 1))
    return folder


@pytest.mark.parametrize("name", ADAPTERS)
def test_two_steps_of_each(name, work, tmp_path, monkeypatch):
    settings = load_config(CONFIGS / f"{name}.toml")
    settings["base"], settings["latents"] = str(work / "base"), [str(work / "latents")]
    settings["loop"] |= {"steps": 2, "batch_size": 2}
    monkeypatch.setattr(
        adapter_stage, "on_sample", lambda out, base, module, step: save_adapter(module.adapter, out / "adapter")
    )
    stages.adapter(settings, tmp_path, None)
    written = load_adapter(tmp_path / "adapter")
    assert written.fusion_config == FusionConfig.from_dict(settings["fusion"])
    # Zero at the start, so a step has moved it.
    _, layer = written.named_layers()[0]
    assert layer.instance.attention.to_out[0].weight.abs().max() > 0


def test_the_text_tower_of_the_adapter_stage_goes_where_the_batches_go(work, tmp_path, monkeypatch):
    """It is no part of what trains, so the loop does not take it along. No loop runs here: only its device counts."""
    losses = []

    class Elsewhere:
        accelerator = SimpleNamespace(device=torch.device("meta"))

        def __init__(self, module, make_batch, loss, *rest):
            losses.append(loss)

        def resume(self):
            pass

        def run(self, minutes):
            pass

    monkeypatch.setattr(stages, "Loop", Elsewhere)
    settings = load_config(CONFIGS / "gligen.toml")
    settings["base"], settings["latents"] = str(work / "base"), [str(work / "latents")]
    stages.adapter(settings, tmp_path, None)
    tower = losses[0].__self__.texts.text_encoder
    assert {parameter.device.type for parameter in tower.parameters()} == {"meta"}


def test_the_share_of_empty_prompts(work):
    pipe, pool = tiny_pipeline(), cache.LatentPool(work / "latents")
    empty = adapter_stage.token_ids(pipe.tokenizer, [""])[0]

    def emptied(share: float) -> float:
        training = adapter_stage.AdapterTraining(pipe, pool, 6, 3, {}, empty_share=share)
        ids = torch.cat([training.make_batch(n).prompt_ids for n in range(60)])
        return float((ids == empty).all(1).float().mean())

    assert (emptied(0.0), emptied(1.0)) == (0, 1)
    assert emptied(0.5) == pytest.approx(0.5, abs=0.1)
    with pytest.raises(UsageError, match=r"empty_share=-0\.5 must lie between 0 and 1"):
        emptied(-0.5)


@pytest.mark.parametrize(("name", "share"), [("gligen", 0.5), ("adapter", 0.1)])
def test_the_stage_empties_the_share_that_its_config_says(name, share, work, tmp_path, monkeypatch):
    class Seen(Exception):
        pass

    def loop(module, make_batch, *rest):
        raise Seen(make_batch.__self__.empty_share)

    settings = load_config(CONFIGS / f"{name}.toml")
    settings["base"], settings["latents"] = str(work / "base"), [str(work / "latents")]
    monkeypatch.setattr(stages, "Loop", loop)
    with pytest.raises(Seen, match=f"^{share}$"):
        stages.adapter(settings, tmp_path, None)


def test_an_ablation_differs_from_radl_in_one_point():
    radl = load_config(CONFIGS / "adapter.toml")
    for name, change in ABLATIONS.items():
        own = load_config(CONFIGS / f"{name}.toml")
        assert own["fusion"] == {**radl["fusion"], **change}
        assert {k: v for k, v in own.items() if k != "fusion"} == {k: v for k, v in radl.items() if k != "fusion"}


def test_gligen_has_the_budget_of_radl():
    radl, gligen = load_config(CONFIGS / "adapter.toml"), load_config(CONFIGS / "gligen.toml")
    assert gligen["loss"] == {**radl["loss"], "null_share": 0.1}
    assert gligen["loop"] == {**radl["loop"], "faster": {"alpha_attn": 10.0, "alpha_dense": 10.0}}
    assert gligen["empty_share"] == 0.5  # the published code's
    own = ("method", "gligen", "loss", "loop", "empty_share")
    assert {k: v for k, v in gligen.items() if k not in own} == {k: v for k, v in radl.items() if k not in own}


def test_migc_has_the_budget_of_radl():
    radl, migc = load_config(CONFIGS / "adapter.toml"), load_config(CONFIGS / "migc.toml")
    assert migc["loss"] == {**radl["loss"], "inhibition": 0.1}
    own = ("fusion", "loss")
    assert {k: v for k, v in migc.items() if k not in own} == {k: v for k, v in radl.items() if k not in own}


def test_a_config_that_extends_nothing_is_a_sentence(tmp_path):
    (tmp_path / "a.toml").write_text('extends = "b.toml"')
    with pytest.raises(MissingData, match=r"b\.toml"):
        load_config(tmp_path / "a.toml")


def test_a_config_that_extends_itself_is_a_clear_error(tmp_path):
    (tmp_path / "a.toml").write_text('extends = "b.toml"')
    (tmp_path / "b.toml").write_text('extends = "a.toml"')
    with pytest.raises(UsageError, match="extends itself"):
        load_config(tmp_path / "a.toml")


def test_an_ablations_weights_are_picked_by_name(work, tmp_path):
    shutil.copytree(work / "base", tmp_path / "base")
    pipe = tiny_pipeline()
    for name, change in {"radl": {}, **ABLATIONS}.items():
        config = FusionConfig(position_hidden=16, mask_mode="area", **change)
        save_adapter(FusionAdapter.from_unet(pipe.unet, config), tmp_path / name)
    fast = {"num_inference_steps": 2, "scheduler": "base", "device": "cpu"}
    assert RadlGenerator(str(tmp_path / "base"), **fast).params["adapter"]["relation"] is True
    generator = RadlGenerator(str(tmp_path / "base"), adapter="radl-no-relation", **fast)
    assert generator.params["adapter"]["relation"] is False
    sample = Sample("a", "a red car on a dog", (Instance("a red car", "car", "red", (0.1, 0.1, 0.6, 0.6)),))
    assert generator.generate([sample], [1])[0].size == (128, 128)


def context_of(boxes):
    count = len(boxes)
    return build_context(
        torch.zeros(1, count, 3, 8), torch.zeros(1, count, 8), torch.tensor([boxes]), torch.ones(1, count), (4, 4),
        mask_mode="area",
    )  # fmt: skip


def test_inhibition_is_the_unevenness_on_the_background():
    """Two tokens, one head, the left half in the box: on the right, token 1 has two shares, each half as often."""
    context = context_of([[0.0, 0.0, 0.5, 1.0]])
    query = torch.zeros(1, 16, 1)
    query[0, [2, 6, 10, 14], 0], query[0, [3, 7, 11, 15], 0] = 2.0, -1.0
    query[0, [0, 4], 0] = 50.0  # inside the box: free
    keys = torch.tensor([0.0, 1.0]).view(1, 1, 2, 1)
    watch = Inhibition(context)
    watch.observe("mid_block.x", query, (keys, keys))
    assert watch.value() == 0
    watch.observe("up_blocks.1.x", query, (keys, keys))
    high, low = torch.sigmoid(torch.tensor([2.0, -1.0]))
    assert watch.value().item() == pytest.approx(((high - low) / 2).item(), abs=1e-6)
    even = Inhibition(context)
    even.observe("up_blocks.1.x", torch.ones(1, 16, 1), (keys, keys))
    assert even.value().item() == pytest.approx(0, abs=1e-7)


def test_readings_that_a_batch_cannot_hold_are_refused(work):
    settings = load_config(CONFIGS / "adapter.toml")
    settings["base"], settings["latents"] = str(work / "base"), [str(work / "latents")]
    settings["fusion"]["relation_scope"] = "pair"
    settings["loop"] |= {"steps": 1, "batch_size": 2}
    with pytest.raises(UsageError, match="one relation text an image"):
        stages.adapter(settings, work / "refused", None)
