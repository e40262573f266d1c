"""Scores in the forms of other tools: lm-evaluation-harness's `results.json`, and the Hub's `model-index`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from radl_bench.report import Report
    from radl_bench.report.scored_run import ScoredRun
    from radl_bench.report.tables import Cell


def harness(report: Report) -> str:
    """Return the report in the form of lm-evaluation-harness's `results.json`, a table of tasks a run.

    A task is a benchmark, or one level of it; keys are `<score>,<protocol>`, and an interval is given as
    `<score>_ci_low` and `_ci_high` beside it, since it is no standard error. `radl_bench` holds signatures.
    """
    runs: list[dict[str, Any]] = []
    for section in report.sections:
        for run, label in section.runs:
            results: dict[str, dict[str, Any]] = {}
            signatures: dict[str, str] = {}
            samples: dict[str, dict[str, int]] = {}
            for owner, _, cell in section.cells:
                if owner is run:
                    _add(results, signatures, samples, run, cell)
            better = {cell.metric: not cell.spec.lower_is_better for owner, _, cell in section.cells if owner is run}
            tasks = sorted(results)
            benchmark = run.data["benchmark"]
            runs.append(
                {
                    "model_name": label,
                    "model_source": run.model,
                    "results": {task: results[task] for task in tasks},
                    "versions": dict.fromkeys(tasks, str(benchmark["version"])),
                    "n-samples": {task: samples[task] for task in tasks},
                    "higher_is_better": dict.fromkeys(tasks, better),
                    "radl_bench": {"scale": run.scale, "status": run.status, "signatures": signatures},
                }
            )
    content: object = runs[0] if len(runs) == 1 else {"runs": runs}
    return json.dumps(content, indent=2, ensure_ascii=True, allow_nan=False) + "\n"


def model_index(report: Report) -> str:
    """Return the scores over all levels as the YAML head of a model card, with the Hub's `model-index`, an entry a run.

    A metric that is not measured is left out. The name of a data set says which part of the benchmark it was.
    """
    entries = [
        {"name": label, "results": [_result(run, [c for owner, _, c in section.cells if owner is run])]}
        for section in report.sections
        for run, label in section.runs
    ]
    return front_matter({"tags": ["radl-bench", "layout-to-image"], "model-index": entries})


def front_matter(head: Mapping[str, object]) -> str:
    """Return a YAML head, between its two lines of dashes; text of others is quoted by the writer of YAML."""
    import yaml

    return "---\n" + yaml.safe_dump(dict(head), sort_keys=False, allow_unicode=True) + "---\n"


def _result(run: ScoredRun, cells: list[Cell]) -> dict[str, object]:
    benchmark = run.data["benchmark"]
    chosen = ", ".join(f"{key} {value}" for key, value in benchmark.get("filter", {}).items())
    metrics = [
        {
            "type": cell.metric,
            "name": f"{cell.spec.heading} ({run.scale or 'scale unstated'})",
            "value": round(cell.value, 4),
            "args": {"signature": cell.signature, "ci_low": cell.low, "ci_high": cell.high, "n": cell.n},
        }
        for cell in cells
        if cell.level is None and cell.value is not None
    ]
    return {
        "task": {"type": "text-to-image", "name": "layout-to-image generation"},
        "dataset": {
            "type": benchmark["name"],
            "name": f"{benchmark['name']} {benchmark['version']}" + (f" ({chosen})" if chosen else ""),
            "revision": benchmark["sha256"],
        },
        "metrics": metrics,
    }


def _add(
    results: dict[str, dict[str, Any]],
    signatures: dict[str, str],
    samples: dict[str, dict[str, int]],
    run: ScoredRun,
    cell: Cell,
) -> None:
    name = run.data["benchmark"]["name"]
    task = name if cell.level is None else f"{name}_level{cell.level}"
    filter_name = str(run.data.get("protocol") or "none")
    entry = results.setdefault(task, {"alias": task})
    entry[f"{cell.metric},{filter_name}"] = "N/A" if cell.value is None else cell.value
    for end, value in (("ci_low", cell.low), ("ci_high", cell.high)):
        entry[f"{cell.metric}_{end},{filter_name}"] = "N/A" if value is None else value
    size = samples.setdefault(task, {"original": 0, "effective": 0})
    size["original"] = max(size["original"], cell.n)
    size["effective"] = max(size["effective"], cell.n - cell.missing)
    signatures[f"{task}/{cell.metric}"] = cell.signature
