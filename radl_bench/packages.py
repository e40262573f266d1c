"""Packages and system libraries that are not on this machine: one wording wherever an import fails."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterable

from radl_bench.errors import MissingExtra

DISTRIBUTIONS = {
    "cleanfid": "clean-fid",
    "cv2": "opencv-python",
    "faster_coco_eval": "faster-coco-eval",
    "groundingdino": "groundingdino-py",
    "open_clip": "open_clip_torch",
    "PIL": "pillow",
    "yaml": "pyyaml",
}
"""Names that pip knows, of modules whose own name is another."""

LIBRARIES = {
    "libGL.so.1": "libgl1",
    "libglib-2.0.so.0": "libglib2.0-0",
    "libgthread-2.0.so.0": "libglib2.0-0",
    "libxcb.so.1": "libxcb1",
}
"""Debian's packages of the system libraries that opencv-python links and slim images lack."""

_LIBRARY = re.compile(r"(lib[\w.+-]+\.so[\w.]*): cannot open shared object file")


def pip_name(module: str) -> str:
    """Return what to install for a module: `open_clip_torch` for `open_clip.model`."""
    top = module.partition(".")[0]
    return DISTRIBUTIONS.get(top, top)


def lacking(modules: Iterable[str]) -> list[str]:
    """Return those of some top-level modules that are not installed; nothing is imported."""
    return [module for module in modules if not _installed(module)]


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):  # ValueError: a module without a spec, put there by hand
        return False


def cannot_import(error: ImportError, who: str, instead: str = "") -> MissingExtra:
    """Return the error for an import that failed in `who`, e.g. "The method radl": what is missing and how to get it.

    `instead` is one more sentence, about what works without it.
    """
    told = f"{who} {_what_to_do(error)}"
    return MissingExtra(f"{told.removesuffix('.')}. {instead}" if instead else told)


def _what_to_do(error: ImportError) -> str:
    text = " ".join(str(error).split())
    library = _LIBRARY.search(text)
    if library:
        name = library[1]
        packages = " ".join(dict.fromkeys(LIBRARIES.values()))  # where one is missing, the others often are
        how = f"On Debian and Ubuntu: apt-get install {packages}" if name in LIBRARIES else "Install it"
        return f"needs the system library {name}, which is not on this machine. {how}."
    if isinstance(error, ModuleNotFoundError) and error.name:
        package = pip_name(error.name)
        return f"needs the package {package}, which is not installed. Run: pip install {package}"
    where = f" --upgrade {pip_name(error.name)}" if error.name else " --force-reinstall radl-bench"
    return f"cannot import what it needs ({text}). Run: pip install{where}"
