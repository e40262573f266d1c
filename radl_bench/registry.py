"""Names of the parts that can be chosen, as plain dicts `name -> "module:attribute"`, loaded when asked for.

Third parties add names with entry points of the group `radl_bench.<kind>`, or need no name at all:
`path/to/file.py:Class` works wherever a name does.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import sys
import traceback
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

from radl_bench.errors import RadlBenchError, UsageError, did_you_mean
from radl_bench.packages import cannot_import
from radl_bench.text import safe

GENERATORS = {
    "boxdiff": "radl_bench.generators.boxdiff:BoxDiffGenerator",
    "gligen": "radl_bench.generators.gligen:GligenGenerator",
    "layout-diffusion": "radl_bench.generators.layout_diffusion:LayoutDiffusionGenerator",
    "layout-guidance": "radl_bench.generators.layout_guidance:LayoutGuidanceGenerator",
    "migc": "radl_bench.generators.migc:MigcGenerator",
    "multidiffusion": "radl_bench.generators.multidiffusion:MultiDiffusionGenerator",
    "radl": "radl_bench.generators.radl:RadlGenerator",
    "stable-diffusion": "radl_bench.generators.stable_diffusion:StableDiffusionGenerator",
    "sprites": "radl_bench.generators.sprites:SpritesGenerator",
}
DETECTORS = {
    "mini": "radl_bench.mini.judges.detector:MiniDetector",
    "oracle": "radl_bench.judges.detectors:OracleDetector",
    "blind": "radl_bench.judges.detectors:BlindDetector",
    "grounding-dino": "radl_bench.judges.grounding_dino:GroundingDino",
    "groundingdino-py": "radl_bench.judges.groundingdino_py:GroundingDinoPy",
}
SEGMENTERS = {
    "mini": "radl_bench.judges.segmenters:MiniSegmenter",
    "mini-reach": "radl_bench.judges.segmenters:MiniReachSegmenter",
    "grabcut": "radl_bench.judges.segmenters:GrabCutSegmenter",
    "box": "radl_bench.judges.segmenters:BoxSegmenter",
    "sam": "radl_bench.judges.sam:SamSegmenter",
}
ENCODERS = {
    "mini": "radl_bench.mini.judges.clip:MiniClip",
    "open-clip": "radl_bench.judges.open_clip:OpenClip",
}
FEATURES = {
    "mini": "radl_bench.mini.judges.clip:MiniClip",
    "inception": "radl_bench.judges.inception:InceptionFeatures",
}
MEASUREMENTS = {
    "detections": "radl_bench.judges.kinds.detections:DETECTIONS",
    "coverage": "radl_bench.judges.kinds.coverage:COVERAGE",
    "object_colors": "radl_bench.judges.kinds.object_colors:OBJECT_COLORS",
    "cosines": "radl_bench.judges.kinds.cosines:COSINES",
    "features": "radl_bench.judges.kinds.features:FEATURES",
}
"""What is asked of judges about an image; a kind brings the role it asks along (`radl_bench.judges.kinds`)."""
METRICS = {
    "success": "radl_bench.scoring.metrics.success",
    "iou": "radl_bench.scoring.metrics.iou",
    "average_precision": "radl_bench.scoring.metrics.average_precision",
    "clip_score": "radl_bench.scoring.metrics.clip_score",
    "fid": "radl_bench.scoring.metrics.fid",
    "attribute": "radl_bench.scoring.metrics.attribute",
    "quantity": "radl_bench.scoring.metrics.quantity",
    "relation": "radl_bench.scoring.metrics.relation",
}
REPORT_FORMATS = {
    "markdown": "radl_bench.report.formats:markdown",
    "latex": "radl_bench.report.latex:latex",
    "json": "radl_bench.report.formats:as_json",
    "csv": "radl_bench.report.formats:as_csv",
    "html": "radl_bench.report.html:write_html",
    "harness": "radl_bench.report.model_index:harness",
    "model-index": "radl_bench.report.model_index:model_index",
}
KINDS: dict[str, dict[str, str]] = {
    "generators": GENERATORS,
    "detectors": DETECTORS,
    "segmenters": SEGMENTERS,
    "encoders": ENCODERS,
    "features": FEATURES,
    "measurements": MEASUREMENTS,
    "metrics": METRICS,
    "report_formats": REPORT_FORMATS,
}
_WORDS = {
    "generators": "method",
    "features": "feature judge",
    "measurements": "kind of measurement",
    "report_formats": "format",
}
_ATTRIBUTE = {"metrics": "METRIC", "report_formats": "function"}
"""What a file of one's own has to hold; a class, where nothing else is said."""


def known(kind: str) -> dict[str, str]:
    """Return `name -> "module:attribute"` of a kind, built-ins first; an entry point cannot replace a built-in."""
    points = metadata.entry_points(group=f"radl_bench.{kind}")
    built_in = KINDS.get(kind, {})  # a role that a measurement of someone else brings along has no names of ours
    return built_in | {p.name: p.value for p in sorted(points, key=lambda p: p.name) if p.name not in built_in}


def resolve(kind: str, name: str, base: Path | None = None) -> Any:
    """Return the class (or module, or function) of a name, importing it now.

    Args:
        kind: a key of `KINDS`, or the family of a role.
        name: a built-in name, the name of an entry point, or `path/to/file.py:Class`.
        base: the folder that a relative path starts from; the current one when not given.

    Raises:
        UsageError: unknown name, or the file cannot be imported or has no such class.
        MissingExtra: a package that this part needs is not installed.
    """
    names, word = known(kind), _WORDS.get(kind, kind[:-1])
    if name in names:
        return _import(names[name], name)
    form = f"path/to/file.py:{_ATTRIBUTE.get(kind, 'Class')}"
    if is_file_spec(name):
        path, _, attribute = name.rpartition(":")
        file = Path(base or "", Path(path).expanduser())
        if not file.is_file():
            raise UsageError(f"There is no file {file}. Give the {word} as {form}.")
        return _attribute(_import_file(file), attribute, f"{word} in {file}")
    hint = f" A {word} of your own is given as {form}." if ".py" in name else ""
    raise UsageError(did_you_mean(name, names, word) + hint)


def is_file_spec(name: str) -> bool:
    """Say whether `name` has the form `path/to/file.py:Class`."""
    path, _, attribute = name.rpartition(":")
    return path.endswith(".py") and attribute.isidentifier()


def describe_error(error: BaseException) -> str:
    """Return `ValueError: message (file.py, line 12)`, naming where it was raised."""
    try:
        text = " ".join(str(error).split()) or "no message"
    except Exception:  # a class of someone else's, whose own text fails
        text = "no message"
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    return safe(f"{type(error).__name__}: {text[:500]}{where}")


def _import(spec: str, name: str) -> Any:
    module_name, _, attribute = spec.partition(":")
    try:
        module = importlib.import_module(module_name)
    except RadlBenchError:
        raise
    except ImportError as error:
        raise cannot_import(error, f"'{name}'") from error
    except (Exception, SystemExit) as error:
        raise UsageError(f"'{name}' ({module_name}) cannot be imported: {describe_error(error)}.") from error
    return _attribute(module, attribute, f"name in {module_name}") if attribute else module


def _import_file(path: Path) -> ModuleType:
    path = path.resolve()
    name = f"radl_bench_user_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{path} cannot be imported as Python.")
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))  # so that the file can import its neighbours
    module = sys.modules[name] = importlib.util.module_from_spec(spec)  # where dataclasses and pickle look it up
    try:
        spec.loader.exec_module(module)
    except RadlBenchError:
        raise
    except ModuleNotFoundError as error:
        del sys.modules[name]
        raise cannot_import(error, str(path)) from error
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise UsageError(f"{path} cannot be imported: {describe_error(error)}.") from error
    return module


def _attribute(module: ModuleType, attribute: str, what: str) -> Any:
    if hasattr(module, attribute):
        return getattr(module, attribute)
    parts = [name for name, value in vars(module).items() if not name.startswith("_") and _is_part(name, value)]
    raise UsageError(did_you_mean(attribute, parts, what))


def _is_part(name: str, value: object) -> bool:
    """Say whether a name of a module may be what was meant: a class, or a constant as `METRIC` is."""
    return inspect.isclass(value) or (name.isupper() and not isinstance(value, (str, int, float, tuple)))
