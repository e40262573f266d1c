"""The relation extractors: rules, and spaCy where it is installed."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from radl_bench.errors import MissingExtra, UsageError
from radl_model.verbs import spacy_reader
from radl_model.verbs.extract import extract_verbs

# 120 prompts of our own, 40 like DrawBench's and 80 like COCO's captions, annotated by hand: verbs that say what things
# do or how they are placed, with the run of particles, adverbs and prepositions after each; where there is none, the
# spatial prepositions. Modifiers ("a parked car") and halves of nouns ("cutting board") do not count.
GOLDEN_FILE = [json.loads(line) for line in (Path(__file__).parents[1] / "golden" / "verbs.jsonl").open()]
FLOOR = {"verb": (0.97, 0.94), "verb_phrase": (0.97, 0.94)}

GOLDEN = {
    "a photo of a red car and a blue dog": "",
    "a photo of a brown dining table and a white parking meter and a yellow teddy bear": "",
    "a photo of a blue baseball glove and a red tie and a black remote": "",
    "a kitchen with a sink and a wooden cutting board": "",
    "two running dogs": "",
    "a dog leaning against a red car": "leaning against",
    "there is a blue cat facing a black dog": "facing",
    "a cat looking at a hot dog": "looking at",
    "a cat sitting on top of a parking meter and a dog chasing it": "sitting on top of, chasing",
    "A man is riding a horse, holding a flag": "riding, holding",
    "a bird flies over the sea while a boat sails past a tower": "flies over, sails past",
    "A small airplane parked on a runway": "parked on",
    "Some people standing in a field and watching kites": "standing in, watching",
    "A horse riding an astronaut.": "riding",
    "a dog chasing a cat and a bird chasing a dog": "chasing",
    "a red car left of a green bus": "left of",
    "A carrot on the left of a broccoli.": "left of",
    "A zebra to the right of a fire hydrant": "right of",
    "A wine glass on top of a dog.": "on top of",
    "A tennis racket underneath a traffic light.": "underneath",
    "a stop sign next to a skis": "next to",
    "A cup in front of a vase on a table": "in front of, on",
    "": "",
}


@pytest.mark.parametrize("prompt", GOLDEN)
def test_golden_prompts(prompt):
    assert extract_verbs(prompt) == GOLDEN[prompt]


def test_modes_differ_as_they_say():
    prompt = "a cat sits on a bench next to a dog leaning against a car"
    assert extract_verbs(prompt, "verb_phrase") == "sits on, leaning against"
    assert extract_verbs(prompt, "verb") == "sits, leaning"
    assert extract_verbs(prompt, "release_ing") == "sitsing leaning"
    assert extract_verbs("a cup left of a vase", "verb_phrase") == ""
    assert extract_verbs("a cup left of a vase") == "left of"


def test_an_unknown_mode_or_extractor_is_a_sentence():
    with pytest.raises(UsageError, match="Known: verb_phrase_or_prep"):
        extract_verbs("a cat", "nouns")
    with pytest.raises(UsageError, match="extractor 'space'"):
        extract_verbs("a cat", extractor="space")


def quality(extractor, mode):
    """Precision and recall of the texts, prompt by prompt, summed over the golden file."""
    hits = found = there = 0
    for row in GOLDEN_FILE:
        want = set(row["verbs" if mode == "verb" else "phrases"])
        got = set(filter(None, extract_verbs(row["prompt"], mode, extractor).split(", ")))
        hits, found, there = hits + len(want & got), found + len(got), there + len(want)
    return hits / found, hits / there


def with_spacy():
    try:
        spacy_reader.tagger()
    except MissingExtra as error:
        pytest.skip(str(error))


def test_the_golden_file_is_what_it_says():
    assert len(GOLDEN_FILE) == len({row["prompt"] for row in GOLDEN_FILE}) == 120
    assert sum(row["kind"] == "drawbench" for row in GOLDEN_FILE) == 40
    for row in GOLDEN_FILE:
        assert row["verbs"] == [phrase.split()[0] for phrase in row["phrases"]]


@pytest.mark.parametrize("extractor", ["rules", "spacy"])
def test_precision_and_recall(extractor, capsys):
    if extractor == "spacy":
        with_spacy()
    figures = {mode: quality(extractor, mode) for mode in FLOOR}
    with capsys.disabled():
        for mode, (precision, recall) in figures.items():
            print(f"\n{extractor} {mode}: precision {precision:.3f}, recall {recall:.3f}", end="")
    if extractor == "rules":
        for mode, floor in FLOOR.items():
            assert all(value >= least for value, least in zip(figures[mode], floor, strict=True))


def test_the_relation_text_of_the_golden_prompts():
    wrong = [
        row for row in GOLDEN_FILE if extract_verbs(row["prompt"]) != ", ".join(row["phrases"] or row["prepositions"])
    ]
    assert len(wrong) <= 5


def test_spacy_reads_the_same_modes():
    with_spacy()
    prompt = "A man is riding a horse next to a parked car"
    assert extract_verbs(prompt, "verb", "spacy") == "riding"
    assert extract_verbs(prompt, "release_ing", "spacy") == "riding parkeding"
    assert extract_verbs("a cat sitting on top of a car", "verb_phrase", "spacy") == "sitting on top of"
    assert extract_verbs("a cup left of a vase", "verb_phrase_or_prep", "spacy") == "left of"


def test_without_spacy_or_its_model_there_is_a_sentence(monkeypatch):
    spacy_reader.tagger.cache_clear()
    monkeypatch.setitem(sys.modules, "spacy", None)
    with pytest.raises(MissingExtra, match="pip install 'radl-bench\\[verbs\\]'"):
        extract_verbs("a cat", extractor="spacy")
    monkeypatch.undo()
    spacy = pytest.importorskip("spacy")
    monkeypatch.setattr(spacy.util, "get_installed_models", list)
    with pytest.raises(MissingExtra, match="spacy download en_core_web_sm"):
        extract_verbs("a cat", extractor="spacy")
