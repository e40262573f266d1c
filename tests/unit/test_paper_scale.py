"""The papers' scale: presets of the benchmarks, the flag that takes them, and the plan of what they cost."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from radl_bench.benchmarks.loading import load_benchmark
from radl_bench.benchmarks.paper import paper_of
from radl_bench.cli import build_app
from radl_bench.cli.generate import paper_steps
from radl_bench.errors import BadInput, UsageError
from radl_bench.runs import costs
from radl_bench.types import PaperRun

EIGHT = PaperRun(8, 60)


@pytest.mark.parametrize(("name", "each"), [("coco-mig", 1), ("coco-position", 8), ("drawbench", 8)])
def test_packaged_sets_have_the_presets_of_the_papers(name, each) -> None:
    assert paper_of(load_benchmark(name)) == PaperRun(each, 60, 0, "hashed")


def test_a_variant_has_that_of_its_benchmark_and_others_have_none(make_benchmark) -> None:
    position = load_benchmark(make_benchmark(name="coco-position-public"))
    assert paper_of(position) == EIGHT
    with pytest.raises(UsageError, match=r"does not say how a paper ran it.*\[paper\]"):
        paper_of(load_benchmark(make_benchmark(name="mine")))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("images_per_sample = 0\nsteps = 60", "'images_per_sample' must be a whole number from 1"),
        ("images_per_sample = 8", "'steps' must be"),
        ("images_per_sample = 8\nsteps = true", "'steps' must be"),
        ("images_per_sample = 8\nsteps = 60\nseed = -1", "'seed' must be"),
        ("images_per_sample = 8\nsteps = 60\nseed_policy = 'x'", "'seed_policy' must be hashed or fixed"),
        ("images_per_sample = 8\nsteps = 60\nstep = 1", "step"),
    ],
)
def test_a_preset_that_cannot_be_is_refused(tiny_benchmark, line, said) -> None:
    with open(tiny_benchmark / "benchmark.toml", "a", encoding="utf-8") as file:
        file.write(f"\n[paper]\n{line}\n")
    with pytest.raises(BadInput, match=said):
        load_benchmark(tiny_benchmark)


def test_one_flag_gives_images_seeds_and_steps(tiny_benchmark, toy_method, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    with open(tiny_benchmark / "benchmark.toml", "a", encoding="utf-8") as file:
        file.write("\n[paper]\nimages_per_sample = 3\nsteps = 60\nseed = 5\nseed_policy = 'fixed'\n")
    words = ["generate", str(tiny_benchmark), "--method", toy_method, "--level", "2", "--paper-scale"]
    done = CliRunner().invoke(build_app(), words)
    assert done.exit_code == 0, done.output
    assert "9 made" in done.output
    (manifest,) = tmp_path.glob("runs/tiny/toy/*/manifest.json")
    recorded = json.loads(manifest.read_text("utf-8"))
    assert recorded["seeds"] == {"policy": "fixed", "base": 5}
    assert recorded["benchmark"]["images_per_sample"] == 3
    for more in (["--images-per-sample", "2"], ["--seed", "1"], ["--seed-policy", "fixed"]):
        assert isinstance(CliRunner().invoke(build_app(), [*words, *more]).exception, UsageError)


def test_steps_are_set_where_they_mean_something() -> None:
    assert paper_steps("radl", "sd14", {}, EIGHT) == {"num_inference_steps": 60}
    assert paper_steps("radl", "mini", {}, EIGHT) == {}
    assert paper_steps("sprites", None, {}, EIGHT) == {}
    assert paper_steps("boxdiff", "sd14", {"recipe": "official"}, EIGHT) == {}
    with pytest.raises(UsageError, match="sets the steps"):
        paper_steps("radl", "sd14", {"num_inference_steps": 20}, EIGHT)


def plan(*words: str) -> str:
    done = CliRunner().invoke(build_app(), ["plan", *words])
    assert done.exit_code == 0, done.exception
    return done.output


def test_the_plan_of_the_papers_run_by_hand(make_benchmark, monkeypatch, tmp_path) -> None:
    """800 x 8 images of 60 steps with 2 rows each, 803 GFLOP a row, at 40 % of 312 TFLOPS."""
    monkeypatch.setenv("RADL_BENCH_HOME", str(tmp_path))
    box = {"phrase": "a cat", "category": "cat", "color": None, "box": [0.1, 0.1, 0.9, 0.9]}
    rows = [{"id": f"s{n}", "prompt": "a cat", "instances": [box]} for n in range(800)]
    folder = make_benchmark(rows, name="coco-position-public")
    text = plan(str(folder), "--method", "stable-diffusion", "--dtype", "bfloat16")
    assert "images  6,400: 800 samples x 8, 60 steps, seeds hashed" in text
    hours = 6400 * (120 * 0.803273 + 2.514519) / (0.4 * 312) / 3600
    assert f"about {hours:.1f} on one A100 SXM (312 TFLOPS in bfloat16)" in text
    assert "at most 5.0 GB for the images" in text
    assert "Computed, not measured on a card: a row of the UNet takes 803 GFLOP" in text
    assert "--model sd14 --device cuda --set dtype=bfloat16 --paper-scale" in text
    assert "radl-bench fetch sd14" in text
    assert "--features none --device cuda" in text
    assert "--features inception --fid-reference coco.npz" in plan("coco-position")
    assert max(map(len, text.partition("\n\n")[0].splitlines())) <= 80
    assert "sam" not in text.replace("samples", "")  # no colour is asked for


@pytest.mark.parametrize("method", costs.METHODS)
def test_every_method_has_a_plan_and_needs_more_than_plain(method) -> None:
    text = plan("coco-mig", "--method", method, "--card", "h100")
    assert f"--method {method} " in text
    assert ("fetch gligen" in text) == (method == "gligen")
    both = [costs.cost(m, 800, 60, 4.0, dtype="float32", card="h100").hours for m in ("stable-diffusion", method)]
    assert both[1] >= both[0]


def test_what_has_no_figures_is_told() -> None:
    for words in (["--method", "layout-diffusion"], ["--model", "mini"], ["--card", "abacus"], ["--dtype", "int8"]):
        done = CliRunner().invoke(build_app(), ["plan", "coco-mig", *words])
        assert isinstance(done.exception, UsageError), words


def test_the_counts_are_those_of_the_networks() -> None:
    torch = pytest.importorskip("torch")
    diffusers = pytest.importorskip("diffusers")
    from torch.utils.flop_counter import FlopCounterMode

    from radl_model.pipelines.sd14 import UNET, VAE

    with torch.device("meta"), torch.no_grad():
        unet, vae = diffusers.UNet2DConditionModel(**UNET), diffusers.AutoencoderKL(**VAE)
        latent, text = torch.empty(1, 4, 64, 64), torch.empty(1, 77, 768)
        calls = {"unet": lambda: unet(latent, torch.tensor([1]), text), "vae": lambda: vae.decode(latent)}
        found = SimpleNamespace()
        for name, call in calls.items():
            with FlopCounterMode(display=False) as counter:
                call()
            setattr(found, name, counter.get_total_flops())
    assert (found.unet, found.vae) == (costs.UNET_FLOPS, costs.VAE_FLOPS)
    parameters = [sum(p.numel() for p in part.parameters()) for part in (unet, vae)]
    assert parameters == [costs.UNET_PARAMETERS, costs.VAE_PARAMETERS]
