"""Names, plug-ins and files of the user's own."""

from __future__ import annotations

import importlib.util
from importlib import metadata

import pytest

from radl_bench.errors import MissingExtra, UsageError
from radl_bench.registry import KINDS, known, resolve


def test_a_builtin_name_is_loaded():
    from radl_bench.generators.sprites import SpritesGenerator

    assert resolve("generators", "sprites") is SpritesGenerator


@pytest.mark.parametrize("spec", sorted({spec for table in KINDS.values() for spec in table.values()}))
def test_every_builtin_name_leads_to_a_module(spec):
    assert importlib.util.find_spec(spec.partition(":")[0]) is not None


@pytest.mark.parametrize(
    ("kind", "name", "words"),
    [
        ("generators", "radel", "Unknown method 'radel'. Did you mean 'radl'?"),
        ("detectors", "minni", "Unknown detector 'minni'. Did you mean 'mini'?"),
        ("report_formats", "markdwon", "Did you mean 'markdown'"),
        ("generators", "toy.py", "path/to/file.py:Class"),
        ("generators", "nowhere/toy.py:Toy", "There is no file"),
    ],
)
def test_an_unknown_name_is_a_sentence(kind, name, words):
    with pytest.raises(UsageError) as caught:
        resolve(kind, name)
    assert words in str(caught.value)


def test_a_class_of_a_file_is_loaded_with_its_neighbours(tmp_path):
    (tmp_path / "neighbour_of_mine.py").write_text("NAME = 'x'\n")
    file = tmp_path / "mine.py"
    file.write_text(
        "from dataclasses import dataclass\nfrom neighbour_of_mine import NAME\n"
        "@dataclass\nclass Mine:\n    name: str = NAME\n"
    )
    assert resolve("generators", f"{file}:Mine")().name == "x"


def test_a_wrong_class_in_a_file_is_a_sentence(toy_method):
    with pytest.raises(UsageError, match="Did you mean 'Toy'"):
        resolve("generators", toy_method + "s")


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("x = 1/0", r"ZeroDivisionError: division by zero \(bad\.py, line 1\)"),
        ("def", "SyntaxError"),
        ("from json import nothing", "ImportError"),
        ("raise SystemExit(4)", "SystemExit"),
    ],
)
def test_a_file_that_cannot_be_imported_is_a_sentence(tmp_path, code, words):
    file = tmp_path / "bad.py"
    file.write_text(code)
    with pytest.raises(UsageError, match=words):
        resolve("generators", f"{file}:X")


def test_a_file_that_needs_a_package_says_which(tmp_path):
    file = tmp_path / "bad.py"
    file.write_text("import no_such_package_at_all")
    with pytest.raises(MissingExtra, match=r"bad\.py needs the package no_such_package_at_all, which is not installed"):
        resolve("generators", f"{file}:X")


def test_an_entry_point_adds_a_name_and_cannot_replace_a_builtin(monkeypatch):
    points = [
        metadata.EntryPoint("mine", "collections:OrderedDict", "radl_bench.generators"),
        metadata.EntryPoint("radl", "collections:Counter", "radl_bench.generators"),
        metadata.EntryPoint("lacking", "no_such_package_at_all.x:Y", "radl_bench.generators"),
    ]
    monkeypatch.setattr(metadata, "entry_points", lambda group: points if group == "radl_bench.generators" else [])
    assert known("generators")["radl"].startswith("radl_bench.")
    assert resolve("generators", "mine").__name__ == "OrderedDict"
    with pytest.raises(MissingExtra, match="pip install no_such_package_at_all"):
        resolve("generators", "lacking")
