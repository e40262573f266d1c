"""The model card that lies beside a trained adapter: data, steps, settings, figures, and how to use it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from radl_model.errors import MissingData
from radl_model.train.layout_rows import count_rows, shard_files

if TYPE_CHECKING:
    from radl_model.train.program import Program

DATASHEET = "datasheet.json"


def model_card(program: Program, step: int, loss: float, figures: Mapping[str, float]) -> str:
    """Return the card as Markdown.

    Args:
        step: optimiser steps taken; loss: running average there.
        figures: of the validation, if there was one.
    """
    return (
        "\n".join([*_head(program, step, loss), *_figures(figures), *_data(program.data), *_settings(program)]) + "\n"
    )


def _head(program: Program, step: int, loss: float) -> Iterator[str]:
    kind = {"fusion": "RaDL or MIGC (fusion layers)", "gligen": "GLIGEN (gated layers)"}[program.method]
    yield from ("---", "library_name: diffusers", "tags: [layout-to-image, radl-bench]", "---", "")
    yield f"# Adapter: {kind} on {program.base}"
    yield ""
    loop = program.loop
    yield f"- **Trained** {step:,} of {loop.steps:,} steps of {loop.batch_size} images; the base is frozen."
    yield f"- **Loss** (running average of the training): {loss:.5f}"
    averaged = f"averaged, decay {program.loop.ema}" if program.loop.ema else "those of the last step"
    yield f"- **Weights**: {averaged}; float16. Those of the base are not in here, and its licence holds for its use."
    if step < program.loop.steps:
        yield "- **Not finished**: the training was going on when this was written."
    yield from ("", "```python", "from radl_model import RaDLPipeline", "")
    yield f'pipe = RaDLPipeline.from_pretrained("{program.base}", adapter="FOLDER OF THIS FILE")'
    yield from ("```", "")
    yield "or `radl-bench generate BENCHMARK --set adapter=FOLDER`."


def _figures(figures: Mapping[str, float]) -> Iterator[str]:
    if figures:
        yield from ("", "## Figures on held-out layouts", "")
        yield from (f"- {name}: {value:g}" for name, value in figures.items())


def _data(folder: Path) -> Iterator[str]:
    yield from ("", "## Data", "")
    try:
        yield f"- {sum(map(count_rows, shard_files(folder))):,} images"
    except MissingData:
        yield "- the training set is gone"
    sheet = _datasheet(folder)
    for key in ("built_by", "split", "instances", "phrases", "left_out", "licenses", "rules"):
        if key in sheet:
            yield f"- {key.replace('_', ' ')}: {_said(sheet[key])}"
    if not sheet:
        yield "- no datasheet lies beside it"


def _datasheet(folder: Path) -> dict[str, Any]:
    try:
        sheet = json.loads((folder / DATASHEET).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return sheet if isinstance(sheet, dict) else {}


def _said(value: object) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{key} {inner}" for key, inner in value.items()) or "none"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _settings(program: Program) -> Iterator[str]:
    yield from ("", "## Settings", "", "```json")
    yield json.dumps(dataclasses.asdict(program), indent=2, default=str)
    yield "```"
