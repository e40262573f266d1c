"""Articles that are right stay, the example of the README has the judge's colours, and one colour shows nothing."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from radl_bench.judges.color import color_masks, coverage
from radl_bench.judges.segmenters import BoxSegmenter
from radl_bench.judges.templates import sentences, with_articles
from radl_bench.mini.judges.detector import MiniDetector
from radl_bench.mini.scenes import render
from radl_bench.types import COLORS, Instance, Sample

README = Path(__file__).parents[2] / "README.md"
RIGHT = [
    *("an honest man", "a UFO", "an MRI scanner", "an LED lamp", "a NASA crew", "an hour", "an heir", "a unicorn"),
    *("a European bus", "a ewe", "a one-eyed cat", "an umbrella", "an unidentified thing"),
    *("a unique vase", "an herb", "a herb", "an onerous task", "a used car", "a utensil", "an uncle", "a hat", "A UFO"),
]


@pytest.mark.parametrize("phrase", RIGHT)
def test_a_right_article_stays_in_every_sentence(phrase) -> None:
    assert with_articles(phrase) == phrase
    texts = sentences(phrase, "articles")
    article, _, bare = phrase.lower().partition(" ")
    assert any(text.lower() == f"a bad photo of {article} {bare}." for text in texts)
    other = {"a": "an", "an": "a"}[article]
    assert not any(re.search(rf"\b{other} {re.escape(bare)}", text.lower()) for text in texts)


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        *(("a orange", "an orange"), ("an car", "a car"), ("a hour", "an hour"), ("an unicorn", "a unicorn")),
        *(("A elephant and an dog", "An elephant and a dog"), ("a honest man", "an honest man"), ("an user", "a user")),
    ],
)
def test_a_wrong_article_is_repaired(wrong, right) -> None:
    assert with_articles(wrong) == right


def test_the_example_of_the_readme_has_every_colour() -> None:
    (code, *_) = re.findall(r"^```python\n(.*?)^```", README.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    names: dict = {}
    exec(code, names)
    boxes = [(n / 8, 0.25, (n + 1) / 8, 0.75) for n in range(7)]
    things = [Instance(f"a {c} cup", "cup", c, b) for c, b in zip(COLORS, boxes, strict=True)]
    free = Instance("a cup", "cup", None, (0.9, 0.9, 1.0, 1.0))
    (image,) = names["Boxes"]().generate([Sample("s", "p", (*things, free))], [1])
    shares = coverage(np.asarray(image), BoxSegmenter().masks(np.asarray(image), np.array(boxes)))
    assert np.diag(shares) == pytest.approx(1.0)
    assert shares.sum() == pytest.approx(7.0)  # and no colour is another's, too
    assert not color_masks(np.asarray(image))[:, -1, 0].any()  # the ground is none of them


@pytest.mark.parametrize("color", [(0, 0, 0), (255, 255, 255), (128, 128, 128), (220, 20, 20), (1, 0, 2)])
def test_nothing_is_seen_on_an_image_of_one_colour(color) -> None:
    detector = MiniDetector()
    scene = render(Sample("s", "p", (Instance("a red car", "car", "red", (0.1, 0.1, 0.9, 0.9)),)), 0)
    images = [Image.new("RGB", (128, 128), color), Image.fromarray(scene)]
    blank, seen = detector.detect(images, [["car", "bench", "cup"]] * 2)
    assert blank == []
    assert seen
