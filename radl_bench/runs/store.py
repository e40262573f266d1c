"""The run folder: the only module that knows how a run lies on disk.

    runs/<benchmark>/<method>/<hash8>/
      manifest.json               what was asked for, and with what
      images/<sample_id>_<k>.png  written under a temporary name, then moved into place; images/<xx>/... of large runs
      generations-<i>of<n>.jsonl  one row an image, appended and synced: the index for resuming
      evidence/ scores/           written by scoring; scores in a folder a judge set and protocol

An image is done when its last row has status "ok" and the file has the size and time of change of that row, or else
its sha256. A change that leaves both is found by `radl-bench data verify RUN`. `<hash8>` is a hash of the
resolved configuration without shard, batch size, limit and images per sample, so that every part of one experiment
finds the same folder, and asking for more of it extends the run.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from radl_bench.errors import UsageError
from radl_bench.files import file_sha256, locked, replace_file
from radl_bench.runs.in_hand import goes_on
from radl_bench.runs.manifest import SCHEMA_VERSION, read_manifest
from radl_bench.runs.rows import check_clock, newest_rows, read_rows
from radl_bench.runs.writer import ImageRow, MadeRow, Shard, ShardWriter
from radl_bench.types import Benchmark

FLAT, NESTED = "flat", "nested"
MOST_FLAT = 10_000
"""Planned images above which those made from then on lie in sub-folders; rows name the file, so a run may have both."""

ImageKey = tuple[str, int]
"""(sample_id, k): the k-th image of a sample, k counted from 0."""


class RunFolder:
    """One generator on one benchmark. Make it with `create` or `open`."""

    def __init__(self, path: Path, manifest: dict[str, Any]) -> None:
        self.path = path
        self.manifest = manifest

    @classmethod
    def create(
        cls,
        root: str | Path,
        benchmark: Benchmark,
        generator: Mapping[str, object],
        *,
        images_per_sample: int | None = None,
        seeds: Mapping[str, object] | None = None,
        environment: Mapping[str, object] | None = None,
        git: Mapping[str, object] | None = None,
        argv: list[str] | None = None,
        source: str | None = None,
        scale: str | None = None,
        before: Callable[[Path], object] | None = None,
    ) -> RunFolder:
        """Return the run of this configuration under `root`, new or found again.

        A run found again keeps its images; its manifest is widened to the larger of both limits and of both
        images per sample.

        Args:
            generator: `name`, `revision`, `model`, `params` and `weights_sha256`; JSON values only.
            images_per_sample: the benchmark's own number when not given.
            seeds: `{"policy", "base"}`; `{"policy": "hashed", "base": 0}` when not given.
            source: folder of a benchmark that is not known by name (`benchmark.source_of`).
            scale: world of the images, as the generator declares it (`runs.scale`).
            before: called with the run's folder before it is looked at.

        Raises:
            UsageError: the generator's description is no JSON, or its name is empty.
            BadInput: the folder holds a manifest of a newer version, or a broken one.
        """
        manifest: dict[str, Any] = {
            "schema_version": SCHEMA_VERSION,
            "status": "running",
            "created": utc_now(),
            "benchmark": _describe(benchmark, images_per_sample or benchmark.images_per_sample, source),
            "generator": dict(generator),
            "seeds": dict(seeds or {"policy": "hashed", "base": 0}),
            "scale": scale,
            "images": FLAT,
            "environment": dict(environment or {}),
            "git": dict(git or {}),
            "argv": list(argv or []),
        }
        path = Path(root) / benchmark.name / slug(str(generator["name"])) / config_hash(manifest)
        if before is not None:
            before(path)
        for folder in ("images", "evidence", "scores"):
            (path / folder).mkdir(parents=True, exist_ok=True)
        with locked(path / ".lock"):
            if (path / "manifest.json").exists():
                manifest = widen(cls.open(path).manifest, manifest)
            if manifest["benchmark"]["n_samples"] * manifest["benchmark"]["images_per_sample"] > MOST_FLAT:
                manifest["images"] = NESTED
            _write_json(path / "manifest.json", manifest)
        return cls(path, manifest)

    @classmethod
    def open(cls, path: str | Path) -> RunFolder:
        """Return the run at `path`; raises `MissingData` without a manifest, `BadInput` for one that is not ours."""
        return cls(Path(path), read_manifest(Path(path) / "manifest.json"))

    @property
    def images_dir(self) -> Path:
        """Folder of the images."""
        return self.path / "images"

    @property
    def scores_dir(self) -> Path:
        """Folder of the scores, see `find_scores`."""
        return self.path / "scores"

    @property
    def evidence_dir(self) -> Path:
        """Folder of what the judges saw, one folder a judge."""
        return self.path / "evidence"

    @property
    def planned(self) -> int:
        """Number of images that the manifest asks for."""
        recorded = self.manifest["benchmark"]
        return recorded["n_samples"] * recorded["images_per_sample"]

    @property
    def status(self) -> str:
        """How far the run is, see `settle`; "running" while a call is at work on it, "stopped" where one died."""
        said = str(self.manifest["status"])
        return "stopped" if said == "running" and not goes_on(self.path) else said

    def rows(self) -> list[ImageRow]:
        """Return the newest row of every image, over all shards, sorted by sample id and k.

        A line that a kill cut short is skipped. Raises `BadInput` for any other line that is no row.
        """
        newest = newest_rows(self._row_files())
        return [newest[key] for key in sorted(newest)]

    def images(self) -> dict[ImageKey, Path]:
        """Return the path of every image whose newest row is "ok"; the file itself may have been deleted since."""
        return {(row["sample_id"], row["k"]): self.path / row["file"] for row in self.rows() if row["status"] == "ok"}

    def done(self, elsewhere: Mapping[str, int] | None = None) -> set[ImageKey]:
        """Return the images that need not be made again: status "ok", and the file on disk is the one of the row.

        Args:
            elsewhere: sizes of files, by their names in rows, that are kept in another place: they need not be here.

        Raises:
            UsageError: a row is of a later time than now, so the newest row of an image could not be told.
        """
        newest: dict[ImageKey, tuple[str, bool]] = {}  # no rows are held, of which there may be millions
        for file in self._row_files():
            for row in read_rows(file):
                key, at = (sys.intern(row["sample_id"]), row["k"]), row.get("at") or ""
                if key not in newest or newest[key][0] <= at:
                    newest[key] = (
                        at,
                        row["status"] == "ok"
                        and (self._is_there(row) or (elsewhere or {}).get(row["file"], -1) == row.get("bytes")),
                    )
        check_clock(max((at for at, _ in newest.values()), default=""))
        return {key for key, (_, there) in newest.items() if there}

    def _row_files(self) -> list[Path]:
        return sorted(self.path.glob("generations-*of*.jsonl"))

    def _is_there(self, row: MadeRow) -> bool:
        """Say whether the file of a row is unchanged; it is hashed where its size or time of change differ."""
        file = f"{self.path}/{row['file']}"  # a Path would take longer to make than the file to look at
        try:
            stat = os.stat(file)
            return (stat.st_size, stat.st_mtime_ns) == (row.get("bytes"), row.get("mtime_ns")) or (
                file_sha256(Path(file)) == row["sha256"]
            )
        except OSError:
            return False

    @contextlib.contextmanager
    def writer(self, shard: Shard | None = None) -> Iterator[ShardWriter]:
        """Open the rows file of a shard for appending, alone; raises `UsageError` while another process has it."""
        shard = shard or Shard()
        with locked(self.path / f".{shard.name}.lock", busy=f"shard {shard} of {self.path}"):
            writer = ShardWriter(self.path, shard, nested=self.manifest.get("images") == NESTED)
            try:
                yield writer
            finally:
                writer.close()

    def update_status(self, interrupted: bool = False) -> str:
        """Write into the manifest how far the run is, and return it, see `settle`."""
        self.settle(interrupted)
        return str(self.manifest["status"])

    def settle(self, interrupted: bool = False) -> list[ImageRow]:
        """Write into the manifest how far the run is; returns the rows that say so, since reading them takes long.

        "complete": every image is made. "failed": every image has a row, and some are errors. "partial": images have
        no row yet (other shards, a smaller limit). "interrupted": stopped by hand before the end.
        """
        with locked(self.path / ".lock"):  # two shards may end together: the later one sees the rows of both
            self.manifest = RunFolder.open(self.path).manifest
            rows = self.rows()
            open_end = "interrupted" if interrupted else "partial"
            finished = "complete" if all(row["status"] == "ok" for row in rows) else "failed"
            self.manifest["status"] = finished if len(rows) >= self.planned else open_end
            _write_json(self.path / "manifest.json", self.manifest)
        return rows


def find_runs(root: str | Path = "runs") -> list[Path]:
    """Return the run folders at or below `root` (a run, a method's, a benchmark's or the top folder), sorted."""
    top = Path(root)
    depths = ("manifest.json", "*/manifest.json", "*/*/manifest.json", "*/*/*/manifest.json")
    return sorted({file.parent for pattern in depths for file in top.glob(pattern)})


def find_scores(run: Path) -> list[Path]:
    """Return every scores.json of a run, the newest first: `scores/<key>/scores.json`, or the older `scores/`."""
    files = [*(run / "scores").glob("*/scores.json"), *(run / "scores").glob("scores.json")]
    return sorted(files, key=lambda file: (-file.stat().st_mtime_ns, str(file)))


def config_hash(manifest: Mapping[str, Any]) -> str:
    """Return the eight hexadecimal digits that name the folder of a configuration."""
    recorded = manifest["benchmark"]
    config = {
        "benchmark": {key: recorded[key] for key in ("name", "version", "sha256")},
        "filter": {key: value for key, value in recorded["filter"].items() if key != "limit"},
        "generator": manifest["generator"],
        "seeds": manifest["seeds"],
    }
    return hashlib.sha256(_canonical(config).encode()).hexdigest()[:8]


def slug(name: str) -> str:
    """Return `name` as a folder name that works on every file system; raises `UsageError` when nothing is left."""
    text = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:64]
    if not text:
        raise UsageError(f"The generator's name {name!r} cannot be a folder name; use letters and digits.")
    return text


def utc_now() -> str:
    """Return the time as `2025-01-31T12:00:00.000000+00:00`; sorts as text."""
    return datetime.now(timezone.utc).isoformat(timespec="microseconds")


def _describe(benchmark: Benchmark, images_per_sample: int, source: str | None) -> dict[str, object]:
    return {
        "name": benchmark.name,
        "version": benchmark.version,
        "sha256": benchmark.samples_sha256,
        "filter": dict(benchmark.filter),
        "images_per_sample": images_per_sample,
        "n_samples": len(benchmark.samples),
        **({"source": source} if source else {}),
    }


def widen(found: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    """Return the manifest of a run that is found again, asking for all that both manifests ask for."""
    old, new = found["benchmark"], wanted["benchmark"]
    larger = max(old, new, key=lambda recorded: recorded["n_samples"])
    images = max(old["images_per_sample"], new["images_per_sample"])
    merged = {**found, "status": "running", "benchmark": {**larger, "images_per_sample": images}}
    if wanted["scale"] is not None:  # a manifest of an earlier version has none
        merged["scale"] = wanted["scale"]
    if wanted["environment"] != found["environment"]:  # images of two environments may differ in their last bits
        record = {"at": wanted["created"], "environment": wanted["environment"], "git": wanted["git"]}
        others = found.get("resumed_with", [])
        if all(other["environment"] != record["environment"] for other in others):
            merged["resumed_with"] = [*others, record]
    return merged


def _canonical(config: object) -> str:
    try:
        return json.dumps(config, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise UsageError(f"The generator's settings cannot be written as JSON ({error}).") from error


def _write_json(file: Path, content: object) -> None:
    replace_file(file, (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace"))
