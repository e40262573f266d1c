"""Every reader of files meets files with something wrong in them: it reads them or raises a clear error, in time.

RADL_FUZZ=5000 spreads that many inputs over the readers (minutes); without it a part of a minute is spent. Inputs are
drawn without randomness, so a failure repeats.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from coco_folder import annotations
from fuzz import mutate_bytes, mutate_json
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from PIL import Image
from public_layouts import DIFFUSERS, TINY_BLOCKS, checkpoint
from report_runs import make_run
from test_drawbench_import import BOXES, TABLE
from tiny import tiny_unet, wake

from radl_bench.benchmarks.builders.coco import read_images
from radl_bench.benchmarks.importers.coco_mig import read_annotations
from radl_bench.benchmarks.importers.drawbench import read_drawbench
from radl_bench.benchmarks.loading import benchmark_of, load_benchmark
from radl_bench.benchmarks.samples import parse_samples, sample_from_dict
from radl_bench.benchmarks.verify import verify
from radl_bench.errors import RadlBenchError
from radl_bench.report import build_report, write_report
from radl_bench.runs.image_folder import read_folder
from radl_bench.runs.image_import import notes_of, sources_of
from radl_bench.runs.image_names import by_table
from radl_bench.runs.images import Picture
from radl_bench.runs.store import RunFolder
from radl_bench.scoring.compare import compare_runs
from radl_bench.scoring.fid_reference import folder_images, read_reference
from tests.conftest import tiny_row

INPUTS = int(os.environ.get("RADL_FUZZ", "0"))
HANG = 20
"""Seconds that one input may take."""

SAMPLES = b"".join(json.dumps(tiny_row(n, 2 + n % 3)).encode() + b"\n" for n in range(4))
TOML = b"""name = "tiny"
version = "1"
license = "CC0-1.0"
citation = "none"
images_per_sample = 1
resolution = 64
samples_sha256 = "%s"

[levels]
2 = 2
3 = 1
4 = 1

[metrics.success]
iou = 0.5
"""


@dataclass
class Reader:
    """One kind of file.

    Attributes:
        file: its name in the folder; read: what reads it; prepare: what writes all else that belongs to it.
        sound: what a sound one holds, bytes, or a value for JSON; None for what `prepare` left there as JSON.
    """

    file: str
    sound: Any
    read: Callable[[Path], object]
    prepare: Callable[[Path], object] = lambda folder: None

    def content(self, folder: Path) -> Any:
        """Return what a sound file holds."""
        if self.sound is None:
            return json.loads((folder / self.file).read_bytes())
        return self.sound(folder) if callable(self.sound) else self.sound


def toml(samples: bytes) -> bytes:
    from hashlib import sha256

    return TOML % sha256(samples).hexdigest().encode()


def write_benchmark(folder: Path) -> None:
    (folder / "samples.jsonl").write_bytes(SAMPLES)
    (folder / "benchmark.toml").write_bytes(toml(SAMPLES))


def a_run(folder: Path) -> RunFolder:
    write_benchmark(folder)
    benchmark = load_benchmark(folder)
    generator = {"name": "toy", "revision": "1", "model": None, "params": {"steps": 3}, "weights_sha256": None}
    run = RunFolder.create(folder / "runs", benchmark, generator, source=str(folder), environment={"python": "3"})
    with run.writer() as out:
        out.write_image("tiny-000", 0, 1, Image.new("RGB", (8, 8), "red"), 0.1, "all black")
        out.write_failure("tiny-001", 0, 2, "could not", 0.1)
    run.update_status()
    for file in ("manifest.json", "generations-0of1.jsonl"):
        (folder / file).write_bytes((run.path / file).read_bytes())
    return run


def read_run(folder: Path) -> None:
    run = RunFolder.open(folder)
    run.rows(), run.done(), run.planned, run.images()
    benchmark_of(run.manifest)


def read_results(folder: Path) -> None:
    from radl_bench.judges.from_file import load_result_judge

    file = folder / "results.json"
    for n in range(2):
        Image.new("RGB", (64, 64)).save(folder / f"tiny-00{n}_0.png")
    pictures = [Picture(sample_from_dict(tiny_row(n, 2)), 0, folder / f"tiny-00{n}_0.png") for n in range(2)]
    for kind in ("detector", "segmenter"):
        judge = load_result_judge(kind, f"file:{file}")
        with contextlib.suppress(RadlBenchError):
            judge.prepare(pictures)
            judge.notes(pictures)
        for picture in pictures:
            if kind == "detector":
                judge.detect([Image.new("RGB", (64, 64))], [["car", "dog"]], [picture])
            else:
                judge.masks(np.zeros((64, 64, 3), np.uint8), np.array([[0, 0.25, 0.5, 0.75]]), picture)


def read_folder_of_images(folder: Path) -> None:
    images = folder / "images"
    images.mkdir(exist_ok=True)
    (images / "a.png").write_bytes((folder / "a.png").read_bytes())
    list(folder_images(images))


def image_of(kind: str, **options: Any) -> bytes:
    import io

    stream, noise = io.BytesIO(), np.random.default_rng(0).integers(0, 256, (9, 9, 4), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(noise if kind != "JPEG" else noise[..., :3]).save(stream, kind, exif=exif, **options)
    return stream.getvalue()


def read_map(folder: Path) -> None:
    benchmark = load_benchmark(folder)
    by_table(read_folder(folder), folder / "map.csv", benchmark, [s.id for s in benchmark.samples])


def write_map(folder: Path) -> None:
    write_benchmark(folder)
    Image.new("RGB", (8, 8)).save(folder / "a.png")


def read_scores(folder: Path) -> None:
    run = folder / "runs" / "coco-mig" / "radl" / "00000000"
    (run / "scores" / "scores.json").write_bytes((folder / "scores.json").read_bytes())
    report = build_report([run, other_run(folder)])
    for format in ("markdown", "latex", "csv", "json"):
        write_report(report, format, folder / "out" / f"report.{format}")
    compare_runs(run, other_run(folder))


def other_run(folder: Path) -> Path:
    return folder / "runs" / "coco-mig" / "migc" / "00000001"


def write_scores(folder: Path) -> None:
    for name, hash in (("migc", "00000001"), ("radl", "00000000")):
        run = make_run(folder, name, 0.5, hash=hash, levels=(2, 3), samples=3)
    (folder / "scores.json").write_bytes((run / "scores" / "scores.json").read_bytes())


def write_adapter(folder: Path) -> None:
    from radl_model.adapters.adapter import FusionAdapter
    from radl_model.checkpoints.adapters import save_adapter
    from radl_model.layers.config import FusionConfig

    adapter = FusionAdapter.from_unet(tiny_unet(), FusionConfig(position_hidden=16, mask_mode="area"))
    wake(adapter)
    save_adapter(adapter, folder)


def read_adapter(folder: Path) -> None:
    from radl_model.checkpoints.adapters import load_adapter

    load_adapter(folder)


@cache
def sound_checkpoint() -> bytes:
    from safetensors.torch import save

    made = checkpoint("migc", dict(zip(TINY_BLOCKS, (64, 32, 32), strict=True)), d=32, hidden=16)
    return save({key: value.contiguous() for key, value in made.get("state_dict", made).items()})[:60_000]


def read_checkpoint(folder: Path) -> None:
    from radl_model.checkpoints.public import read_public

    read_public(folder / "public.safetensors", layers=[DIFFUSERS[block] for block in TINY_BLOCKS])


@cache
def sound_reference() -> bytes:
    import io

    stream = io.BytesIO()
    np.savez(stream, mu=np.zeros(3), sigma=np.eye(3), n=np.array(9), judge=np.array("x@1"), name=np.array("x"))
    return stream.getvalue()


MASKS = ([[0, 16, 30, 16, 9, 48]], {"size": [64, 64], "counts": [9, 4087]}, {"size": [64, 64], "counts": "PP4"})
RESULTS = {
    "images": [{"id": n, "file_name": f"tiny-00{n}_0.png", "width": 64, "height": 64.0} for n in range(2)],
    "categories": [{"id": 3, "name": "car"}, {"id": 18, "name": "dog"}],
    "annotations": [
        {"image_id": 0, "category_id": 3, "bbox": [0, 16, 30, 32], "score": 0.9, "segmentation": MASKS[0]},
        {"image_id": 1, "category": "dog", "bbox": [1, 2, 3, 4], "segmentation": MASKS[1]},
        {"file": "tiny-001_0.png", "category_id": 18, "bbox": [5, 5, 9, 9], "segmentation": MASKS[2]},
    ],
}
MIG = {
    "a photo of a hot dog": {
        "a red car": [[0.1, 0.2, 0.5, 0.9]],
        "a blue hot dog": [[0.5, 0.5, 1.0, 0.8], [0, 0, 1, 1]],
        "coco_id": "17",
    },
    "a photo of a red car": {"a red car": [[0, 0, 1, 1]], "coco_id": 3},
}
RECORD = {"sources": {"a_0": "x/1.png"}, "notes": ["1 file (a.png) all black."]}


def read_toml(folder: Path) -> None:
    load_benchmark(folder)
    list(verify(str(folder)))


def read_samples(folder: Path) -> None:
    data = (folder / "samples.jsonl").read_bytes()
    (folder / "benchmark.toml").write_bytes(toml(data).replace(b"[levels]\n2 = 2\n3 = 1\n4 = 1\n", b""))
    parse_samples(data, "samples.jsonl", free_phrases=True)
    load_benchmark(folder)


def read_coco(folder: Path) -> None:
    (folder / "captions.json").write_text(json.dumps(annotations(4)[1]))
    read_images(folder / "instances.json", folder / "captions.json")


def read_drawbench_files(folder: Path) -> None:
    for name, text in (("prompts.csv", TABLE), ("boxes.yaml", BOXES)):
        if not (folder / name).is_file():
            (folder / name).write_text(text)
    read_drawbench(folder / "prompts.csv", folder / "boxes.yaml")


def bytes_of(file: str, most: int | None = None) -> Callable[[Path], bytes]:
    return lambda folder: (folder / file).read_bytes()[:most]


def first_row(folder: Path) -> Any:
    return json.loads((folder / ROWS).read_bytes().split(b"\n")[0])


ROWS, WEIGHTS = "generations-0of1.jsonl", "diffusion_pytorch_model.safetensors"
RELATED = tiny_row(0, 3) | {"relations": [[0, "on", 1]]}
MAP = b"file,sample_id,k\na.png,tiny-000,0\na.png,tiny-001,\n"
READERS = {
    "manifest": Reader("manifest.json", None, read_run, a_run),
    "rows": Reader(ROWS, bytes_of(ROWS), read_run, a_run),
    "row": Reader(ROWS, first_row, read_run, a_run),
    "benchmark.toml": Reader("benchmark.toml", toml(SAMPLES), read_toml, write_benchmark),
    "samples": Reader("samples.jsonl", SAMPLES, read_samples, write_benchmark),
    "sample": Reader("samples.jsonl", RELATED, read_samples, write_benchmark),
    "results": Reader("results.json", RESULTS, read_results),
    "map": Reader("map.csv", MAP, read_map, write_map),
    "png": Reader("a.png", image_of("PNG"), read_folder_of_images),
    "jpeg": Reader("a.png", image_of("JPEG"), read_folder_of_images),
    "webp": Reader("a.png", image_of("WEBP"), read_folder_of_images),
    "record": Reader("import.json", RECORD, lambda folder: (sources_of(folder), notes_of(folder))),
    "coco-mig": Reader("mig.yaml", MIG, lambda folder: read_annotations(folder / "mig.yaml")),
    "coco": Reader("instances.json", annotations(4)[0], read_coco),
    "drawbench csv": Reader("prompts.csv", TABLE.encode(), read_drawbench_files),
    "drawbench yaml": Reader("boxes.yaml", BOXES.encode(), read_drawbench_files),
    "scores": Reader("scores.json", None, read_scores, write_scores),
    "adapter config": Reader("config.json", None, read_adapter, write_adapter),
    "adapter weights": Reader(WEIGHTS, bytes_of(WEIGHTS, 20_000), read_adapter, write_adapter),
    "checkpoint": Reader("public.safetensors", lambda _: sound_checkpoint(), read_checkpoint),
    "fid reference": Reader("ref.npz", lambda _: sound_reference(), lambda folder: read_reference(folder / "ref.npz")),
}
CUT = ("adapter weights", "checkpoint")
"""Whose sound content is cut, since the head is what can be wrong in ways of its own."""
SLOW = {"scores": 10, "adapter config": 12, "adapter weights": 12, "checkpoint": 6, "manifest": 3}
"""Times fewer inputs for what takes long."""


@contextlib.contextmanager
def in_time() -> Iterator[None]:
    """Fail when the block takes longer than `HANG` seconds."""

    def ring(*_: object) -> None:
        raise AssertionError(f"it hangs: more than {HANG} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(HANG)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def inputs(name: str) -> int:
    return max(4, -(-INPUTS // len(READERS)) if INPUTS else 250 // SLOW.get(name, 1))


CHOICE = st.tuples(st.integers(0, 2**16), st.integers(0, 55), st.integers(0, 2**16))


@pytest.mark.parametrize("name", READERS)
def test_a_file_is_read_or_refused_in_words(name, tmp_path, capfd):
    reader = READERS[name]
    reader.prepare(tmp_path)
    sound = reader.content(tmp_path)
    data = sound if isinstance(sound, bytes) else json.dumps(sound).encode()

    def read(content: bytes) -> None:
        (tmp_path / reader.file).write_bytes(content)
        with in_time():
            reader.read(tmp_path)

    if name not in CUT:
        read(data + b"\n" * (name == "row"))

    @settings(
        max_examples=inputs(name),
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.booleans(), st.lists(CHOICE, min_size=1, max_size=2))
    def attack(structure: bool, choices: list[tuple[int, int, int]]) -> None:
        content = mutate_bytes(data, choices) if data is sound or not structure else mutate_json(sound, choices)
        try:
            read(content + b"\n" if name == "row" else content)
        except RadlBenchError as error:
            text = str(error)
            assert len(text) > 10
        except BaseException as error:
            raise AssertionError(f"{name}: {type(error).__name__}: {error!s:.300} for {content[:3000]!r}") from error

    attack()
