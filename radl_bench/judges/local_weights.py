"""Where a judge's weights are on this machine: a file, a folder, the user's data folder or the hub's cache.

Nothing is downloaded here; `radl-bench fetch` does that, into `weights/<name>` of the user's data folder.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Sequence
from pathlib import Path

from radl_bench.errors import MissingWeights
from radl_bench.files import known_sha256

CHECKPOINTS = ("model.safetensors", "*.pth", "*.safetensors")


def weights_folder(name: str) -> Path:
    """Return the folder of fetched weights: `weights/<name>` in the user's data folder."""
    from radl_model.home import data_home

    return data_home() / "weights" / name


def find_weights(weights: str | Path | None, names: Sequence[str], repo: str, absent: str) -> Path:
    """Return a checkpoint file.

    Args:
        weights: a file, a folder, or a hub id whose files are in the cache; None for the usual places.
        names: folders of fetched weights, tried in order.
        repo: the hub's repository of these weights.
        absent: the sentence for weights that are nowhere.

    Raises:
        MissingWeights: there is none; says where it was looked for when `weights` is given.
    """
    places = [weights_folder(name) for name in names] if weights is None else [Path(weights).expanduser()]
    for place in places:
        found = _checkpoint_at(place)
        if found is not None:
            return found
    cached = cached_file(repo if weights is None else str(weights), "model.safetensors")
    if cached is not None:
        return cached
    raise MissingWeights(absent + ("" if weights is None else f" (There are none at {weights}.)"))


def _checkpoint_at(place: Path) -> Path | None:
    if place.is_file():
        return place
    files = (file for name in CHECKPOINTS for file in sorted(place.glob(name))) if place.is_dir() else iter(())
    return next(files, None)


def cached_file(repo: str, name: str) -> Path | None:
    """Return a file of a hub repository from the cache on this machine, None where it is not there."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(repo, name)
    except HFValidationError:  # a path, not the name of a repository
        return None
    return Path(found) if isinstance(found, str) else None


@functools.lru_cache(maxsize=16)
def file_sha8(file: Path) -> str:
    """Return the first 8 hex digits of the file's sha256; a large file of the hub's cache is named by it already."""
    return known_sha256(file)[:8]


@contextlib.contextmanager
def no_progress_bar() -> Iterator[None]:
    """Keep transformers' bar of loaded tensors from the screen: the command has a bar of its own."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


@contextlib.contextmanager
def exact() -> Iterator[None]:
    """Infer without gradients and in true float32: with TF32 a judge's answers would depend on the model of the GPU."""
    import torch

    before = torch.get_float32_matmul_precision()
    with torch.inference_mode(), torch.backends.cudnn.flags(allow_tf32=False):
        torch.set_float32_matmul_precision("highest")
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(before)
