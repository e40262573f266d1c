"""What a score says about itself: everything that scoring, comparing and reporting have to know about it.

A metric declares these facts in its own file, `scores.json` carries them to the report, and nothing else in the suite
knows a score by its name. So a report needs neither the metric's file nor its package.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

if TYPE_CHECKING:
    from radl_bench.scoring.conditions import Conditions

    Setting: TypeAlias = str | Callable[[Conditions], str]

Kind = Literal["rate", "rate_of_few", "mean", "cosine", "precision", "distance"]
"""What a score is; `scoring.kinds` says which interval and which test go with it. Rows of a rate are 0 or 100; a rate
of few is one over some twenty prompts. "precision" is an average precision."""

Unit = Literal["instance", "image", "relation"]
"""What is counted: `n` and `n_missing` of a score are numbers of these."""

KINDS: tuple[Kind, ...] = get_args(Kind)
RATES: tuple[Kind, ...] = ("rate", "rate_of_few")
_UNITS: tuple[Unit, ...] = get_args(Unit)
_LAST = 1000


@dataclass(frozen=True)
class ScoreSpec:
    """The facts of one score. A wrong one raises `ValueError`, which says what it has to be.

    Attributes:
        name: how rows, files and signatures call it, e.g. "success_inst".
        heading: how tables call it, e.g. "R_inst".
        kind, unit: see `Kind` and `Unit`.
        missing: what a unit without evidence (a row that is NaN) counts as, in the unit of the table; None leaves it
            out of the mean. The only rule: scores, `compare`, tie groups and every report follow it.
        lower_is_better: the direction.
        decimals: how many a table prints.
        place: where its column stands; smaller is further left, equal places are sorted by name.
        by_level: whether it is worth a table by number of objects on a benchmark that lays out no table of its own.
        verdict: whether this rate alone says that an instance or image passed; without one, all rates have to be 100.
        settings: what it is measured under, in the order of its signature: names of `conditions.SHARED` or functions
            of `conditions.Conditions`. Thresholds of the metric's own need no mention, they always follow.
        about: what it says, as half a sentence for the glossary of a report; its kind and unit speak where it is empty.
    """

    name: str
    heading: str
    kind: Kind
    unit: Unit
    missing: float | None
    lower_is_better: bool = False
    decimals: int = 1
    place: int = _LAST
    by_level: bool = False
    verdict: bool = False
    settings: tuple[Setting, ...] = ()
    about: str = ""

    def __post_init__(self) -> None:
        for problem in _problems(self):
            raise ValueError(f"score {self.name!r:.60}: {problem}")

    @property
    def is_rate(self) -> bool:
        """Whether every row is 0 or 100."""
        return self.kind in RATES

    @property
    def column(self) -> str:
        """The head of its column; an arrow marks a score of which less is better."""
        return self.heading + (" ↓" if self.lower_is_better else "")

    @property
    def sign(self) -> int:
        """1 where more is better, else -1."""
        return -1 if self.lower_is_better else 1

    @property
    def order(self) -> tuple[int, str]:
        """What columns are sorted by."""
        return self.place, self.name

    def text(self, value: float) -> str:
        """Return a value as every format prints it."""
        return f"{value:.{self.decimals}f}"

    def counted(self, value: float) -> float | None:
        """Return what a row's value adds to the mean; None leaves the row out."""
        return self.missing if math.isnan(value) else value

    def passes(self, value: float) -> bool | None:
        """Return whether a row of a rate is a good one; None where it is left out."""
        counted = self.counted(value)
        return None if counted is None else counted == (0.0 if self.lower_is_better else 100.0)

    def facts(self) -> dict[str, str | float | bool | None]:
        """Return the facts for `scores.json`."""
        return {key: getattr(self, key) for key in _FACTS} | ({"about": self.about} if self.about else {})

    def same_rules(self, other: ScoreSpec) -> bool:
        """Say whether numbers of both may stand in one column: names and places may differ, rules may not."""
        rules = ("kind", "unit", "missing", "lower_is_better")
        return all(getattr(self, key) == getattr(other, key) for key in rules)


_FACTS = tuple(f.name for f in fields(ScoreSpec) if f.name not in ("name", "settings", "about"))


def read_spec(name: str, facts: Mapping[str, object]) -> ScoreSpec:
    """Return the spec of facts out of a `scores.json`; raises `ValueError` for one that is lacking or wrong.

    Facts that this version does not know are passed over.
    """
    lacking = [key for key in _FACTS if key not in facts]
    if lacking:
        raise ValueError(f"score {name!r:.60}: no '{lacking[0]}'")
    known = {key: facts[key] for key in _FACTS} | {"about": facts.get("about", "")}
    return ScoreSpec(name, **known)  # type: ignore[arg-type]


def unknown_spec(name: str) -> ScoreSpec:
    """Return what can be said of a score whose facts nobody kept: older versions left its missing rows out."""
    heading = "".join(c for c in name if c.isprintable())[:40]
    return ScoreSpec(name, heading or "?", "mean", "image", None)


def _problems(spec: ScoreSpec) -> list[str]:
    checks = {
        "its name must be a text": isinstance(spec.name, str),
        "'heading' must be a short printable text": _is_heading(spec.heading),
        f"'kind' must be one of {', '.join(KINDS)}, not {spec.kind!r:.60}": spec.kind in KINDS,
        f"'unit' must be one of {', '.join(_UNITS)}, not {spec.unit!r:.60}": spec.unit in _UNITS,
        "'missing' must be a finite number, or None to leave missing units out": _is_value(spec.missing),
        "'lower_is_better', 'by_level' and 'verdict' must be True or False": all(
            type(flag) is bool for flag in (spec.lower_is_better, spec.by_level, spec.verdict)
        ),
        "'decimals' must be a whole number from 0 to 6": type(spec.decimals) is int and 0 <= spec.decimals <= 6,
        "'place' must be a whole number": type(spec.place) is int,
        "'about' must be a text of one line": isinstance(spec.about, str)
        and (not spec.about or spec.about.isprintable()),
        "'settings' must be a tuple of names and functions": isinstance(spec.settings, tuple),
    }
    return [problem for problem, holds in checks.items() if not holds] or _unfair(spec)


def _unfair(spec: ScoreSpec) -> list[str]:
    """Say where a missing unit would count as a good one."""
    if spec.missing is None:
        return []
    worst = {"rate": 0.0, "rate_of_few": 0.0, "distance": None}.get(spec.kind)
    if worst is not None and spec.missing != (100.0 if spec.lower_is_better else worst):
        return ["'missing' of a rate must be its worst value (0, or 100 where lower is better), or None"]
    if spec.lower_is_better and spec.missing <= 0:
        return ["'missing' would be the best value, since lower is better; give the worst one, or None"]
    return []


def _is_heading(heading: object) -> bool:
    return isinstance(heading, str) and 0 < len(heading) <= 40 and heading.isprintable()


def _is_value(value: object) -> bool:
    return value is None or (type(value) in (int, float) and math.isfinite(value))  # type: ignore[arg-type]
