"""`radl-bench ls methods NAME` and its like: all about one part."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import typer

from radl_bench.errors import UsageError, did_you_mean
from radl_bench.hints import command
from radl_bench.text import safe

_WIDTH = 80


def method(name: str) -> None:
    """Print what a method is, with which models it can run here, and its settings."""
    from radl_bench.described import lacks, settings_of
    from radl_bench.registry import resolve

    part = resolve("generators", name)
    _title(name, part.__doc__)
    models = getattr(part, "models", ())
    _part("Models (--model)", ((model, lacks(part, model) or "ready here") for model in models))
    if not models:
        _part("Here", [("state", lacks(part, "") or "ready")])
    _part("Settings (--set NAME=VALUE)", ((f"{s.name} = {s.default}", s.what) for s in settings_of(part)))


def benchmark(name: str) -> None:
    """Print what a benchmark holds, where it comes from, and what it measures."""
    from radl_bench.benchmarks.loading import load_benchmark

    found = load_benchmark(name)
    _title(f"{found.name}, version {found.version}", found.description)
    counts = Counter(sample.level for sample in found.samples)
    facts = {
        "samples": f"{len(found.samples)}, by level {levels(counts)}",
        "images": f"{found.images_per_sample} a sample, {found.resolution} pixels wide",
        "metrics": ", ".join(found.metrics),
        "source": _source(name),
        "full size": full_size(name),
        "licence": found.license,
        "cite": found.citation,
    }
    _part("", ((key, value) for key, value in facts.items() if value))


def metric(name: str) -> None:
    """Print the scores of a metric, the judges it asks and its thresholds."""
    import sys

    from radl_bench.described import thresholds_of
    from radl_bench.registry import resolve
    from radl_bench.scoring.evidence import kinds_of
    from radl_bench.scoring.protocol import PROTOCOLS

    found = resolve("metrics", name)
    own = getattr(found, "METRIC", found)
    _title(name, (found if hasattr(found, "METRIC") else sys.modules.get(found.__module__)).__doc__)
    _part("Scores", ((spec.heading, f"{spec.name}, {_kind(spec)}") for spec in own.scores))
    roles = dict.fromkeys(kind.role.name for kind in kinds_of(own.requires))
    _part("Judges it asks", ((role, f"--{role} NAME") for role in roles))
    values = thresholds_of(own, PROTOCOLS["strict"])
    _part("Thresholds (protocol strict; a benchmark may set others)", ((f"{k} = {v}", "") for k, v in values.items()))


def judge(name: str) -> None:
    """Print every judge of this name: what it is, whether it can be used here, and what it declares."""
    from radl_bench.judges.contracts import declared
    from radl_bench.registry import is_file_spec, known, resolve
    from radl_bench.scoring.judging import roles

    homes = [role for role in roles() if name in known(role.family)]
    if not homes and is_file_spec(name):
        homes = roles()[:1]
    if not homes:
        names = {n for role in roles() for n in known(role.family)}
        raise UsageError(did_you_mean(name, names, "judge"))
    for role in homes:
        part = resolve(role.family, name)
        _title(f"{name}, a judge with the role {role.name}", part.__doc__)
        _part("", _facts(part, declared(part)))


def _facts(part: object, says: Any) -> Iterator[tuple[str, str]]:
    from radl_bench.described import lacks

    yield "here", lacks(part) or "ready"
    if says.scale:
        yield "scale", f"{says.scale}: numbers with it are {says.scale} numbers"
    for role, other in says.companions.items():
        yield role, f"{other}, unless --{role} says otherwise"
    for key, value in says.thresholds.items():
        yield key, f"{value:g}, its own threshold"


ONE: dict[str, Callable[[str], None]] = {
    "methods": method,
    "benchmarks": benchmark,
    "metrics": metric,
    "judges": judge,
}


def levels(counts: Counter[int]) -> str:
    """Return `2-6: 160 each`, or every level with its number of samples."""
    known, sizes = sorted(counts), set(counts.values())
    if len(known) > 1 and len(sizes) == 1 and known == list(range(known[0], known[-1] + 1)):
        return f"{known[0]}-{known[-1]}: {sizes.pop()} each"
    return ", ".join(f"{level}: {counts[level]}" for level in known)


def full_size(name: str) -> str:
    """Say whether the full-size version of an embedded benchmark is built, and how to build it."""
    from radl_bench.benchmarks.builders import BUILDERS, MANIFEST, full_folder

    if name not in BUILDERS:
        return ""
    built = (full_folder(name) / MANIFEST).is_file()
    return f"built: {name}-full" if built else f"not built: {command('data', 'build', name)}"


def _source(name: str) -> str:
    from radl_bench.benchmarks.loading import benchmark_folders, is_packaged

    folder = benchmark_folders().get(name)
    return name if folder is None else "embedded" if is_packaged(folder) else str(folder)


def _kind(spec: Any) -> str:
    missing = "is left out" if spec.missing is None else f"counts as {spec.missing:g}"
    better = "lower" if spec.lower_is_better else "higher"
    return f"a {spec.kind.replace('_', ' ')} over {spec.unit}s; {better} is better; a missing one {missing}"


def _title(name: str, text: str | None) -> None:
    import inspect

    paragraph = inspect.cleandoc(text or "").split("\n\n")[0].replace("`", "")
    typer.echo(textwrap.fill(safe(f"{name}: {paragraph}" if paragraph else name), _WIDTH))


def _part(title: str, lines: Iterable[tuple[str, str]]) -> None:
    """Print lines under a title; what is said of each stands beside it, or below where there is no room."""
    rows = [(safe(head), safe(text)) for head, text in lines]
    if rows and title:
        typer.echo(f"\n{title}")
    wide = max((len(head) for head, _ in rows), default=0)
    for head, text in rows:
        if wide <= 24:
            hang = " " * (wide + 4)
            typer.echo(textwrap.fill(f"  {head:<{wide}}  {text}".rstrip(), _WIDTH, subsequent_indent=hang))
            continue
        typer.echo(textwrap.fill(f"  {head}", _WIDTH, subsequent_indent="    "))
        if text:
            typer.echo(textwrap.fill(text, _WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6))
