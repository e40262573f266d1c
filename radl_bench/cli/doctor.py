"""`radl-bench doctor`: can this machine run the suite, and what to do where it cannot."""

from __future__ import annotations

import importlib
import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from radl_bench.cli.runs_folder import DEFAULT, RunsHere
from radl_bench.errors import MissingData, MissingWeights, RadlBenchError
from radl_bench.hints import command, first_images
from radl_bench.packages import cannot_import

NEEDED = (
    *("torch", "torchvision", "diffusers", "transformers", "safetensors", "open_clip_torch", "torchmetrics"),
    *("opencv-python", "pandas", "pyarrow"),
)
OPTIONAL = ("groundingdino-py", "clean-fid", "faster-coco-eval", "accelerate", "spacy")

JUDGES = ("grounding-dino", "sam", "open-clip", "inception")
"""Weights of the judges at the scale of the papers, as `radl-bench fetch` names them."""

NO_TORCH = "See the table above. What was found elsewhere can be scored and reported without them: " + command(
    "score", detections="FILE", segmenter="box", encoder="none"
)


@dataclass(frozen=True)
class Check:
    """One line of the table; `needed` says whether the embedded models cannot run without it."""

    what: str
    ok: bool
    detail: str
    needed: bool = True


def doctor(root: RunsHere = DEFAULT) -> None:
    """Show versions, devices, weights and folders; exit code 3 when the embedded models cannot run here."""
    from radl_bench.cli.ls import show

    checks = [*_versions(), _opencv(), _device(), *_benchmarks(), *_weights(), *_folders(root)]
    marks = {(True, True): "ok", (True, False): "ok", (False, True): "MISSING", (False, False): "not here"}
    show("radl-bench doctor", ("check", "state", "detail"), [(c.what, marks[c.ok, c.needed], c.detail) for c in checks])
    lacking = [check.what for check in checks if check.needed and not check.ok]
    if lacking:
        raise MissingData(f"The embedded models cannot run here; missing: {', '.join(lacking)}. {NO_TORCH}")
    print("What is not here is optional: methods and judges at the scale of the papers need it.")
    print(f"The embedded models can run: {first_images(root)}")


def _versions() -> Iterator[Check]:
    from radl_bench import __version__
    from radl_bench.runs.environment import package_version

    yield Check("radl-bench", True, f"{__version__}, Python {platform.python_version()}, {platform.platform()}")
    for name in (*NEEDED, *OPTIONAL):
        version = package_version(name)
        yield Check(name, version is not None, version or f"pip install {name}", name in NEEDED)


def _opencv() -> Check:
    """Its import fails on slim images, which lack the system libraries that it links."""
    try:
        import cv2
    except ImportError as error:
        return Check("import cv2", False, str(cannot_import(error, "radl-bench")))
    return Check("import cv2", True, f"OpenCV {cv2.__version__} with its system libraries")


def _device() -> Check:
    try:
        import torch
    except ImportError as error:
        return Check("import torch", False, str(cannot_import(error, "radl-bench")))
    except OSError as error:  # a broken CUDA library
        return Check("import torch", False, f"torch cannot be imported: {error}")
    if torch.cuda.is_available():
        names = [_card(torch.cuda.get_device_properties(i)) for i in range(torch.cuda.device_count())]
        return Check("device", True, f"cuda: {', '.join(names)}")
    if torch.backends.mps.is_available():
        return Check("device", True, "mps")
    return Check("device", True, f"cpu, {os.cpu_count()} cores; enough for --model mini, slow for --model sd14")


def _card(card: Any) -> str:
    return f"{card.name} ({card.total_memory / 2**30:.0f} GiB)"


def _benchmarks() -> Iterator[Check]:
    from radl_bench.benchmarks.loading import benchmark_folders

    for name in sorted({"coco-mig", *benchmark_folders()}):
        yield Check(f"benchmark {name}", *_try(_samples, name), needed=name == "coco-mig")


def _samples(name: str) -> str:
    from radl_bench.benchmarks.loading import load_benchmark

    return f"{len(load_benchmark(name).samples)} samples, sha256 as recorded"


def _weights() -> Iterator[Check]:
    yield Check("model mini", *_try(_resolve, "resolve_base", "mini"))
    yield Check("adapter radl of mini", *_try(_resolve, "resolve_adapter", "mini", "radl"))
    for judge in ("detector", "clip"):
        yield Check(f"judge {judge}", *_try(_judge_weights, judge))
    yield Check("model sd14", *_try(_resolve, "resolve_base", "sd14"), needed=False)
    from radl_bench.downloads import fetch

    for item in map(fetch.find, JUDGES):
        ready = fetch.is_ready(item)
        get = f"{fetch.megabytes(item.size)}; {command('fetch', item.name)}"
        yield Check(f"judge {item.name}", ready, item.what if ready else get, needed=False)


def _resolve(function: str, *names: str) -> str:
    return str(getattr(importlib.import_module("radl_model.checkpoints.places"), function)(*names))


def _judge_weights(name: str) -> str:
    folder = Path(__file__).parents[1] / "mini" / "judges" / "weights" / name
    if not any(folder.glob("*.safetensors")):
        raise MissingWeights(f"{folder} holds no weights. Run: pip install --force-reinstall radl-bench")
    return str(folder)


def _try(find: Callable[..., str], *arguments: str) -> tuple[bool, str]:
    try:
        return True, find(*arguments)
    except (RadlBenchError, ImportError) as error:
        return False, str(error)


def _folders(runs: Path) -> Iterator[Check]:
    from radl_model.home import data_home

    hint = "cannot be written; choose another with --runs, $RADL_BENCH_HOME or $TMPDIR"
    for what, folder in (("runs", runs), ("user data", data_home()), ("temporary files", Path(tempfile.gettempdir()))):
        writable = _writable(folder)
        detail = f"{folder}, {_free(folder)} free" if writable else f"{folder} {hint}"
        yield Check(f"folder of {what}", writable, detail, needed=what != "user data")


def _free(folder: Path) -> str:
    return f"{shutil.disk_usage(_existing(folder)).free / 1e9:.0f} GB"


def _existing(folder: Path) -> Path:
    """Return `folder`, or the nearest folder above it that is there."""
    existing = folder.absolute()
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    return existing


def _writable(folder: Path) -> bool:
    """Say whether files can be made in `folder`, or the folder itself where it is not there yet."""
    existing = _existing(folder)
    return existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)
