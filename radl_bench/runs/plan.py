"""The images that a run was asked for and what became of each: read once, for scoring and for the report alike."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from radl_bench.benchmarks.loading import benchmark_of
from radl_bench.runs.images import Picture
from radl_bench.runs.store import RunFolder
from radl_bench.types import Benchmark, Sample


class RunImages:
    """The images of a run.

    Args:
        run: the run; its rows are read now.

    Raises:
        BadInput: a line of its rows is no row.
    """

    def __init__(self, run: RunFolder) -> None:
        self.run = run
        self.rows = {(row["sample_id"], row["k"]): row for row in run.rows()}

    @classmethod
    def open(cls, path: Path) -> RunImages:
        """Return the images of the run at `path`; raises `MissingData` and `BadInput`."""
        return cls(RunFolder.open(path))

    @cached_property
    def benchmark(self) -> Benchmark:
        """The samples the run was made on; raises `MissingData` where they are not at hand or have changed."""
        return benchmark_of(self.run.manifest)

    @property
    def per_sample(self) -> int:
        """Images a sample that the manifest asks for."""
        return int(self.run.manifest["benchmark"]["images_per_sample"])

    def image(self, sample: Sample, k: int, file: bool = True) -> Picture:
        """Return the `k`-th image of a sample; its `problem` says why there is none.

        Args:
            file: whether its file has to be there; kept evidence is enough for reading what the judges saw.
        """
        row = self.rows.get((sample.id, k))
        if row is None:
            return Picture(sample, k, None, problem=self._absent(sample, k))
        if row["status"] != "ok":
            return Picture(sample, k, None, problem=f"generating it failed: {row.get('error')}")
        path = f"{self.run.path}/{row['file']}"
        gone = file and not os.path.isfile(path)
        return Picture(sample, k, path, row["sha256"], f"the file {os.path.basename(path)} is gone" if gone else None)

    def planned(self, files: bool = True) -> Iterator[Picture]:
        """Yield every image that was asked for, in the benchmark's order."""
        for sample in self.benchmark.samples:
            for k in range(self.per_sample):
                yield self.image(sample, k, files)

    @property
    def finished(self) -> bool:
        """Whether every image that was asked for has a row."""
        return all((sample.id, k) in self.rows for sample in self.benchmark.samples for k in range(self.per_sample))

    def row(self, sample_id: str, k: int) -> dict[str, object]:
        """Return the row of an image's making, {} where there is none."""
        row = self.rows.get((sample_id, k))
        return {} if row is None else {**row}

    def _absent(self, sample: Sample, k: int) -> str:
        asked = k < self.per_sample and any(s.id == sample.id for s in self.benchmark.samples)
        return "it is not generated yet" if asked else "it is not part of this run"
