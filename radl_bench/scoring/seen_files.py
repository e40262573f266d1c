"""Whether an image file is still the one that was generated, also where kept evidence would spare opening it.

Size and time of change are looked at in every scoring. Where they are those that were recorded when the file's sha256
was last checked, the file is taken to be the same; where they differ, it is hashed again. A change that leaves both as
they were is found by `radl-bench data verify RUN`, which hashes every image.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from radl_bench.downloads.download import file_sha256
from radl_bench.runs.images import Picture
from radl_bench.scoring.evidence_table import EvidenceTable

RECORD = "images.sqlite"


class SeenFiles:
    """Sizes, times of change and sums of a run's image files; `folder` is that of its evidence."""

    def __init__(self, folder: Path) -> None:
        self.table = EvidenceTable(
            folder / RECORD, "images", ("file",), {"size": "whole", "mtime_ns": "whole", "sha256": "text"}
        )

    def check(self, pictures: Iterable[Picture]) -> None:
        """Give each image whose file is not the one of its row a `problem`."""
        for picture in pictures:
            self._check(picture)

    def verify(self, files: Iterable[tuple[Path, str]]) -> list[str]:
        """Hash files against their sha256, whatever was recorded of them; returns what is wrong, as sentences.

        A file that is wrong is no longer taken to be the same by later scorings.
        """
        problems = []
        for file, sha256 in files:
            if not file.is_file():
                problems.append(f"the file {file.name} is gone")
            elif file_sha256(file) != sha256:
                problems.append(f"the file {file.name} is not the one that was generated")
                self.table.add((file.name,), (-1, -1, sha256))
        self.table.flush()
        return problems

    def _check(self, picture: Picture) -> None:
        if picture.problem is not None or picture.file is None:
            return
        path = str(picture.file)
        name = os.path.basename(path)
        try:
            stat = os.stat(path)
            facts = (stat.st_size, stat.st_mtime_ns, picture.sha256)
            if self.table.get((name,)) == facts:
                return
            same = file_sha256(Path(path)) == picture.sha256
        except OSError as error:
            picture.problem = f"the file {name} cannot be read ({type(error).__name__})"
            return
        if same:
            self.table.add((name,), facts)
        else:
            picture.problem = f"the file {name} is not the one that was generated"
