"""The rule-based relation extractor."""

from __future__ import annotations

import pytest

from radl_bench.errors import UsageError
from radl_model.verbs import extract_verbs

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


def test_an_unknown_mode_is_a_sentence():
    with pytest.raises(UsageError, match="Known: verb_phrase_or_prep"):
        extract_verbs("a cat", "nouns")
