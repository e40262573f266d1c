"""Readers of benchmark files made elsewhere; each writes a benchmark folder of our own layout into the user's data."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from radl_bench.files import replace_file
from radl_bench.types import Sample


def sample_row(sample: Sample) -> dict[str, Any]:
    """Return the JSON object of one line of `samples.jsonl`."""
    return {
        "id": sample.id,
        "prompt": sample.prompt,
        "instances": [
            {"phrase": i.phrase, "category": i.category, "color": i.color, "box": list(i.box)} for i in sample.instances
        ],
        "relations": [[r.subject, r.predicate, r.object] for r in sample.relations],
        "verbs": sample.verbs,
        "tags": list(sample.tags),
    }


def samples_bytes(samples: Iterable[Sample]) -> bytes:
    """Return the bytes of `samples.jsonl`: UTF-8, one object a line, keys in a fixed order, `\\n` at every end."""
    return "".join(json.dumps(sample_row(s), ensure_ascii=False) + "\n" for s in samples).encode()


def benchmark_toml(
    fields: Mapping[str, Any],
    metrics: Mapping[str, Mapping[str, Any]],
    samples: bytes,
    levels: Mapping[int, int] | None = None,
) -> str:
    """Return the text of `benchmark.toml` for these fields, metric tables, the bytes of `samples.jsonl` and the levels.

    `levels` maps a number of instances to the number of samples that have it; the loader holds the file to it. Values
    are strings and numbers, whose JSON spelling is TOML too (the standard library reads TOML but writes none).
    """
    tables = {key: value for key, value in fields.items() if isinstance(value, Mapping)}
    lines = [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in fields.items() if key not in tables]
    lines.append(f'samples_sha256 = "{sha256(samples).hexdigest()}"')
    if levels:
        lines += ["", "[levels]", *(f"{level} = {count}" for level, count in sorted(levels.items()))]
    for name, parameters in (*tables.items(), *((f"metrics.{name}", table) for name, table in metrics.items())):
        lines += ["", f"[{name}]"]
        lines += [f"{key} = {json.dumps(value)}" for key, value in parameters.items()]
    return "\n".join(lines) + "\n"


def write_benchmark(
    folder: Path, samples: Iterable[Sample], fields: Mapping[str, Any], metrics: Mapping[str, Mapping[str, Any]]
) -> None:
    """Write `samples.jsonl` and then `benchmark.toml` into `folder`, each under a temporary name first."""
    folder.mkdir(parents=True, exist_ok=True)
    samples = tuple(samples)
    data = samples_bytes(samples)
    toml = benchmark_toml(fields, metrics, data, Counter(sample.level for sample in samples))
    for name, content in (("samples.jsonl", data), ("benchmark.toml", toml.encode())):
        replace_file(folder / name, content)
