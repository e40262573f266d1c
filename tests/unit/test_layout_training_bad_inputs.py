"""Bad input of a training: each is a clear error or a counted drop, and what was written before stays."""

from __future__ import annotations

import errno
import json
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

from radl_bench.runs.writer import Shard
from radl_bench.training_set.build import Source, build_layouts, read_datasheet
from radl_model.errors import BadInput, DiskFull, MissingData, MissingWeights, UsageError
from radl_model.train.draws import Part
from radl_model.train.layout_rows import read_rows, shard_files, write_rows
from radl_model.train.program import Program
from radl_model.train.training import Training
from tests.layout_training import config, make_place, parameters


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_place(tmp_path_factory.mktemp("training"))


@pytest.fixture(scope="module")
def begun(place: Path) -> Path:
    """A training stopped after its first step."""
    assert not Training(Program.from_dict(config(place)), place / "begun").run(minutes=0)
    return place / "begun"


def training(place: Path, out: Path, **changes: object) -> Training:
    return Training(Program.from_dict({**config(place), **changes}), out)


def copied_base(place: Path, folder: Path) -> Path:
    shutil.copytree(place / "base", folder / "base")
    return folder / "base"


def test_boxes_outside_of_their_image_are_cut_or_left_out(tmp_path: Path) -> None:
    """COCO's own boxes reach over the edge by fractions of a pixel; one that lies outside is no instance."""
    (tmp_path / "toy").mkdir()
    Image.new("RGB", (100, 50)).save(tmp_path / "toy" / "0.png")
    images = [{"id": 0, "file_name": "0.png", "width": 100, "height": 50}]
    boxes = [
        {"id": i, "image_id": 0, "category_id": 1, "bbox": b} for i, b in enumerate([[60, 10, 70, 30], [120, 0, 9, 9]])
    ]
    content = {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "dog"}]}
    (tmp_path / "instances_toy.json").write_text(json.dumps(content))
    captions = {"annotations": [{"id": 0, "image_id": 0, "caption": "a dog"}]}
    (tmp_path / "captions_toy.json").write_text(json.dumps(captions))
    list(build_layouts(Source(tmp_path, "toy"), tmp_path / "set", Shard()))
    (row,) = read_rows(shard_files(tmp_path / "set")[0])
    assert row.boxes == [pytest.approx([0.6, 0.2, 1.0, 0.8], abs=2e-3)]


def test_boxes_of_a_set_of_ones_own_that_lie_outside_are_left_out(place: Path, tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    rows = [row for file in shard_files(place / "set") for row in read_rows(file)][:4]
    for row, box in zip(
        rows, ([1.2, 0, 1.5, 1], [0.5, 0.5, 0.4, 0.9], [-0.5, 0, 0.9, 1], [0.3, 0.3, 0.6, 0.6]), strict=True
    ):
        row.boxes[:] = [box]
    write_rows(tmp_path / "set" / "layouts-00000.parquet", rows)
    batch = training(place, tmp_path / "out", data=str(tmp_path / "set")).batches.make_batch(0, Part.whole(4))
    assert sorted(batch.valid.sum(1).tolist()) == [0, 0, 1, 1]
    assert float(batch.boxes.min()) >= 0
    assert float(batch.boxes.max()) <= 1


def test_an_image_of_the_set_that_is_broken_is_named(place: Path, tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    rows = [row for file in shard_files(place / "set") for row in read_rows(file)][:4]
    broken = [type(row)(**{**vars(row), "image": row.image[:200]}) for row in rows]
    write_rows(tmp_path / "set" / "layouts-00000.parquet", broken)
    with pytest.raises(BadInput, match=r"The image \d+ of the training set cannot be read"):
        training(place, tmp_path / "out", data=str(tmp_path / "set")).run()


def test_a_shard_that_is_cut_off_is_named(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "set", tmp_path / "set")
    file = tmp_path / "set" / "layouts-00001.parquet"
    file.write_bytes(file.read_bytes()[:5000])
    with pytest.raises(MissingData, match=r"layouts-00001\.parquet is no shard"):
        training(place, tmp_path / "out", data=str(tmp_path / "set"))


def test_a_base_of_another_shape_is_refused(place: Path, tmp_path: Path) -> None:
    base = copied_base(place, tmp_path)
    index = json.loads((base / "model_index.json").read_text())
    (base / "model_index.json").write_text(json.dumps({**index, "text_encoder_2": ["transformers", "CLIPTextModel"]}))
    with pytest.raises(UsageError, match="not shaped like Stable Diffusion v1: it has the part 'text_encoder_2'"):
        training(place, tmp_path / "out", base=str(base))
    assert not (tmp_path / "out").exists()


def test_a_base_that_was_not_downloaded_to_its_end_is_refused(place: Path, tmp_path: Path) -> None:
    base = copied_base(place, tmp_path)
    weights = base / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])
    with pytest.raises(BadInput, match="cannot be loaded"):
        training(place, tmp_path / "out", base=str(base))
    shutil.rmtree(base / "unet")
    with pytest.raises(BadInput, match="incomplete: its folder 'unet' is missing"):
        training(place, tmp_path / "out", base=str(base))
    with pytest.raises(MissingWeights, match="There is no model"):
        training(place, tmp_path / "out", base=str(tmp_path / "nowhere"))


def test_an_adapter_for_another_base_is_no_start(place: Path, tmp_path: Path) -> None:
    from radl_model.adapters.adapter import FusionAdapter
    from radl_model.checkpoints.adapters import save_adapter
    from tests.tiny import tiny_unet

    save_adapter(FusionAdapter.from_unet(tiny_unet(block_out_channels=(32, 96))), tmp_path / "other")
    with pytest.raises(UsageError, match="does not fit"):
        training(place, tmp_path / "out", init_from=str(tmp_path / "other"))


def test_a_checkpoint_that_is_cut_off_is_named(place: Path, begun: Path, tmp_path: Path) -> None:
    shutil.copytree(begun, tmp_path / "out")
    file = tmp_path / "out" / "checkpoint.pt"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(BadInput, match=r"checkpoint\.pt cannot be read.*delete it to begin again"):
        training(place, tmp_path / "out")


def test_a_full_disk_leaves_the_last_checkpoint(
    place: Path, begun: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(begun, tmp_path / "out")
    before = parameters(tmp_path / "out")

    def full(state: object, file: Path) -> None:
        Path(file).write_bytes(b"part")
        raise OSError(errno.ENOSPC, "No space left on device")

    made = training(place, tmp_path / "out")
    with monkeypatch.context() as patched:
        patched.setattr(torch, "save", full)
        with pytest.raises(DiskFull, match=r"checkpoint\.pt.*cannot be written.*Make room and run it again"):
            made.run(minutes=0)
    after = parameters(tmp_path / "out")
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not list((tmp_path / "out").glob("*.part"))
    again = training(place, tmp_path / "out")
    assert again.loop.step == 1


def test_a_limit_of_the_file_system_is_told_as_a_full_disk(place: Path, begun: Path, tmp_path: Path) -> None:
    """As torch itself meets it: files may not grow beyond 100 kB."""
    resource, signal = pytest.importorskip("resource"), pytest.importorskip("signal")
    shutil.copytree(begun, tmp_path / "out")
    made = training(place, tmp_path / "out")
    old, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, old[1]))
        with pytest.raises(DiskFull, match=r"checkpoint\.pt"):
            made.loop.save()
        with pytest.raises(DiskFull, match="adapter"):
            made._export(made.module, 1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        signal.signal(signal.SIGXFSZ, handler)
    assert training(place, tmp_path / "out").loop.step == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_log_without_room_is_told(place: Path, begun: Path, tmp_path: Path) -> None:
    shutil.copytree(begun, tmp_path / "out")
    (tmp_path / "out" / "log.jsonl").unlink()
    (tmp_path / "out" / "log.jsonl").symlink_to("/dev/full")
    with pytest.raises(DiskFull, match=r"log\.jsonl"):
        training(place, tmp_path / "out").run(minutes=0)


def test_building_on_a_full_disk_keeps_the_finished_shards(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pyarrow.parquet as pq

    source, write, calls = Source(place / "coco", "toy"), pq.write_table, []

    def full(table: object, file: Path, **options: object) -> None:
        calls.append(file)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(table, file, **options)

    with monkeypatch.context() as patched:
        patched.setattr(pq, "write_table", full)
        with pytest.raises(DiskFull, match=r"layouts-00001\.parquet"):
            list(build_layouts(source, tmp_path / "set", Shard(), size=16))
    first = shard_files(tmp_path / "set")
    assert [file.name for file in first] == ["layouts-00000.parquet"]
    stamp = first[0].stat().st_mtime_ns
    list(build_layouts(source, tmp_path / "set", Shard(), size=16))
    assert first[0].stat().st_mtime_ns == stamp
    assert read_datasheet(tmp_path / "set") is not None
