"""One run out of parts that several machines made: shards of one configuration."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from radl_bench.errors import BadInput, UsageError
from radl_bench.files import file_sha256, locked, replace_file
from radl_bench.runs.generate import plan
from radl_bench.runs.plan import RunImages
from radl_bench.runs.store import ImageKey, RunFolder, config_hash, slug, widen
from radl_bench.runs.writer import ImageRow

ROWS = "generations-0of1.jsonl"


def merge_runs(parts: Sequence[Path], root: Path) -> RunFolder:
    """Copy the images and rows of parts of one experiment into one run under `root`, which may be one of the parts.

    The rows stand in the order in which one process would have made them, each as it was written, the newest of an
    image that was tried more than once; so a merged run differs from an unsharded one in times alone. Scores and
    evidence are not merged: score the run.

    Raises:
        UsageError: fewer than two parts, or parts of different configurations.
        BadInput: two parts hold different images of one sample and seed, or an image is not that of its row.
    """
    if len(parts) < 2:
        raise UsageError("Merging needs two or more runs: radl-bench runs merge A B.")
    runs = [RunFolder.open(part) for part in parts]
    name = config_hash(runs[0].manifest)
    for run in runs[1:]:
        if config_hash(run.manifest) != name:
            raise UsageError(f"{run.path} is no part of the same experiment as {runs[0].path}: {_apart(runs[0], run)}.")
    rows = _newest(runs)
    first = runs[0].manifest
    target = root / first["benchmark"]["name"] / slug(first["generator"]["name"]) / name
    for folder in ("images", "evidence", "scores"):
        (target / folder).mkdir(parents=True, exist_ok=True)
    with locked(target / ".lock"):
        manifest = first
        for run in runs[1:]:
            manifest = widen(manifest, {**run.manifest, "scale": run.manifest.get("scale")})
        for row, run in rows.values():
            _copy(run.path, target, row)
        replace_file(target / "manifest.json", (json.dumps(manifest, indent=2, ensure_ascii=False) + "\n").encode())
        merged = RunFolder.open(target)
        lines = [json.dumps(rows[key][0]) for key in _order(merged) if key in rows]
        replace_file(target / ROWS, ("\n".join(lines) + "\n").encode() if lines else b"")
        for file in target.glob("generations-*of*.jsonl"):
            if file.name != ROWS:
                file.unlink()  # the target is one of the parts: its rows are in the one file now
    merged.update_status()
    return merged


def _newest(runs: Sequence[RunFolder]) -> dict[ImageKey, tuple[ImageRow, RunFolder]]:
    """Return the row of each image, and the part that it is from: an image that was made goes before a failure."""
    found: dict[ImageKey, tuple[ImageRow, RunFolder]] = {}
    for run in runs:
        for row in run.rows():
            key = (row["sample_id"], row["k"])
            there = found.get(key)
            if there and there[0]["status"] == row["status"] == "ok" and there[0]["sha256"] != row["sha256"]:
                raise BadInput(
                    f"{run.path} and {there[1].path} hold different images of {key[0]}_{key[1]}. Leave one of the runs "
                    "out, or delete its row."
                )
            if there is None or (there[0]["status"] == "error" and (row["status"] == "ok" or _later(row, there[0]))):
                found[key] = (row, run)
    return found


def _later(row: ImageRow, other: ImageRow) -> bool:
    return (row.get("at") or "") > (other.get("at") or "")


def _copy(source: Path, target: Path, row: ImageRow) -> None:
    if row["status"] != "ok":
        return
    file, copy = source / row["file"], target / row["file"]
    if not file.is_file() or file_sha256(file) != row["sha256"]:
        raise BadInput(f"{file} is not the image of its row. Generate that part again, or leave it out.")
    if not copy.is_file() or file_sha256(copy) != row["sha256"]:
        part = copy.with_name(f".{copy.name}.merge.part")
        shutil.copyfile(file, part)
        part.replace(copy)


def _order(run: RunFolder) -> list[ImageKey]:
    images = RunImages(run)
    return [(task.sample.id, task.k) for task in plan(images.benchmark, images.per_sample)]


def _apart(one: RunFolder, other: RunFolder) -> str:
    for key in ("benchmark", "generator", "seeds"):
        a, b = one.manifest[key], other.manifest[key]
        for name in sorted({*a, *b}):
            if a.get(name) != b.get(name) and name not in ("n_samples", "images_per_sample", "source"):
                return f"{key}.{name} is {json.dumps(a.get(name)):.60} and {json.dumps(b.get(name)):.60}"
    return "their configurations differ"
