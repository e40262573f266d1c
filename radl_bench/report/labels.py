"""Names of the rows of a table: runs of one method are told apart by the settings in which they differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

MOST = 3
"""More differing settings than this are not spelt out."""


def told_apart(names: Sequence[str], params: Sequence[Mapping[str, Any]], folders: Sequence[str]) -> list[str]:
    """Return a label for each run, no two alike.

    Args:
        names: what the runs would be called alone, e.g. "RaDL"; only equal ones get more.
        params: settings of the generators, tables in them allowed. `weights`, the name of an adapter, stands for all
            settings of that adapter, and is absent where a method runs with its own.
        folders: names of the runs' folders, which tell apart what settings do not.
    """
    flat = [_flat(p) for p in params]
    labels = []
    for n, name in enumerate(names):
        alike = [flat[k] for k, other in enumerate(names) if other == name]
        said = _said(flat[n], _differing(alike))
        labels.append(f"{name} ({said})" if said else name)
    twice = {label for label in labels if labels.count(label) > 1}
    return [f"{label} #{folder}" if label in twice else label for label, folder in zip(labels, folders, strict=True)]


def _flat(params: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by their last key; those of an adapter give way to the run's own of that name."""
    inner = {k: v for value in params.values() if isinstance(value, Mapping) for k, v in value.items()}
    return inner | {k: v for k, v in params.items() if not isinstance(v, Mapping)}


def _differing(alike: Sequence[Mapping[str, Any]]) -> list[str]:
    if len({settings.get("weights") for settings in alike}) > 1:
        return ["weights"]
    keys = dict.fromkeys(key for settings in alike for key in settings)
    found = [key for key in keys if any(s.get(key) != alike[0].get(key) for s in alike)]
    return found if len(found) <= MOST else []


def _said(settings: Mapping[str, Any], keys: Sequence[str]) -> str:
    if list(keys) == ["weights"]:
        return str(settings.get("weights") or "")
    return ", ".join(f"{key}={settings[key]}" for key in keys if key in settings)
