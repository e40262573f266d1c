"""What a run was made with: versions, device and the state of the git checkout, for its manifest."""

from __future__ import annotations

import platform
import subprocess
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = (
    "torch",
    "torchvision",
    "diffusers",
    "transformers",
    "accelerate",
    "safetensors",
    "numpy",
    "pillow",
    "opencv-python",
)
"""Distributions whose version can change a pixel."""


def describe_environment(device: str | None = None) -> dict[str, object]:
    """Return versions and the name of the device; imports nothing that is not already loaded."""
    versions = {name: version for name in PACKAGES if (version := package_version(name))}
    return {
        "radl_bench": _own_version(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "torch": versions.get("torch"),
        "device": _device_name(device),
        "packages": versions,
    }


def versions_of(environment: Mapping[str, Any]) -> dict[str, object]:
    """Return the versions that have to be the same: the Python of 3.11.7 as 3.11."""
    python = str(environment["python"]).rpartition(".")[0]
    return {"radl_bench": environment["radl_bench"], "python": python, **environment["packages"]}


def package_version(name: str) -> str | None:
    """Return the version of an installed distribution, None when it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def describe_git(folder: Path | None = None) -> dict[str, object]:
    """Return `{"commit", "dirty"}` of the checkout around `folder` (the current one); both None outside of git."""
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is None:
        return {"commit": None, "dirty": None}
    changes = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return {"commit": commit, "dirty": None if changes is None else bool(changes)}


def _own_version() -> str:
    from radl_bench import __version__

    return __version__


def _device_name(device: str | None) -> str:
    torch = sys.modules.get("torch")
    if torch is not None and device and str(device).startswith("cuda") and torch.cuda.is_available():
        return f"{device} ({torch.cuda.get_device_name(torch.device(device))})"
    return str(device or "cpu")


def _git(folder: Path | None, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
