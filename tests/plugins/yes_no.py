"""A worked example: a kind of judge that answers questions about an image, a judge of that kind, and a metric.

Nothing of the package knows this file: `registry.MEASUREMENTS` gets one line for it, or an entry point.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np

from radl_bench.judges.checks import asking, check_answers
from radl_bench.judges.contracts import Answerer, Role
from radl_bench.judges.kinds import Desk, Kind, Seen, Store, batches
from radl_bench.runs.images import Picture
from radl_bench.scoring.metrics import WHOLE_IMAGE, Metric, Row, View
from radl_bench.scoring.metrics.spec import ScoreSpec
from radl_bench.scoring.protocol import Protocol
from radl_bench.types import Sample

ANSWERER = Role("answerer", "answerers", ("answer",))


def questions(sample: Sample) -> list[str]:
    """What is asked of an image: one question an instance."""
    return [f"Is there {instance.phrase}?" for instance in sample.instances]


class Answers(Kind[Answerer]):
    """Field `answers` of `View.more`: one text an instance."""

    key, role = "answers", ANSWERER
    store = Store("answers", ("image", "question"), {"answer": "text"})

    def measure(self, pictures: Sequence[Picture], seen: Sequence[Seen], desk: Desk[Answerer]) -> None:
        """See `Kind.measure`."""
        judge = desk.asked
        todo = [p for p in pictures if not all((p.sha256, q) in desk.table for q in questions(p.sample))]
        for batch in batches((p for p in todo if p.load() is not None), desk.batch_size):
            asked = [questions(p.sample) for p in batch]
            with asking(judge):
                images = [image for p in batch if (image := p.load()) is not None]
                answers = check_answers(judge, judge.answer(images, asked), asked)
            for picture, lines, texts in zip(batch, asked, answers, strict=True):
                for question, text in zip(lines, texts, strict=True):
                    desk.table.add((picture.sha256, question), (text,))

    def read(self, picture: Picture, seen: Seen, desk: Desk[Answerer]) -> Seen:
        """See `Kind.read`."""
        return {"answers": [desk.table[picture.sha256, question][0] for question in questions(picture.sample)]}


ANSWERS = Answers()


class RedOrNot:
    """Says "yes" where it is asked for something red and a pixel of the image is."""

    signature = "red-or-not@1"
    asked = 0

    def answer(self, images, questions):
        """See `Answerer`."""
        RedOrNot.asked += sum(map(len, questions))
        return [
            ["yes" if " red " in q and self._red(image) else "no" for q in asked]
            for image, asked in zip(images, questions, strict=True)
        ]

    def _red(self, image) -> bool:
        pixels = np.asarray(image).astype(int)
        return bool(((pixels[..., 0] > 150) & (pixels[..., 1:].max(axis=2) < 100)).any())


class Mute(RedOrNot):
    """Gives one answer too few."""

    signature = "mute@1"

    def answer(self, images, questions):
        """See `Answerer`."""
        return [lines[1:] for lines in super().answer(images, questions)]


def rows(view: View, protocol: Protocol) -> list[Row]:
    """A row for the image: per cent of the questions that were answered with yes."""
    if view.problem is not None:
        return [Row(WHOLE_IMAGE, "answered_yes", float("nan"), f"no image: {view.problem}")]
    answers = cast("list[str]", view.more["answers"])
    return [Row(WHOLE_IMAGE, "answered_yes", 100.0 * answers.count("yes") / len(answers), " ".join(answers))]


METRIC = Metric(
    name="answers",
    scores=(
        ScoreSpec(
            "answered_yes", "Answered yes", kind="mean", unit="image", missing=0.0, place=90, settings=("answers",)
        ),
    ),
    requires=frozenset({"answers"}),
    rows=rows,
)
