"""The report as LaTeX: booktabs tables to \\input, with nothing else needed in the preamble."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from radl_bench.report.formats import REPORTED_TITLE
from radl_bench.report.reported import ReportedTable
from radl_bench.report.tables import Cell, Section
from radl_bench.text import safe

if TYPE_CHECKING:
    from radl_bench.report import Report

_HEADER = "% Tables of radl-bench. Put \\usepackage{booktabs} into the preamble and \\input this file."
_LEGEND = (
    "Below each value its 95\\,\\% interval. \\textbf{Bold}: better than every other method (paired permutation test "
    "over samples, $p < .05$ by Holm's rule over all pairs of the column). $^{=}$: in a tie with the best. "
    "The ceiling, images that are right by construction, takes no part. "
    "avg: over all objects or images, not the mean of the levels."
)
_SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "_": r"\_",
    "%": r"\%",
    "&": r"\&",
    "#": r"\#",
    "$": r"\$",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": "$<$",
    ">": "$>$",
    "|": "$|$",
    "[": "{[}",  # after a line end a bracket would be its argument
    "]": "{]}",
    "–": r"\textendash{}",
    "↓": r"$\downarrow$",
    "×": r"$\times$",
}

_WIDE = 9
"""Tables of more columns than this are set smaller, so that Table I fits a page of two columns."""

_LIGATURE = re.compile(r"(-(?=-)|'(?=')|`(?=`)|[?!](?=`)|,(?=,))")
"""Where two characters would be printed as another one."""


def latex(report: Report) -> str:
    """Return the report as LaTeX; every table is a `table*` with caption, label and its footnotes below it."""
    blocks = [_HEADER]
    for number, section in enumerate(report.sections, 1):
        blocks += [f"% {_one_line(section.title)}", *_section(section, number)]
    if report.reported:
        blocks += [f"% {REPORTED_TITLE}", *map(_reported, report.reported)]
    blocks += [f"% {_one_line(note)}" for note in report.notes]
    return "\n\n".join(blocks) + "\n"


def escaped(text: str) -> str:
    """Return text as LaTeX that prints it; what pdflatex's fonts lack becomes a question mark."""
    known = "".join(c if c in _SPECIAL or 32 <= ord(c) < 127 or 160 < ord(c) < 256 else "?" for c in _one_line(text))
    return _LIGATURE.sub(r"\1{}", "".join(_SPECIAL.get(c, c) for c in known))


def _section(section: Section, number: int) -> Iterator[str]:
    for n, table in enumerate(section.tables, 1):
        caption = f"{escaped(section.title)}. {escaped(table.title)}."
        columns = f"ll{'r' * len(table.heads)}"
        heads = [*map(escaped, (*table.first, *table.heads))]
        body = [line for row, ends in table.ends() for line in _rows(row.name, row.model, row.cells, ends)]
        foot = [_LEGEND, *map(escaped, section.notes)] if n == 1 else []
        foot += [_signature(line) for line in section.signatures] if n == len(section.tables) else []
        yield _float(caption, f"tab:radl-bench-{number}-{n}", columns, heads, body, foot)


def _rows(label: str, model: str, cells: Sequence[Cell | None], last_reference: bool) -> list[str]:
    values = [escaped(label), escaped(model), *map(_value, cells)]
    size = r"\tiny" if len(cells) + 2 > _WIDE else r"\scriptsize"
    ends = ["", "", *(_interval(cell, size) for cell in cells)]
    rows = [" & ".join(values) + r" \\", " & ".join(ends) + r" \\[2pt]"]
    return [*rows, r"\midrule"] if last_reference else rows


def _value(cell: Cell | None) -> str:
    if cell is None or cell.value is None:
        return "--"
    return rf"\textbf{{{cell.text}}}" if cell.best else cell.text + (r"\rlap{$^{=}$}" if cell.tied else "")


def _interval(cell: Cell | None, size: str) -> str:
    if cell is None or cell.value is None:
        return ""
    return rf"{{{size} [{escaped(cell.interval)}]}}"


def _reported(table: ReportedTable) -> str:
    heads = ["method", *(escaped(column.head) for column in table.columns)]
    body = [
        " & ".join([escaped(line.label), *(escaped(table.text(value)) for value in line.values)]) + r" \\"
        for line in table.lines
    ]
    foot = [f"Source: {escaped(table.source)}.", *map(escaped, table.notes)]
    columns = f"l{'r' * len(table.columns)}"
    return _float(f"{escaped(table.title)}.", f"tab:reported-{table.id}", columns, heads, body, foot)


def _float(
    caption: str, label: str, columns: str, heads: Sequence[str], body: Sequence[str], foot: Sequence[str]
) -> str:
    body = body[:-1] if body and body[-1] == r"\midrule" else body
    size, space = (r"\footnotesize", "1.5pt") if len(columns) > _WIDE else (r"\small", "4pt")
    lines = [r"\begin{table*}[tp]", r"\centering", size, rf"\setlength{{\tabcolsep}}{{{space}}}"]
    lines += [rf"\caption{{{caption}}}", rf"\label{{{label}}}", rf"\begin{{tabular}}{{{columns}}}", r"\toprule"]
    lines += [" & ".join(heads) + r" \\", r"\midrule", *body, r"\bottomrule", r"\end{tabular}"]
    if foot:
        lines += [r"\par\medskip", r"\begin{minipage}{\linewidth}\footnotesize\raggedright"]
        lines += [line + r"\par" for line in foot] + [r"\end{minipage}"]
    return "\n".join([*lines, r"\end{table*}"])


def _signature(line: str) -> str:
    # a signature is one long word: it may break after each of its parts
    what, _, signature = line.partition("; `")
    parts = [escaped(part) for part in signature.rstrip("`").split("|")]
    return rf"{escaped(what)}; \texttt{{" + r"|\allowbreak{}".join(parts) + "}"


def _one_line(text: str) -> str:
    return " ".join(safe(text).split())
