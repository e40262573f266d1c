"""reports/limits.py: RaDL helped by a rendered scene; reports/by_size.py: success by the size of the box;
reports/learnt.py: what adapters add, and what features tell of their place; reports/naming.py: things to be named."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from radl_bench.benchmarks.loading import load_benchmark
from radl_bench.errors import UsageError
from radl_bench.generators.radl import RadlGenerator
from radl_bench.mini.scenes import render
from radl_bench.mini.train.adapter_stage import held_out
from radl_bench.runs.generate import build_generator, generate_run
from radl_bench.scoring.score import score_runs

REPORTS = Path(__file__).parents[2] / "reports"


def script(name):
    spec = importlib.util.spec_from_file_location(name, REPORTS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def method():
    return script("limits").FromScene


def test_without_a_start_it_is_radl(method):
    sample = held_out(1)[0]
    own = RadlGenerator(num_inference_steps=3).generate([sample], [5])[0]
    helped = method(start=0, num_inference_steps=3).generate([sample], [5])[0]
    assert np.array_equal(np.asarray(own), np.asarray(helped))


def test_with_nothing_left_to_do_only_the_autoencoder_acts(method):
    sample = held_out(1)[0]
    generator = method(start=1, num_inference_steps=3)
    scene = np.asarray(render(sample, 5))
    with torch.no_grad():
        vae = generator.pipe.vae
        picture = torch.from_numpy(scene.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
        passed = vae.decode(vae.encode(picture).latents).sample[0].permute(1, 2, 0).add(1).mul(127.5).clamp(0, 255)
    image = np.asarray(generator.generate([sample], [5])[0], np.float32)
    assert np.abs(image - passed.numpy()).max() <= 1
    assert np.abs(image - scene).mean() < 6


def test_the_later_the_start_the_nearer_the_scene(method):
    sample = held_out(1)[0]
    scene = np.asarray(render(sample, 5), np.float32)
    errors = [
        np.abs(np.asarray(method(start=s, num_inference_steps=6).generate([sample], [5])[0], np.float32) - scene).mean()
        for s in (0.2, 0.5, 1)
    ]
    assert errors == sorted(errors, reverse=True)


def test_a_start_outside_is_a_sentence(method):
    with pytest.raises(UsageError, match="start=2 must lie"):
        method(start=2)


def test_success_by_size_of_a_run(tmp_path, capsys):
    run = generate_run(load_benchmark("coco-mig", limit=5), build_generator("sprites"), out=tmp_path, model="mini").run
    score_runs([run], detector="oracle", segmenter="box", encoder="none")
    capsys.readouterr()
    script("by_size").main([run])
    head, rule, row, empty, failures, last = capsys.readouterr().out.splitlines()
    assert {line.count("|") for line in (head, rule, row, failures, last)} == {7}
    assert row.startswith("| sprites | 100.0 [")
    assert not empty  # nothing fails, so the second table has no row
    score_runs([run], detector="blind", segmenter="box", encoder="none")
    script("by_size").main([run])
    assert capsys.readouterr().out.splitlines()[-1] == "| sprites: missed |" + " 100.0 |" * 5


def test_a_place_is_read_where_it_is_written():
    rng = torch.Generator().manual_seed(0)
    places = torch.stack(torch.meshgrid(torch.arange(8), torch.arange(8), indexing="ij")).flatten(1).T.float()
    noise = torch.randn(30, 64, 20, generator=rng)
    # The large constants make the layer norm nearly linear.
    large = torch.tensor([40.0, -40.0]).expand(30, 64, 2)
    told = torch.cat([places.expand(30, -1, -1), -places.expand(30, -1, -1), noise[..., :1], large], 2)
    learnt = script("learnt")
    assert learnt.explained(told).min() > 0.9
    assert learnt.explained(noise).abs().max() < 0.1


def test_an_adapter_is_held_against_the_base_alone(tmp_path, monkeypatch):
    learnt = script("learnt")
    monkeypatch.setattr(learnt, "BATCH", 2)
    rows = learnt.gains(learnt.pool_of(4, tmp_path))
    values = {row.split(" | ")[0].strip("| "): row.split(" | ")[1:] for row in rows[2:]}
    assert list(values) == ["none", "radl", "migc", "gligen"]
    assert float(values["radl"][0]) < float(values["none"][0])
    gain = 100 * (1 - float(values["radl"][0]) / float(values["none"][0]))
    assert float(values["radl"][1].removesuffix(" % |")) == pytest.approx(gain, abs=0.1)


def test_the_time_to_a_bar_is_that_of_the_line_the_points_lie_on():
    curve = script("curve")
    seconds = np.array([100.0, 400.0, 1600.0, 6400.0])
    shares = 1 / (1 + np.exp(4 - 0.7 * np.log(seconds)))
    line, covariance = curve.fit(seconds, shares, np.full(4, 1e6))
    assert line == pytest.approx([-4, 0.7], abs=1e-6)
    best, low, high = curve.time_to(0.97, line, covariance)
    assert best == pytest.approx(np.exp((np.log(0.97 / 0.03) + 4) / 0.7))
    assert 0.9 * best < low < best < high < 1.1 * best


def test_the_interval_of_the_time_to_a_bar_covers():
    """60 draws of binomial points about a line; 95 % of the intervals hold the true time, so 51 at the least."""
    curve, rng = script("curve"), np.random.default_rng(1)
    seconds, counts = np.array([200.0, 800.0, 3200.0, 6400.0]), np.full(4, 300.0)
    truth = np.exp((np.log(0.9 / 0.1) + 4) / 0.7)
    held = 0
    for _ in range(60):
        shares = rng.binomial(300, 1 / (1 + np.exp(4 - 0.7 * np.log(seconds)))) / 300
        _, low, high = curve.time_to(0.9, *curve.fit(seconds, shares, counts))
        held += low <= truth <= high
    assert held >= 51


def test_points_that_fall_reach_no_bar():
    curve = script("curve")
    line, covariance = curve.fit(np.array([1e3, 2e3, 4e3]), np.array([0.5, 0.4, 0.3]), np.full(3, 400.0))
    assert curve.time_to(0.9, line, covariance)[::2] == (np.inf, np.inf)


def test_things_to_be_named_are_the_large_ones_without_a_word(tmp_path):
    """On rendered scenes: each cut is the box of the thing that the second file names."""
    naming = script("naming")
    benchmark = load_benchmark("coco-mig", limit=6)
    run = generate_run(benchmark, build_generator("sprites"), out=tmp_path / "runs", model="mini").run
    naming.main([str(run), "--count", "5", "--least", "12", "--seed", "3", "--out", str(tmp_path / "things")])
    rows = (tmp_path / "things.csv").read_text().splitlines()[1:]
    assert len(rows) == 5
    boxes = {
        (s.id, i.category, f"{100 * (i.box[2] - i.box[0]) * (i.box[3] - i.box[1]):.1f}"): i.box
        for s in benchmark.samples
        for i in s.instances
    }
    shown = np.asarray(Image.open(tmp_path / "things.png"))
    for row in rows:
        number, sample, category, share = row.split(",")
        assert float(share) > 12
        x0, y0, x1, y1 = (round(128 * side) for side in boxes[sample, category, share])
        inside = np.asarray(Image.open(run / "images" / f"{sample}_0.png"))[y0:y1, x0:x1].reshape(-1, 3)
        cell = shown[14:136, int(number) * 150 : int(number) * 150 + 122]
        cut = cell[~(cell == 255).all(-1)]
        assert np.abs(cut.mean(0) - inside.mean(0)).max() < 12
    naming.main([str(run), "--count", "5", "--seed", "3", "--least", "12", "--whole", "--out", str(tmp_path / "whole")])
    assert (tmp_path / "whole.csv").read_text().splitlines()[1:] == rows
    frames = (np.asarray(Image.open(tmp_path / "whole.png")) == naming.FRAME).all(-1)
    for row in rows:
        number, sample, category, share = row.split(",")
        found = np.argwhere(frames[:, int(number) * 284 : (int(number) + 1) * 284])
        corners = [2 * round(128 * side) for side in boxes[sample, category, share]]
        edges = np.array([*(found.min(0) - (14, 0))[::-1], *(found.max(0) - (14, 0))[::-1]])
        assert np.abs(edges - corners).max() <= 1
    with pytest.raises(SystemExit, match="No image of"):
        naming.main([str(run), "--least", "99.5"])
