"""Reader of the public DrawBench: the prompts of `imagen.csv` and boxes for them in a YAML file.

The CSV has the columns `Prompt` and `Category`; of its 200 prompts the 64 of Colors, Counting and Positional have
clauses that a machine can check. The YAML maps such a prompt, without its full stop, to names with boxes:

    A black colored banana:
      Black Banana:
      - [0.4, 0.1, 0.6, 0.9]

Phrases stay as the YAML has them; classes are read from them without article, number, colour and plural. Numbers in
words ("Two cats and one dog sitting on the grass.") and relations are read from the prompt.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from radl_bench.benchmarks.importers import write_benchmark
from radl_bench.benchmarks.importers.drawbench_prompts import KINDS, prompt_key, read_prompts
from radl_bench.benchmarks.importers.public_files import leave_out, load_yaml, quoted, read_box
from radl_bench.errors import BadInput, MissingData, UsageError
from radl_bench.files import file_sha256
from radl_bench.parsing import is_file, shown
from radl_bench.types import COLORS, Instance, Relation, Sample
from radl_model.home import data_home
from radl_model.plurals import singular

METRICS: dict[str, dict[str, Any]] = {
    "attribute": {"score": 0.25, "nms": 0.5, "coverage": 0.2},
    "quantity": {"count": 0.35, "nms": 0.5},
    "relation": {"score": 0.25, "nms": 0.5, "margin": 0.05, "gap": 0.2},
}
"""NMS at .5, not COCO-MIG's .8: two boxes of one thing that overlap by .7 would be counted as two things."""

FIELDS = {
    "name": "drawbench-public",
    "version": "1",
    "license": "not stated (prompts by the authors of Imagen; boxes by the authors of the layout file)",
    "citation": "Saharia et al., Photorealistic Text-to-Image Diffusion Models with Deep Language Understanding, "
    "NeurIPS 2022",
    "images_per_sample": 8,
    "resolution": 512,
    "phrases": "free",  # names stay as the file has them: "Black Banana", "a toliet"
}

_NUMBERS = {"a": 1, "an": 1, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8}
_OTHER_COLORS = (
    *("pink", "orange", "purple", "grey", "gray", "silver", "gold", "turquoise", "cyan", "magenta", "beige", "maroon"),
    *("teal", "violet", "tan"),
)
_COLOR_WORDS = frozenset((*COLORS, *_OTHER_COLORS))
_OF_ORANGES = "slices?|juice|peel|trees?|wedges?|segments?|hal(?:f|ves)|zest|blossoms?|groves?|soda"
_COLOR = (
    rf"(?:(?:dark|light|bright|pale|deep) )?(?:orange(?! (?:{_OF_ORANGES})\b)|"
    rf"(?:{'|'.join(sorted(_COLOR_WORDS - {'orange'}))})\b)(?: colou?red\b)?"
)
_COLORS_OF_NAME = re.compile(rf"{_COLOR}(?:(?: and)? {_COLOR})* (?=\S)")
"""The colours that a name begins with, and never all of it: an orange is a thing."""

_MISSPELT = {"toliet": "toilet"}
_ARTICLE = re.compile(r"^(?:a|an|the)\s+", re.I)
_POSITIONAL = re.compile(
    r"(.+?)\s+((?:on|to) (?:top|the left|the right) of|under(?:neath)?|above|below|next to)\s+(.+)"
)


@dataclass(frozen=True)
class ImportedDrawBench:
    """The benchmark's folder, its samples, and sentences about what was left out or is not checked."""

    folder: Path
    samples: tuple[Sample, ...]
    notes: tuple[str, ...]


def import_drawbench(files: Sequence[Path], home: Path | None = None, skip: bool = False) -> ImportedDrawBench:
    """Keep the public DrawBench as the benchmark `drawbench-public` in the user's data folder.

    Args:
        files: the CSV of prompts and the YAML of boxes, in any order.
        home: the data folder, `data_home()` when not given.
        skip: leave out prompts with a problem; import none where there is one when not given.

    Ids are a prompt's category and place in the CSV, `colors_001` to `positional_134`, as images of it are named.

    Raises:
        UsageError: not one CSV and one YAML.
        MissingData: there is no such file.
        BadInput: a file is not what it should be, or none of its prompts has boxes; the message names every place.
    """
    table, layouts = _by_suffix(files)
    samples, notes = read_drawbench(table, layouts, skip)
    sums = ", ".join(f"{file.name} sha256 {file_sha256(file)}" for file in (table, layouts))
    folder = (home or data_home()) / "benchmarks" / "drawbench_public"
    write_benchmark(folder, samples, FIELDS | {"description": f"Imported from {sums}"}, METRICS)
    return ImportedDrawBench(folder, samples, notes)


def read_drawbench(table: Path, layouts: Path, skip: bool = False) -> tuple[tuple[Sample, ...], tuple[str, ...]]:
    """Return the samples of the three kinds that have boxes, in the order of the CSV, and notes on the others."""
    prompts, problems = read_prompts(table)
    boxes, wrong = _read_layouts(layouts)
    problems += wrong
    samples, bare, unscored = [], [], []
    for sample_id, prompt, kind in prompts:
        named = boxes.get(prompt_key(prompt))
        if named is None:
            bare += [f"'{prompt}'"] if prompt_key(prompt) not in boxes else []
            continue
        try:
            sample = _sample(sample_id, prompt, kind, named, f"{layouts}, prompt {quoted(prompt)}")
        except BadInput as error:
            problems.append(str(error))
            continue
        samples.append(sample)
        if kind == "attribute" and any(i.color is None for i in sample.instances):
            unscored.append(f"'{prompt}'")
    skipped: list[str] | None = [] if skip else None
    leave_out(problems, skipped, len(samples))
    if not samples:
        raise BadInput(f"No prompt of {table} under {', '.join(KINDS)} has boxes in {layouts}. Are they a pair?")
    notes = [f"{len(skipped)} prompts are left out: {' '.join(skipped)}"] if skipped else []
    strange = boxes.keys() - {prompt_key(prompt) for _, prompt, _ in prompts}
    if strange:
        notes.append(f"{len(strange)} prompts of {layouts.name} are none of {table.name} and are left out.")
    if bare:
        notes.append(f"{len(bare)} prompts have no boxes in {layouts.name} and are left out: {', '.join(bare)}.")
    if unscored:
        notes.append(
            f"{len(unscored)} prompts ask for a colour that is none of {', '.join(COLORS)}, or for several; it is not "
            f"checked: {', '.join(unscored)}."
        )
    return tuple(samples), tuple(notes)


def read_name(name: str) -> tuple[str | None, str]:
    """Return colour and class of a name as the files have it: "Black Banana", "pink colored giraffe", "two cars".

    The colour is one of `COLORS`, or None for another colour, several ("black and white cow") or none; the class is
    lower-case and singular.
    """
    words = _ARTICLE.sub("", " ".join(name.split())).lower().rstrip(".").split()
    if words and words[0] in _NUMBERS:
        words = words[1:]
    text = " ".join(part for word in words for part in _parts(word))
    match = _COLORS_OF_NAME.match(text)
    colors = {color for color in match[0].split() if color in _COLOR_WORDS} if match else set()
    words = [_MISSPELT.get(word, word) for word in text[match.end() if match else 0 :].split()]
    color = next(iter(colors)) if len(colors) == 1 and colors <= set(COLORS) else None
    return color, " ".join([*words[:-1], *map(singular, words[-1:])])


def _parts(word: str) -> list[str]:
    """Return a word, taken apart where it is made of colours: "red-colored", "black-and-white", "red/blue,"."""
    parts = [part for part in re.split(r"[-/,&]", word) if part]
    plain = {*_COLOR_WORDS, "and", "colored", "coloured"}
    return parts if parts and all(part in plain for part in parts) else [word]


def _by_suffix(files: Sequence[Path]) -> tuple[Path, Path]:
    tables = [f for f in files if f.suffix.lower() == ".csv"]
    layouts = [f for f in files if f.suffix.lower() in (".yaml", ".yml")]
    if len(files) != 2 or len(tables) != 1 or len(layouts) != 1:
        raise UsageError("DrawBench is imported from two files: radl-bench data import drawbench imagen.csv boxes.yaml")
    absent = [str(f) for f in files if not is_file(f)]
    if absent:
        raise MissingData(f"There is no file {absent[0]}.")
    return tables[0], layouts[0]


def _read_layouts(file: Path) -> tuple[dict[str, Mapping[Any, Any] | None], list[str]]:
    """Return the boxes by name of each prompt, None where there is a problem, and the problems."""
    entries = load_yaml(file)
    if not isinstance(entries, dict) or not entries:
        raise BadInput(f"{file} is not a layout file: it should map prompts to names with boxes.")
    found: dict[str, Mapping[Any, Any] | None] = {}
    problems = []
    for prompt, named in entries.items():
        key = prompt_key(prompt) if isinstance(prompt, str) else shown(prompt)
        where = f"{file}, prompt {quoted(prompt)}"
        if key in found:
            problems.append(f"{where}: the prompt is given twice.")
        elif not isinstance(prompt, str) or not isinstance(named, dict) or not named:
            problems.append(f"{where}: an entry should be a prompt with a table of names.")
            named = None
        found[key] = None if key in found else named
    return found, problems


def _sample(sample_id: str, prompt: str, kind: str, named: Mapping[Any, Any], where: str) -> Sample:
    instances = [i for name, boxes in named.items() for i in _instances(name, boxes, where)]
    text = f" {prompt.lower()}"
    instances.sort(key=lambda i: text.find(f" {i.category}") % (len(text) + 1))  # what is not found comes last
    relations = (_relation(prompt, instances, where),) if kind == "relation" else ()
    if kind == "quantity":
        _check_counts(prompt, instances, where)
    verbs = re.sub("^(?:on|to) the ", "", relations[0].predicate) if relations else ""
    return Sample(sample_id, prompt, tuple(instances), relations, verbs, (kind,))


def _instances(name: Any, boxes: Any, where: str) -> Iterator[Instance]:
    color, category = read_name(name) if isinstance(name, str) else (None, "")
    if not category:
        raise BadInput(f"{where}: {quoted(name)} names no class.")
    if not isinstance(boxes, list) or not boxes:
        raise BadInput(f"{where}: {quoted(name)} should have a list of boxes.")
    for box in boxes:
        yield Instance(name, category, color, read_box(box, name, where))


def _relation(prompt: str, instances: Sequence[Instance], where: str) -> Relation:
    match = _POSITIONAL.fullmatch(prompt.rstrip(". "))
    if match is None:
        raise BadInput(f"{where}: it states no relation that is known, such as 'A cat on the left of a dog.'")
    ends = [read_name(match[1])[1], read_name(match[3])[1]]
    places = [next((n for n, i in enumerate(instances) if i.category == end), None) for end in ends]
    if places[0] is None or places[1] is None or places[0] == places[1]:
        raise BadInput(f"{where}: it speaks of {ends[0]} and {ends[1]}; its boxes are not of these two.")
    return Relation(places[0], match[2].lower(), places[1])


def _check_counts(prompt: str, instances: Sequence[Instance], where: str) -> None:
    """Compare the numbers in words with the numbers of boxes, since what is counted later are the boxes."""
    words = prompt.lower().rstrip(".").split()
    given: dict[str, int] = {}
    for instance in instances:
        given[instance.category] = given.get(instance.category, 0) + 1
    for category, number in given.items():
        stated = _stated(words, category)
        if stated != number:
            raise BadInput(f"{where}: it has {number} boxes of {category}, but the prompt says {stated or 'none'}.")
    numbers = [word for word in words if word in _NUMBERS and word not in ("a", "an")]
    if len(numbers) > len(given):
        raise BadInput(
            f"{where}: the prompt has the numbers {', '.join(numbers)}, but boxes of {', '.join(given)} only."
        )


def _stated(words: Sequence[str], category: str) -> int | None:
    """Return the number in words before a class, singular or plural, or None where the prompt has neither."""
    size = len(category.split())
    for at, word in enumerate(words):
        named = words[at + 1 : at + 1 + size]
        if word in _NUMBERS and named and " ".join([*named[:-1], singular(named[-1])]) == category:
            return _NUMBERS[word]
    return None
