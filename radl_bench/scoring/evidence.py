"""Evidence: what the judges saw, measured once and kept by (image sha256, judge signature).

One SQLite file a judge and kind of measurement. What is in it is never measured again, so a second scoring loads no
model and a new threshold runs no detector. Which kinds there are and how each is asked, kept and read is in
`radl_bench.judges.kinds`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from radl_bench.errors import BadInput, MissingData, UsageError
from radl_bench.judges.contracts import Declared, Judge, declared
from radl_bench.judges.kinds import Desk, J, Kind, Seen
from radl_bench.registry import MEASUREMENTS, resolve
from radl_bench.runs.images import Picture
from radl_bench.scoring.evidence_parquet import take_over
from radl_bench.scoring.evidence_table import EvidenceTable
from radl_bench.scoring.metrics import View
from radl_bench.scoring.protocol import Protocol

_FIELDS = frozenset(f.name for f in fields(View))


class Evidence:
    """What is known of the images of one run, and the judges that are asked for the rest.

    Args:
        folder: the run's evidence folder.
        batch_size: images a call of a judge.
        judges: by role, e.g. `detector=`, `segmenter=`, `encoder=`, `features=`; None for one that is left out.
    """

    def __init__(self, folder: Path, batch_size: int = 16, **judges: Judge | None) -> None:
        self.folder, self.batch_size = folder, batch_size
        self._judges = {role: judge for role, judge in judges.items() if judge is not None}
        self._signatures = {role: judge.signature for role, judge in self._judges.items()}
        self._tables: dict[tuple[str, str], EvidenceTable] = {}
        self._desks: dict[tuple[str, Protocol], Desk[Any]] = {}
        self._kinds: dict[frozenset[str], list[Kind[Any]]] = {}

    @classmethod
    def recorded(cls, folder: Path, signatures: Mapping[str, str]) -> Evidence:
        """Return what judges of these signatures, by role, saw earlier; what they did not see is `MissingData`."""
        made = cls(folder)
        made._signatures = dict(signatures)
        return made

    def views(self, pictures: Sequence[Picture], rules: Protocol, needs: Iterable[str]) -> list[View]:
        """Return the view of each image, in order; what is not known yet of the kinds in `needs` is measured.

        Raises:
            BadAnswer: a judge failed, or its answer breaks its contract.
            MissingData: nobody is there to be asked (`recorded`).
            UsageError: there is no such kind of measurement, or no judge of its role.
        """
        seen: list[Seen] = [{} for _ in pictures]
        for kind in self._known_kinds(needs):
            desk = self.desk(kind, rules)
            self._ask(kind, desk, [(p, s) for p, s in zip(pictures, seen, strict=True) if p.problem is None])
        return [_view(picture, known) for picture, known in zip(pictures, seen, strict=True)]

    def desk(self, kind: Kind[J], rules: Protocol) -> Desk[J]:
        """Return what a kind works with under a protocol."""
        if (kind.key, rules) not in self._desks:
            role = kind.role.name
            if role not in self._signatures:
                raise UsageError(f"'{kind.key}' needs the judge '{role}', and none is given.")
            table, judge = self._table(kind), self._judges.get(role)
            facts = (
                declared(judge) if judge is not None else Declared(needs_sample=table.facts.get("needs_sample", False))
            )
            self._desks[kind.key, rules] = Desk(judge, facts, table, rules, self.batch_size)
        return self._desks[kind.key, rules]

    def _known_kinds(self, needs: Iterable[str]) -> list[Kind[Any]]:
        wanted = frozenset(needs)
        if wanted not in self._kinds:
            self._kinds[wanted] = kinds_of(wanted)
        return self._kinds[wanted]

    @property
    def tables(self) -> list[EvidenceTable]:
        """The tables that were looked at."""
        return list(self._tables.values())

    def flush(self) -> None:
        """Write what was measured to disk."""
        for table in self._tables.values():
            table.flush()

    def close(self) -> None:
        """Let go of all files."""
        for table in self._tables.values():
            table.close()

    def _ask(self, kind: Kind[Any], desk: Desk[Any], asked: list[tuple[Picture, Seen]]) -> None:
        if desk.judge is not None:
            kind.measure([p for p, _ in asked], [s for _, s in asked], desk)
        for picture, known in asked:
            if picture.problem is None:  # opening it may have failed just now
                try:
                    known.update(kind.read(picture, known, desk))
                except KeyError:
                    raise MissingData(f"The evidence of '{desk.table.signature}' is not complete") from None
                except (ValueError, TypeError) as error:
                    file = desk.table.file or f"'{desk.table.signature}'"
                    raise BadInput(f"The evidence in {file} is damaged ({error}). Delete it and score again.") from None

    def _table(self, kind: Kind[Any]) -> EvidenceTable:
        role, store = kind.role.name, kind.store
        if (store.name, role) not in self._tables:
            signature, judge = self._signatures[role], self._judges.get(role)
            name = self.folder / _name(store.name, signature)
            facts = {} if judge is None else {"needs_sample": declared(judge).needs_sample}
            there = judge is not None or name.with_name(f"{name.name}.sqlite").is_file()
            file = name.with_name(f"{name.name}.sqlite") if there else None  # what is only read is not written
            table = EvidenceTable(file, signature, store.keys, store.values, facts)
            if name.is_dir() and not (file and file.is_file()):
                take_over(name, table)
            self._tables[store.name, role] = table
        return self._tables[store.name, role]


def kinds_of(needs: Iterable[str]) -> list[Kind[Any]]:
    """Return the kinds of measurement of these names and those they build on, each after what it needs.

    Raises `UsageError` for a name that is not a kind of measurement.
    """
    found: dict[str, Kind[Any]] = {}

    def add(name: str) -> None:
        kind = resolve("measurements", name)
        if not isinstance(kind, Kind):
            raise UsageError(
                f"'{name}' is not a kind of measurement: it must be an object of a subclass of kinds.Kind."
            )
        if kind.key not in found:
            for earlier in kind.after:
                add(earlier)
            found[kind.key] = kind

    built_in = list(MEASUREMENTS)
    for name in sorted(needs, key=lambda name: (built_in.index(name) if name in built_in else len(built_in), name)):
        add(name)
    return list(found.values())


def _view(picture: Picture, seen: Seen) -> View:
    if picture.problem is not None:
        return View(picture.sample, picture.k, picture.problem)
    known: dict[str, Any] = {name: value for name, value in seen.items() if name in _FIELDS}
    more = {name: value for name, value in seen.items() if name not in _FIELDS}
    sample = picture.sample
    known.setdefault("shares", np.zeros((len(sample.instances), len(sample.color_names))))
    return View(picture.sample, picture.k, **known, more=more)


def _name(kind: str, signature: str) -> str:
    slug = "".join(c if c.isalnum() or c in "-_." else "-" for c in signature)[:40]
    digest = hashlib.sha256(json.dumps([kind, signature]).encode()).hexdigest()[:8]
    return f"{kind}-{slug}-{digest}"
