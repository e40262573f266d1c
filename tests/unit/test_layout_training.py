"""Training an adapter on a frozen base from a set of layouts: the crop, the order, parts of a step, cut and resumed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from radl_bench.runs.writer import Shard
from radl_bench.training_set.build import Source, build_layouts
from radl_bench.training_set.rows import Rules
from radl_model.errors import BadInput, UsageError
from radl_model.train.batch import AdapterBatch
from radl_model.train.crop import crop_pixels, place_boxes
from radl_model.train.draws import Draws, Part
from radl_model.train.program import Program
from radl_model.train.training import Training
from tests.layout_training import config, losses, make_place, parameters, trained
from tests.tiny import tiny_pipeline
from tests.tiny_grounding import SHARED


def test_boxes_move_with_the_crop_and_what_is_cut_away_is_left_out() -> None:
    pixels = np.zeros((40, 80, 3), np.uint8)
    pixels[10:30, 30:50] = (200, 0, 0)  # rows 10..30, columns 30..50 of 80: the middle square begins at column 20
    boxes = [(30 / 80, 0.25, 50 / 80, 0.75), (0.0, 0.0, 0.24, 1.0), (0.2, 0.0, 0.5, 1.0)]
    square, placed = crop_pixels(Image.fromarray(pixels), 40), place_boxes(80, 40, boxes, 40)
    assert square.shape == (3, 40, 40)
    assert placed.kept == [0, 2]
    assert placed.boxes[0] == pytest.approx((0.25, 0.25, 0.75, 0.75))
    assert placed.boxes[1] == pytest.approx((0.0, 0.0, 0.5, 1.0))
    red = square[0] > 0
    assert red[10:30, 10:30].all()
    assert int(red.sum()) == 400


def test_draws_of_parts_are_those_of_the_whole() -> None:
    def drawn(part: Part) -> list[torch.Tensor]:
        draws = Draws(torch.Generator().manual_seed(3), part)
        return [draws.randn(2, 3), draws.rand(5), draws.randint(4, 90)]

    whole, parts = drawn(Part.whole(6)), [drawn(Part(0, 4, 6)), drawn(Part(4, 6, 6))]
    for index, values in enumerate(whole):
        assert torch.equal(values, torch.cat([part[index] for part in parts]))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_place(tmp_path_factory.mktemp("training"))


@pytest.fixture(scope="module")
def uncut(place: Path) -> Path:
    trained(place, place / "uncut")
    return place / "uncut"


def test_cut_and_resumed_it_ends_with_the_same_weights(place: Path, uncut: Path, tmp_path: Path) -> None:
    program = Program.from_dict(config(place))
    cut = Training(program, tmp_path)
    while cut.loop.step < 3:
        assert not cut.run(minutes=0)
        cut = Training(program, tmp_path)
    assert cut.run()
    whole, again = parameters(uncut), parameters(tmp_path)
    assert whole.keys() == again.keys()
    assert all(torch.equal(whole[name], again[name]) for name in whole)


def test_a_step_taken_in_turns_is_the_same_step(place: Path, uncut: Path, tmp_path: Path) -> None:
    trained(place, tmp_path, accumulate=2)
    assert losses(tmp_path) == pytest.approx(losses(uncut), rel=1e-4)
    whole, turns = parameters(uncut), parameters(tmp_path)
    assert max(float((whole[n] - turns[n]).abs().max()) for n in whole) < 2e-4


def test_a_part_without_an_instance_is_no_error_and_adds_nothing(place: Path, tmp_path: Path) -> None:
    """Every phrase is dropped: nothing reaches the adapter, and no step moves it."""
    table = {**config(place, steps=2, accumulate=2), "loss": {"phrase_dropout": 1.0}}
    made = Training(Program.from_dict(table), tmp_path)
    before = [parameter.detach().clone() for parameter in made.loop.parameters]
    assert made.run()
    assert all(torch.equal(a, b) for a, b in zip(before, made.loop.parameters, strict=True))
    assert all(loss > 0.5 for loss in losses(tmp_path))


def test_what_no_process_reached_keeps_no_gradient(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in one process; what half of them reached has half its gradient. The mean with a process without any."""
    loop = Training(Program.from_dict(config(place)), tmp_path).loop
    monkeypatch.setattr(loop.accelerator, "reduce", lambda tensor, how: tensor / 2)
    loop.parameters[0].grad = torch.ones_like(loop.parameters[0])
    loop._average_gradients()
    assert loop.parameters[0].grad is not None
    assert (loop.parameters[0].grad == 0.5).all()
    assert all(parameter.grad is None for parameter in loop.parameters[1:])


def test_the_adapter_is_written_and_the_base_is_untouched(place: Path, uncut: Path) -> None:
    from radl_model.pipelines.pipeline import RaDLPipeline

    before = load_file(place / "base" / "unet" / "diffusion_pytorch_model.safetensors")
    pipe = RaDLPipeline.from_pretrained(place / "base", adapter=uncut / "adapter")
    assert all(torch.equal(value, before[name]) for name, value in pipe.unet.state_dict().items() if name in before)
    assert pipe.adapter is not None


@pytest.mark.slow
def test_two_processes_train_as_one(place: Path, uncut: Path, tmp_path: Path) -> None:
    """Two processes over gloo have the loss curve of one with the same batch; cut or not, the same weights."""
    import tomli_w

    (tmp_path / "config.toml").write_text(tomli_w.dumps(config(place)))
    launch = [
        sys.executable,
        "-m",
        "accelerate.commands.launch",
        "--cpu",
        "--num_processes",
        "2",
        "--num_machines",
        "1",
    ]
    launch += ["--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
    command = [*launch, "-m", "radl_model.train", str(tmp_path / "config.toml"), "--out"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}

    def trained(name: str, *more: str, ends: bool = True) -> str:
        ran = subprocess.run(
            [*command, str(tmp_path / name), *more], env=environment, capture_output=True, text=True, timeout=280
        )
        assert (ran.returncode == 0) == ends, ran.stderr[-2000:]
        return ran.stdout

    assert "Stopped at step 1" in trained("two", "--minutes", "0", ends=False)
    trained("two")
    trained("whole")
    whole = parameters(tmp_path / "whole")
    assert all(torch.equal(value, whole[name]) for name, value in parameters(tmp_path / "two").items())
    assert losses(tmp_path / "two") == pytest.approx(losses(uncut), rel=1e-4)
    one, two = parameters(uncut), parameters(tmp_path / "two")
    assert max(float((one[n] - two[n]).abs().max()) for n in one) < 2e-4


@pytest.mark.slow
@pytest.mark.skipif(not (SHARED / "coco_tiny").is_dir(), reason="COCO_Tiny is not at $RADL_BENCH_SHARED/data")
def test_the_loss_falls_on_coco_tiny(tmp_path: Path, place: Path) -> None:
    """Seeded: 200 steps of 4 on COCO_Tiny's photographs lower the running loss from 1.081 at step 50 to 1.018.

    With a learning rate of 1e-9 it goes from 1.132 to 1.143, so the fall is learnt and not the order of the images.
    """
    source = Source(SHARED / "coco_tiny", "val2017", rules=Rules(captions="labels"))
    list(build_layouts(source, tmp_path / "set", Shard(), size=40))
    table = config(place, steps=200, warmup=10, log_every=50)
    table["data"] = str(tmp_path / "set")
    assert Training(Program.from_dict(table), tmp_path / "out").run()
    curve = losses(tmp_path / "out")
    assert curve[-1] < 0.96 * curve[0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"bases": "x"}, "Did you mean 'base'"),
        ({"loop": {"steps": 1, "batch_size": 4, "lr": 1, "lrr": 2}}, "Unknown key of \\[loop\\] 'lrr'"),
        ({"loop": {"steps": 1}}, "not complete"),
        ({"method": "fussion"}, "Did you mean 'fusion'"),
        ({"loop": {"steps": 1, "batch_size": "4", "lr": 1e-3}}, "'batch_size' of \\[loop\\] should be a whole number"),
        ({"loop": {"steps": 1, "batch_size": 0, "lr": 1e-3}}, "at least 1, not 0"),
        ({"loss": {"null_share": 0.1}}, "Unknown option of \\[loss\\] 'null_share'"),  # GLIGEN's, not RaDL's
        ({"samples": {"side": True}}, "'side' of \\[samples\\] should be a whole number"),
        ({"init_seed": "one"}, "'init_seed' of the training config should be a whole number"),
        ({"loss": 3}, "should be a table, \\[loss\\]"),
    ],
)
def test_a_config_is_checked_before_anything_is_loaded(place: Path, change: dict, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Program.from_dict({**config(place), **change})


def test_other_settings_do_not_go_on_in_the_same_folder(place: Path, uncut: Path) -> None:
    with pytest.raises(UsageError, match="other settings \\(data_seed\\)"):
        Training(Program.from_dict({**config(place), "data_seed": 5}), uncut)


def test_another_training_set_does_not_go_on_in_the_same_folder(place: Path, uncut: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "set", tmp_path / "set")
    table = config(place)
    table["data"] = str(tmp_path / "set")
    shutil.copytree(uncut, tmp_path / "out")
    text = (tmp_path / "out" / "settings.json").read_text().replace(str(place / "set"), str(tmp_path / "set"))
    (tmp_path / "out" / "settings.json").write_text(text)
    Training(Program.from_dict(table), tmp_path / "out")  # the same set in another place would do
    next((tmp_path / "set").glob("layouts-*.parquet")).unlink()
    with pytest.raises(UsageError, match="other settings \\(images of the training set\\)"):
        Training(Program.from_dict(table), tmp_path / "out")


@pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_ends_the_training_after_the_step_with_a_checkpoint(
    place: Path, uncut: Path, tmp_path: Path, kind: signal.Signals
) -> None:
    training = Training(Program.from_dict(config(place)), tmp_path)
    make = training.loop.make_batch

    def signalled(step: int, part: Part) -> AdapterBatch:
        if step == 2:
            os.kill(os.getpid(), kind)
        return make(step, part)

    training.loop.make_batch = signalled
    before = signal.getsignal(kind)
    assert not training.run()
    assert training.loop.step == 3
    assert signal.getsignal(kind) is before
    again = Training(Program.from_dict(config(place)), tmp_path)
    assert again.run()
    whole, parts = parameters(uncut), parameters(tmp_path)
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_a_batch_larger_than_the_set_is_refused(place: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="holds 40 images; a step takes 64"):
        Training(Program.from_dict(config(place, batch_size=64)), tmp_path)


@pytest.mark.parametrize("name", ["radl-sd14", "migc-sd14", "gligen-sd14"])
def test_the_shipped_configurations_are_read(name: str) -> None:
    from radl_model.train import program
    from radl_model.train.config import load_config
    from radl_model.train.ways import way_named

    made = Program.from_dict(load_config(Path(program.__file__).parent / "configs" / f"{name}.toml"))
    assert (made.loop.batch_size, made.loop.decay, made.rules.side) == (320, 0, 512)
    assert made.rules.empty_share == (0.5 if name == "gligen-sd14" else 0.1)
    way_named(made.method).make(tiny_pipeline().unet, made.settings)
