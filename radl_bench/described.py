"""What a part says of itself: what it is, its settings with their defaults, and what it lacks on this machine."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from radl_bench.errors import RadlBenchError
from radl_bench.packages import cannot_import, lacking, pip_name

NOT_SETTINGS = ("model", "device")
"""Arguments of a method that have options of their own."""

_ARGUMENT = re.compile(r"    (?! )([\w, ]+): (.*)")


@dataclass(frozen=True)
class Setting:
    """A setting of a method: its name, its default in words, and one sentence about it ("" where there is none)."""

    name: str
    default: str
    what: str


def first_sentence(text: str | None) -> str:
    """Return the first sentence of a docstring, in one line."""
    paragraph = inspect.cleandoc(text or "").split("\n\n")[0].replace("`", "")
    return re.split(r"(?<=\.) (?=[A-Z])", " ".join(paragraph.split()))[0]


def parameters_of(cls: Callable[..., object]) -> dict[str, inspect.Parameter] | None:
    """Return the keyword arguments that a class takes, None when it takes any.

    A constructor that takes `**more` hands it on to its base class, as every class does that adds a setting to one of
    ours; so the base's arguments count too.
    """
    makers = [cls]
    if inspect.isclass(cls):
        makers = [vars(c)["__init__"] for c in cls.__mro__ if c is not object and "__init__" in vars(c)]
    found: dict[str, inspect.Parameter] = {}
    for maker in makers:
        try:
            parameters = inspect.signature(maker).parameters.values()
        except (TypeError, ValueError):
            return None
        named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and p.name != "self"]
        found = {p.name: p for p in named} | found
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            return found
    return None if makers else found


def settings_of(cls: Callable[..., object]) -> list[Setting]:
    """Return the settings that `--set` takes for a method, those of its own class first."""
    texts: dict[str, str] = {}
    for base in getattr(cls, "__mro__", (cls,)):
        texts |= {name: what for name, what in arguments_of(base.__doc__).items() if name not in texts}
    found = parameters_of(cls) or {}
    ours = sorted(
        set(found) - set(NOT_SETTINGS), key=list(texts).index if set(found) <= set(texts) else list(found).index
    )
    return [Setting(n, _default(cls, found[n]), texts.get(n, "").replace("when None", "when not set")) for n in ours]


def arguments_of(text: str | None) -> dict[str, str]:
    """Return the sentence about each argument in the part "Args:" of a docstring."""
    _, _, part = inspect.cleandoc(text or "").partition("Args:\n")
    found: dict[str, str] = {}
    names: list[str] = []
    for line in part.splitlines():
        start = _ARGUMENT.fullmatch(line)
        if start:
            names = [name.strip() for name in start[1].split(",")]
            found |= dict.fromkeys(names, start[2])
        elif line.startswith("        "):
            found |= {name: f"{found[name]} {line.strip()}" for name in names}
        else:
            break
    return {name: first_sentence(what) for name, what in found.items()}


def _default(cls: object, parameter: inspect.Parameter) -> str:
    """Return a default in words; a method may have one for the mini model and one for others (`defaults`)."""
    own = getattr(cls, "defaults", None)
    if parameter.default is None and isinstance(own, tuple) and all(parameter.name in part for part in own):
        mini, others = (_shown(part[parameter.name]) for part in own)
        return mini if mini == others else f"{others} (mini: {mini})"
    if parameter.default is parameter.empty:
        return "has to be given"
    return "not set" if parameter.default is None else _shown(parameter.default)


def _shown(value: object) -> str:
    return '""' if value == "" else str(value)


def lacks(part: object, *model: str) -> str:
    """Return what a method (with this model) or a judge lacks on this machine and how to get it, "" where it can run.

    A part may say so itself: `packages`, names of modules, and `check_weights(*model)`, which raises `MissingWeights`.
    """
    absent = lacking(getattr(part, "packages", ()))
    if absent:
        return f"Not installed: {', '.join(absent)}. Run: pip install {' '.join(map(pip_name, absent))}"
    try:
        getattr(part, "check_weights", lambda *_: None)(*model)
    except ImportError as error:
        return str(cannot_import(error, "Looking for its weights"))
    except RadlBenchError as error:
        return str(error)
    return ""


def thresholds_of(metric: object, usual: object) -> Mapping[str, object]:
    """Return a metric's thresholds and options with their defaults; `usual` is a protocol with the shared ones."""
    shared = {name: getattr(usual, name) for name in getattr(metric, "thresholds", ())}
    options = dict.fromkeys(getattr(metric, "options", ()), "the benchmark's")
    return {**shared, **getattr(metric, "own", {}), **options}
