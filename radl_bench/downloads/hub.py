"""Getting files of one revision of a repository of the Hugging Face hub, checked against the hub's own records."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from radl_bench.downloads.download import DownloadFailed
from radl_bench.errors import BadInput, MissingExtra
from radl_bench.files import file_sha256


def from_hub(repo: str, revision: str, patterns: Sequence[str], sums: Mapping[str, str], folder: Path) -> list[str]:
    """Bring the files of a revision that match the patterns into `folder`, or go on with it, and return their names.

    Args:
        sums: sha256 of files that have one on record here; it goes before what the hub says.

    Raises:
        DownloadFailed: the hub cannot be reached, or lacks a file; what has come so far is kept.
        BadInput: a file differs from its sum, or in size from what the hub says. It is deleted.
        MissingExtra: huggingface_hub is not installed.
    """
    try:
        from huggingface_hub import HfApi, snapshot_download
    except ImportError as error:
        raise MissingExtra(f"Fetching {repo} needs huggingface_hub. Run: pip install huggingface_hub") from error
    try:
        tree = {
            f.path: f for f in HfApi().list_repo_tree(repo, revision=revision, recursive=True) if hasattr(f, "size")
        }
        names = [name for name in tree if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)]
        _check_patterns(names, patterns, f"{repo} at {revision}")
        snapshot_download(repo, revision=revision, allow_patterns=names, local_dir=folder)
    except DownloadFailed:
        raise
    except Exception as error:  # which HTTP library is below, and so its errors, depends on the version of the hub
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise DownloadFailed(
            f"{repo} could not be downloaded from the hub: {reason}. Run the same command again to continue."
        ) from error
    for name in names:
        _check_file(folder / name, tree[name], sums.get(name))
    return names


def _check_patterns(names: Sequence[str], patterns: Sequence[str], where: str) -> None:
    for pattern in patterns:
        if not any(fnmatch.fnmatchcase(name, pattern) for name in names):
            raise DownloadFailed(f"{where} holds nothing named {pattern}.")


def _check_file(file: Path, entry: Any, recorded: str | None) -> None:
    """Hold a file to its sum, ours or that of the hub's large-file record, and to its size."""
    lfs = getattr(entry, "lfs", None)
    wanted = recorded or (lfs.sha256 if lfs else None)
    size = file.stat().st_size if file.is_file() else -1
    found = file_sha256(file) if wanted and size == entry.size else None
    if size != entry.size or found != wanted:
        file.unlink(missing_ok=True)
        raise BadInput(
            f"{file} came with {size:,} bytes and sha256 {found}, not {entry.size:,} bytes with {wanted}. It was "
            "deleted."
        )
