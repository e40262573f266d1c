"""Names, prompts and messages of others in every form of output: shown as text, never obeyed."""

from __future__ import annotations

import csv
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_runs import make_run
from typer.testing import CliRunner

from radl_bench.cli import build_app, main
from radl_bench.errors import BadInput
from radl_bench.report import build_report, show, write_report
from radl_bench.text import safe

EVIL = "=1+1 [a](http://x.y) ![b](c) <img src=x> \x1b]0;t\x07\x1b[2J \u202eabc | www.x.y\nnext"


@pytest.mark.parametrize(
    ("text", "form", "shown"),
    [
        ("RaDL (guidance_scale=4.0)", "markdown", "RaDL (guidance_scale=4.0)"),
        ("a\nb\r\nc\u2028d", "terminal", "a b c d"),
        ("\x1b[31mred\x1b[0m", "terminal", r"\x1b[31mred\x1b[0m"),
        ("\u202egpj.exe", "terminal", r"\u202egpj.exe"),
        ("\ud800", "csv", r"\ud800"),
        ("größer – 日本", "terminal", "größer – 日本"),
        ("=1+1", "csv", "'=1+1"),
        ("  +1", "csv", "'  +1"),
        ("-x", "csv", "'-x"),
        ("@SUM(A1)", "csv", "'@SUM(A1)"),
        ("\t=1", "csv", "' =1"),
        ("a=1", "csv", "a=1"),
        ("[a](b)", "markdown", r"[a]\(b)"),
        ("![a](b)", "markdown", r"!\[a]\(b)"),
        ("[a][b]", "markdown", r"[a]\[b]"),
        ("[a]: b", "markdown", r"[a]\: b"),
        ("https://a.b www.a.b", "markdown", r"https:\//a.b www\.a.b"),
        ("<script> and < .001", "markdown", "&lt;script> and < .001"),
        ("28.6 [27.0, 30.1] =", "markdown", "28.6 [27.0, 30.1] ="),
    ],
)
def test_examples(text, form, shown):
    assert safe(text, form) == shown


@given(st.text(alphabet=st.characters(), max_size=40), st.sampled_from(["terminal", "markdown", "csv"]))
def test_whatever_comes_is_one_printable_line_in_utf_8(text, form):
    shown = safe(text, form)
    assert shown == "" or shown.isprintable()
    shown.encode("utf-8")
    if form == "csv":
        assert not shown.lstrip().startswith(("=", "+", "-", "@"))
    if form == "markdown":
        assert "](" not in shown
        assert "![" not in shown


TOLD = EVIL.replace(" \ud800", "")
"""Without half a surrogate pair, which no file of scores may hold."""


@pytest.fixture
def runs(tmp_path):
    """Two scored runs whose method and model are full of tricks."""
    return [make_run(tmp_path, name, rate, name=TOLD + name, model=TOLD) for name, rate in (("a", 0.3), ("b", 0.7))]


@pytest.mark.parametrize("format", ["markdown", "latex", "json", "csv", "html"])
def test_no_format_obeys_a_name(runs, tmp_path, format):
    report = build_report(runs)
    text, file = write_report(report, format, tmp_path / "out" / "report")
    text = text or (file if file.is_file() else file / "index.html").read_text("utf-8")
    if format != "json":
        assert "\x1b" not in text
        assert "\u202e" not in text
    text.encode("utf-8")
    if format == "markdown":
        assert "](" not in text
        assert "://" not in text
        assert "<img" not in text
    if format == "csv":
        rows = list(csv.DictReader(io.StringIO(text)))
        assert {row["method"][:3] for row in rows} == {"'=1"}
        assert {row["model"][:3] for row in rows} == {"'=1"}
    if format == "json":
        assert json.loads(text)["sections"][0]["scores"][0]["method"].startswith(EVIL)


def test_the_terminal_obeys_no_name(runs, capsys, tmp_path):
    from radl_bench.cli.ls import show as show_list

    show(build_report(runs))
    show_list("Runs", ("run",), [(EVIL,)])
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert r"\x1b" in shown


def test_compare_obeys_no_name(runs, monkeypatch):
    for words in ([], ["--format", "markdown"]):
        done = CliRunner().invoke(build_app(), ["compare", *map(str, runs), *words])
        assert done.exit_code == 0
        assert "\x1b" not in done.output
        assert "](" not in done.output or not words


def test_an_error_is_shown_line_by_line_without_its_tricks(monkeypatch, capsys):
    monkeypatch.setattr("radl_bench.cli.build_app", lambda: _raise)
    with pytest.raises(SystemExit):
        main()
    assert capsys.readouterr().err == "BadInput: first \\x1b[2J\n  second \\ud800\n"


def _raise(**_):
    raise BadInput("first \x1b[2J\n  second \ud800")
