"""The stage "layout-diffusion": its data, its loss against the published schedule, and what it leaves."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from radl_bench.errors import MissingWeights, UsageError
from radl_bench.generators import layout_diffusion as method
from radl_bench.mini.atlas import CATEGORIES
from radl_bench.mini.train import layout_diffusion as stage
from radl_bench.mini.train.config import CONFIGS, load_config
from radl_bench.types import Instance, Sample
from radl_model.layout_diffusion.config import LayoutDiffusionConfig
from radl_model.layout_diffusion.labels import class_of
from radl_model.layout_diffusion.network import noise_of
from radl_model.layout_diffusion.solver import log_alpha

MODEL = {
    "image_size": 32,
    "channels": 32,
    "multipliers": [1, 2],
    "attention": [2],
    "res_blocks": 1,
    "head_channels": 16,
    "encoder_width": 32,
    "encoder_layers": 1,
    "encoder_heads": 2,
}
LOOP = {"steps": 4, "batch_size": 2, "lr": 1e-3, "optimizer": "muon", "precision": "no", "log_every": 1}
SETTINGS = {"model": MODEL, "data_seed": 3, "loop": LOOP}


@pytest.fixture
def config() -> LayoutDiffusionConfig:
    return stage.build(MODEL).config


def test_the_classes_are_the_sprites_alone(config):
    assert (config.names, config.classes, config.padding) == (CATEGORIES, 81, 80)
    assert [class_of(f"a {name}", config.names) for name in CATEGORIES] == list(range(1, 80))
    assert class_of("sofa", config.names) == CATEGORIES.index("couch") + 1
    assert class_of("wood", config.names) is None
    with pytest.raises(UsageError, match="1 names has two classes more"):
        LayoutDiffusionConfig(names=("dog",))


def test_a_batch_tells_what_was_drawn(config):
    scenes = stage.Scenes(config, seed=3, dropped=0.0)
    samples, _ = scenes.samples(5, 6)
    images, classes, boxes = scenes.make_batch(5, 6)
    assert images.shape == (6, 3, 32, 32)
    assert images.abs().max() <= 1
    for row, sample in enumerate(samples):
        told = [CATEGORIES[i - 1] for i in classes[row, 1 : sample.level + 1].tolist()]
        assert told == [i.category for i in sample.instances]
        assert boxes[row, 1 : sample.level + 1].tolist() == [pytest.approx(i.box) for i in sample.instances]
        assert set(classes[row, sample.level + 1 :].tolist()) <= {80}
    assert all(torch.equal(a, b) for a, b in zip(scenes.make_batch(5, 6), (images, classes, boxes), strict=True))


def test_a_fifth_of_the_layouts_is_left_out(config):
    scenes = stage.Scenes(config, seed=3, dropped=0.2)
    classes = torch.cat([scenes.make_batch(step, 100)[1] for step in range(6)])
    assert bool((classes[:, 0] == 0).all())
    assert float((classes[:, 1] == 80).float().mean()) == pytest.approx(0.2, abs=0.05)


def test_noise_and_times_are_those_of_the_published_schedule(config):
    """1,000 betas from 1e-4 to .02 (guided-diffusion's linear schedule); step i is the time (i + 1) / 1000."""
    signal = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0)
    for i in (0, 99, 499, 899):
        assert stage.model_times(torch.tensor([(i + 1) / 1000])).item() == pytest.approx(i, abs=1e-3)
        assert 2 * log_alpha((i + 1) / 1000) == pytest.approx(float(signal[i].log()), rel=0.02, abs=1e-5)

    class Knowing(nn.Module):
        """Takes the noise out of the noisy image by that schedule."""

        def forward(self, x, times, classes, boxes):
            log = torch.tensor([2 * log_alpha((t + 1) / 1000) for t in times.tolist()]).view(-1, 1, 1, 1)
            return (x - (log / 2).exp() * images) / (1 - log.exp()).sqrt()

    images, classes, boxes = stage.Scenes(config, seed=3).make_batch(0, 16)
    loss = stage.loss_fn(Knowing(), (images, classes, boxes), torch.Generator().manual_seed(0))
    # Times below .001, of which the first stratum may have one, are told as 0.
    assert loss < 1e-3
    blind = stage.loss_fn(lambda x, *_: torch.zeros_like(x), (images, classes, boxes), torch.Generator().manual_seed(0))
    assert float(blind) == pytest.approx(1, abs=0.05)


def test_the_noise_of_a_velocity_is_that_of_the_schedule():
    """v = alpha noise - sigma image, x = alpha image + sigma noise (Salimans and Ho, 2022)."""
    rng = torch.Generator().manual_seed(0)
    image, noise = torch.rand(4, 3, 8, 8, generator=rng) * 2 - 1, torch.randn(4, 3, 8, 8, generator=rng)
    times = torch.tensor([0.01, 0.3, 0.7, 1.0])
    signal = torch.tensor([log_alpha(t) for t in times.tolist()]).exp().view(-1, 1, 1, 1)
    spread = (1 - signal**2).sqrt()
    noisy, velocity = signal * image + spread * noise, signal * noise - spread * image
    torch.testing.assert_close(noise_of(velocity, noisy, stage.model_times(times)), noise, atol=1e-4, rtol=1e-4)


def test_a_network_of_the_velocity_errs_little_where_there_is_hardly_any_signal(config):
    """Untrained, its layers give 0: the noise is sigma x, off by alpha v, and its loss is that of the velocity."""
    network = stage.build({**MODEL, "velocity": True})
    scenes = stage.Scenes(config, seed=3)
    images, classes, boxes = scenes.make_batch(0, 16)
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        told = network(noise, stage.model_times(torch.ones(16)), classes, boxes)
    torch.testing.assert_close(told, noise, atol=1e-3, rtol=1e-3)
    batch, rng = (images, classes, boxes), torch.Generator().manual_seed(0)
    with torch.no_grad():
        loss = stage.loss_fn(network, batch, rng, velocity=True)
    assert 0.2 < float(loss) < 1  # between the image's square and the noise's
    with pytest.raises(UsageError, match="no learned variance"):
        LayoutDiffusionConfig(velocity=True)


def test_what_it_leaves_draws_and_a_stopped_training_goes_on(tmp_path, monkeypatch):
    stage.train(SETTINGS, tmp_path / "whole", None)
    stage.train(SETTINGS, tmp_path / "parts", 0.0)
    stage.train(SETTINGS, tmp_path / "parts", None)
    whole, parts = (tmp_path / name / "layout-diffusion" for name in ("whole", "parts"))
    assert (whole / "model.safetensors").read_bytes() == (parts / "model.safetensors").read_bytes()
    assert "4 of 4 steps" in (whole / "README.md").read_text()
    assert json.loads((tmp_path / "whole" / "log.jsonl").read_text().splitlines()[-1])["held_out"] > 0

    monkeypatch.setattr(method, "PACKAGED", tmp_path)
    with pytest.raises(MissingWeights, match="radl-train layout-diffusion --out OUT"):
        method.LayoutDiffusionGenerator()
    whole.parent.rename(tmp_path / "mini")
    generator = method.LayoutDiffusionGenerator(steps=2)
    assert generator.scale == "mini"
    things = (Instance("a red dog", "dog", "red", (0.1, 0.1, 0.6, 0.6)), Instance("wood", "wood", None, (0, 0, 1, 1)))
    (image,) = generator.generate([Sample("a", "a", things)], [1])
    assert (image.size, image.info["note"]) == ((64, 64), "No guidance for 1 of 2 instances: no class for 'wood'.")


def test_the_shipped_weights_stay_small():
    settings = load_config(CONFIGS / "layout-diffusion.toml")
    network = stage.build(settings["model"])
    assert 2 * sum(p.numel() for p in network.parameters()) <= 6e6
    assert network.config.image_size == 64
    assert settings["dropped"] == 0.2
