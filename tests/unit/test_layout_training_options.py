"""What a training of layouts can be asked for: a cache, validation, Min-SNR, checkpointed activations, trackers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler
from PIL import Image

from radl_model.errors import BadInput, MissingData, MissingExtra, UsageError
from radl_model.train.adapter_loss import snr_weights
from radl_model.train.draws import Draws, Part
from radl_model.train.layout_rows import LayoutRow, write_rows
from radl_model.train.layouts import LayoutBatches, Rules
from radl_model.train.program import Program
from radl_model.train.training import Training
from tests.layout_training import config, losses, make_place, parameters, trained
from tests.tiny import tiny_pipeline


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_place(tmp_path_factory.mktemp("training"))


@pytest.fixture(scope="module")
def plain(place: Path) -> Path:
    trained(place, place / "plain")
    return place / "plain"


def with_options(place: Path, out: Path, **options: object) -> Training:
    return Training(Program.from_dict({**config(place), **options}), out)


def same(one: Path, two: Path) -> bool:
    a, b = parameters(one), parameters(two)
    return all(torch.equal(a[name], b[name]) for name in a)


def test_with_a_cache_the_loss_is_the_same_and_no_image_is_read(
    place: Path, plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Latents and text states are kept in float16, whose rounding (one part in 2,000) is all that differs."""
    made = with_options(place, tmp_path / "out", cache=str(tmp_path / "cache"))
    monkeypatch.setattr(made.batches.vae, "encode", None)
    monkeypatch.setattr(made.pipe.text_encoder, "forward", None)
    assert made.run()
    assert losses(tmp_path / "out") == pytest.approx(losses(plain), rel=2e-3)
    one, two = parameters(plain), parameters(tmp_path / "out")
    assert 0 < max(float((one[name] - two[name]).abs().max()) for name in one) < 2e-3
    first = {file.name: file.stat().st_mtime_ns for file in (tmp_path / "cache").iterdir()}
    assert "latents-00000.npy" in first
    again = with_options(place, tmp_path / "again", cache=str(tmp_path / "cache"))
    assert again.run()
    assert same(tmp_path / "out", tmp_path / "again")
    assert {file.name: file.stat().st_mtime_ns for file in (tmp_path / "cache").iterdir()} == first


def test_a_cache_goes_on_where_it_was_cut_off_and_is_refused_for_another_side(place: Path, tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    with_options(place, tmp_path / "out", cache=str(folder))
    before = np.load(folder / "latents-00001.npy")
    (folder / "latents-00001.npy").unlink()
    (folder / "texts-00001.npz").unlink()
    with_options(place, tmp_path / "again", cache=str(folder))
    assert np.array_equal(np.load(folder / "latents-00001.npy"), before)
    (folder / "latents-00000.npy").write_bytes(b"half")
    with pytest.raises(BadInput, match=r"latents-00000\.npy of the cache cannot be read.*Delete it"):
        with_options(place, tmp_path / "third", cache=str(folder)).run()
    with pytest.raises(UsageError, match="caches something else \\(side differ"):
        with_options(place, tmp_path / "other", cache=str(folder), samples={"side": 64})


def test_draws_from_a_kl_autoencoder_are_the_same_with_a_cache(place: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    vae = AutoencoderKL(
        block_out_channels=(8,) * 4,
        norm_num_groups=4,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
    )
    pipe = tiny_pipeline()
    pipe.register_modules(vae=vae.eval())
    pipe.save_pretrained(tmp_path / "base")
    table = {"base": str(tmp_path / "base")}
    one = with_options(place, tmp_path / "one", **table).batches.make_batch(2, Part.whole(4))
    two = with_options(place, tmp_path / "two", **table, cache=str(tmp_path / "cache"))
    other = two.batches.make_batch(2, Part.whole(4))
    assert torch.allclose(one.latents, other.latents, atol=2e-3)
    assert torch.equal(one.boxes, other.boxes)
    assert one.latents.std() > 0.1


def test_validation_measures_draws_and_leaves_the_training_alone(place: Path, plain: Path, tmp_path: Path) -> None:
    table = {"data": str(place / "set"), "images": 8, "drawn": 2, "steps": 2}
    judge = "radl_bench.training_set.judging:judge"
    made = Program.from_dict(
        {**config(place, sample_every=3), "validation": {**table, "judge": judge, "detector": "oracle"}}
    )
    assert Training(made, tmp_path).run()
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    figures = [row for row in rows if "validation_loss" in row]
    assert [row["step"] for row in figures] == [3, 6, 6]
    assert figures[0]["validation_loss"] != figures[1]["validation_loss"] == figures[2]["validation_loss"]
    assert (figures[-1]["R_inst"], figures[-1]["mIoU"]) == (100.0, 100.0)  # the oracle answers with the layout
    assert Image.open(tmp_path / "sheet-000006.png").size == (256, 128)
    assert same(plain, tmp_path)
    card = (tmp_path / "adapter" / "README.md").read_text()
    for words in ("6 of 6 steps", "validation_loss", "R_inst: 100", "40 images", '"batch_size": 4', "from_pretrained"):
        assert words in card


def test_gligen_is_validated_and_carded_too(place: Path, tmp_path: Path) -> None:
    table = {"data": str(place / "set"), "images": 4, "drawn": 1, "steps": 2}
    made = {**config(place, steps=1), "method": "gligen", "gligen": {}, "loss": {"null_share": 0.5}}
    assert Training(Program.from_dict({**made, "validation": table}), tmp_path).run()
    assert "GLIGEN (gated layers)" in (tmp_path / "adapter" / "README.md").read_text()
    assert (tmp_path / "sheet-000001.png").is_file()


def test_a_judge_that_cannot_speak_does_not_end_the_training(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = {"data": str(place / "set"), "images": 4, "drawn": 1, "steps": 1, "detector": "nobody"}
    table["judge"] = "radl_bench.training_set.judging:judge"
    assert Training(Program.from_dict({**config(place, steps=1), "validation": table}), tmp_path).run()
    assert "The judge gives no figures: Unknown" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"judge": "radl_bench.nowhere:judge"}, UsageError, "names the judge .* which cannot be found"),
        ({"drawn": 9, "images": 4}, UsageError, "drawn from 0 to images"),
        ({"data": "nowhere"}, MissingData, "no training layouts"),
        ({"images": 64}, MissingData, "holds 40 images; \\[validation\\] asks for 64"),
        ({"image": 4}, UsageError, "Did you mean 'images'"),
    ],
)
def test_a_validation_that_cannot_be_is_refused_at_the_start(
    place: Path, tmp_path: Path, change: dict[str, object], error: type[Exception], words: str
) -> None:
    table = {"data": str(place / "set"), "images": 4, "drawn": 1, **change}
    with pytest.raises(error, match=words):
        with_options(place, tmp_path, validation=table)


def test_min_snr_weighs_a_timestep_by_its_capped_ratio() -> None:
    """min(SNR, 5) / SNR with SNR = a / (1 - a), by hand for the first, a middle and the last timestep."""
    scheduler = DDIMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012)
    steps = torch.tensor([0, 500, 999])
    a = [float(scheduler.alphas_cumprod[i]) for i in steps]
    wanted = [min(x / (1 - x), 5) / (x / (1 - x)) for x in a]
    assert wanted[0] < 0.01
    assert wanted[1:] == [1, 1]
    assert snr_weights(scheduler, steps, 5.0).tolist() == pytest.approx(wanted, rel=1e-5)
    scheduler.register_to_config(prediction_type="v_prediction")
    wanted = [min(x / (1 - x), 5) / (x / (1 - x) + 1) for x in a]
    assert snr_weights(scheduler, steps, 5.0).tolist() == pytest.approx(wanted, rel=1e-5)


def test_min_snr_changes_the_loss_and_a_high_cap_does_not(place: Path, plain: Path, tmp_path: Path) -> None:
    loss = {"phrase_dropout": 0.2}
    assert with_options(place, tmp_path / "low", loss={**loss, "min_snr": 0.01}).run()
    assert with_options(place, tmp_path / "high", loss={**loss, "min_snr": 1e9}).run()
    assert losses(tmp_path / "high") == losses(plain)
    assert losses(tmp_path / "low")[0] < 0.9 * losses(plain)[0]


@pytest.mark.parametrize("inhibition", [0.0, 0.1])
def test_checkpointed_activations_give_the_same_gradients(place: Path, tmp_path: Path, inhibition: float) -> None:
    grads, kept = [], []
    for name, on in (("kept", False), ("again", True)):
        loss = {"inhibition": inhibition}
        made = with_options(place, tmp_path / name, gradient_checkpointing=on, loss=loss)
        sizes: list[int] = []

        def pack(tensor: torch.Tensor, sizes: list[int] = sizes) -> torch.Tensor:
            sizes.append(tensor.nbytes)
            return tensor

        batch = made.batches.make_batch(0, Part.whole(4))
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            value = made._loss(made.module, batch, Draws(torch.Generator().manual_seed(0), Part.whole(4)))
        value.backward()
        grads.append([p.grad.clone() for p in made.loop.parameters if p.grad is not None])
        kept.append(sum(sizes))
    assert len(grads[0]) == len(grads[1]) > 10
    assert all(torch.allclose(a, b, rtol=1e-4, atol=1e-7) for a, b in zip(*grads, strict=True))
    assert kept[1] < kept[0] / 2


@pytest.mark.parametrize(
    ("loop", "error", "words"),
    [
        ({"trackers": ["tensorbord"]}, UsageError, "Did you mean 'tensorboard'"),
        ({"precision": "fp16"}, UsageError, "needs a GPU"),
        ({"precision": "fp8"}, UsageError, "Unknown precision"),
    ],
)
def test_a_loop_that_cannot_be_is_refused(
    place: Path, tmp_path: Path, loop: dict[str, object], error: type[Exception], words: str
) -> None:
    if loop == {"precision": "fp16"} and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(error, match=words):
        Training(Program.from_dict(config(place, **loop)), tmp_path)


def test_a_tracker_that_is_not_installed_is_named(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("radl_model.train.accelerating.TRACKERS", {"wandb": ("no_such_package",)})
    with pytest.raises(MissingExtra, match="pip install no_such_package"):
        Training(Program.from_dict(config(place, trackers=["wandb"])), tmp_path)


def test_figures_go_to_tensorboard(place: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert Training(Program.from_dict(config(place, trackers=["tensorboard"])), tmp_path / "out").run()
    events = next((tmp_path / "out").rglob("events.out.tfevents*"))
    read = EventAccumulator(str(events.parent)).Reload()
    assert [event.step for event in read.Scalars("loss")] == [1, 2, 3, 4, 5, 6]
    assert [event.value for event in read.Scalars("loss")] == pytest.approx(losses(tmp_path / "out"), rel=1e-4)


def test_an_image_of_another_size_than_its_row_says_is_refused(tmp_path: Path) -> None:
    Image.new("RGB", (40, 30)).save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    row = LayoutRow("a", content, 30, 40, "a dog", ["a dog"], ["dog"], [[0, 0, 1, 1]], ["class"], "", "", "")
    write_rows(tmp_path / "layouts-00000.parquet", [row])
    batches = LayoutBatches(tmp_path, tiny_pipeline(), Rules(side=16), 1, 0)
    with pytest.raises(BadInput, match="has 40 x 30 pixels, and its row says 30 x 40"):
        batches.make_batch(0, Part.whole(1))
