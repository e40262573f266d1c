"""Readers of benchmark files made elsewhere; each writes a benchmark folder of our own layout into the user's data."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path

from radl_bench.benchmarks.samples import parse_samples
from radl_bench.benchmarks.strata import terciles
from radl_bench.benchmarks.toml import promises_of
from radl_bench.errors import BadInput
from radl_bench.files import replace_file
from radl_bench.types import Sample


def sample_row(sample: Sample) -> dict[str, object]:
    """Return the JSON object of one line of `samples.jsonl`."""
    return {
        "id": sample.id,
        "prompt": sample.prompt,
        "instances": [
            {"phrase": i.phrase, "category": i.category, "color": i.color, "box": list(i.box)}
            | ({"attributes": list(i.attributes)} if i.attributes else {})
            for i in sample.instances
        ],
        "relations": [[r.subject, r.predicate, r.object] for r in sample.relations],
        "verbs": sample.verbs,
        "tags": list(sample.tags),
    }


def samples_bytes(samples: Iterable[Sample]) -> bytes:
    """Return the bytes of `samples.jsonl`: UTF-8, one object a line, keys in a fixed order, `\\n` at every end."""
    return "".join(json.dumps(sample_row(s), ensure_ascii=False) + "\n" for s in samples).encode()


def benchmark_toml(
    fields: Mapping[str, object],
    metrics: Mapping[str, Mapping[str, object]],
    samples: bytes,
    levels: Mapping[int, int] | None = None,
    strata: Mapping[str, list[float]] | None = None,
) -> str:
    """Return the text of `benchmark.toml` for these fields, metric tables, the bytes of `samples.jsonl` and the levels.

    `levels` maps a number of instances to the number of samples that have it, and `strata` are `strata.terciles`; the
    loader holds the file to both.
    """
    import tomli_w

    table = {**fields, "samples_sha256": sha256(samples).hexdigest()}
    if levels:
        table["levels"] = {str(level): count for level, count in sorted(levels.items())}
    if strata:
        table["strata"] = dict(strata)
    return tomli_w.dumps({**table, "metrics": metrics})


def write_benchmark(
    folder: Path, samples: Iterable[Sample], fields: Mapping[str, object], metrics: Mapping[str, Mapping[str, object]]
) -> None:
    """Write `samples.jsonl` and then `benchmark.toml` into `folder`, each under a temporary name first.

    Raises `BadInput`: the samples are not such that they can be loaded again; nothing is written then.
    """
    samples = tuple(samples)
    try:
        data = samples_bytes(samples)
    except UnicodeEncodeError as error:
        raise BadInput("A prompt or phrase holds half a surrogate pair, which is not text.") from error
    # What cannot be loaded must not be written.
    promises = promises_of(fields)
    parse_samples(data, str(folder / "samples.jsonl"), **promises)
    folder.mkdir(parents=True, exist_ok=True)
    toml = benchmark_toml(fields, metrics, data, Counter(sample.level for sample in samples), terciles(samples))
    for name, content in (("samples.jsonl", data), ("benchmark.toml", toml.encode())):
        replace_file(folder / name, content)
