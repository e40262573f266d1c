"""What every judge's answer has to be, whoever made the judge; the one place where answers are held against it.

An answer that breaks the contract ends the scoring: read as it stands it would give a number that means nothing.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from radl_bench.errors import RadlBenchError
from radl_bench.packages import cannot_import
from radl_bench.registry import describe_error

if TYPE_CHECKING:
    from radl_bench.judges.contracts import Judge
    from radl_bench.types import Detection

REACH = 0.5
"""How far over the edge of an image, in sides, a box may reach: no box of GroundingDINO reaches farther."""

INSTEAD = "Or score what was found elsewhere: --detections FILE --segmenter box --encoder none."
"""What needs no package of a judge."""

UNIT = 1e-2
"""How far the length of an encoder's vector may be from 1; half precision stays under a tenth of it."""


class BadAnswer(RadlBenchError):
    """A judge gave an answer that is none."""


class Found(NamedTuple):
    """A detection that was checked."""

    category: str
    box: tuple[float, float, float, float]
    score: float


@contextlib.contextmanager
def asking(judge: Judge) -> Iterator[None]:
    """Turn whatever a judge raises into a `BadAnswer` that names it; errors of our own and missing packages pass."""
    try:
        yield
    except RadlBenchError:
        raise
    except ImportError as error:
        raise cannot_import(error, f"The judge '{judge.signature}'", INSTEAD) from error
    except Exception as error:
        raise BadAnswer(f"The judge '{judge.signature}' failed: {describe_error(error)}.") from error


def check_count(judge: Judge, got: int, wanted: int, what: str = "results", of: str = "images") -> None:
    """Raise `BadAnswer` where a judge did not answer once for each thing it was asked about."""
    if got != wanted:
        raise _bad(judge, f"gave {got} {what} for {wanted} {of}", "return one each, in the order asked")


def check_detections(
    judge: Judge, answer: Sequence[Sequence[Detection]], queries: Sequence[Sequence[str]]
) -> list[list[Found]]:
    """Return the detections of each image; raises `BadAnswer` for boxes and scores that are none."""
    check_count(judge, len(answer), len(queries))
    return [[_found(judge, d, asked) for d in seen] for seen, asked in zip(answer, queries, strict=True)]


def _found(judge: Judge, detection: Detection, asked: Sequence[str]) -> Found:
    name, box, score = detection.category, [float(v) for v in detection.box], float(detection.score)
    problem = problem_of_box(box) or problem_of_score(score) or _problem_of_name(name, asked)
    if problem:
        raise _bad(judge, *problem)
    return Found(name, (box[0], box[1], box[2], box[3]), score)


def problem_of_box(box: Sequence[float]) -> tuple[str, str] | None:
    """Return what is wrong with a box and what to do about it, or None for xyxy in fractions of the image's sides."""
    shown = f"gave the box [{', '.join(f'{v:g}' for v in box)}]"
    if len(box) != 4:
        return f"{shown}, which has {len(box)} numbers", "a box is (x0, y0, x1, y1)"
    if not all(map(math.isfinite, box)):
        return f"{shown}, which is not finite", "leave such boxes out"
    if box[0] > box[2] or box[1] > box[3]:
        return f"{shown}, whose corners are in the wrong order", "a box is (x0, y0, x1, y1), with x0 <= x1 and y0 <= y1"
    if min(box) < -REACH or max(box) > 1 + REACH:
        return f"{shown}, which lies outside of the image", "boxes are fractions of the image's sides: divide pixels"
    return None


def problem_of_score(score: float) -> tuple[str, str] | None:
    """Return what is wrong with a detection's score and what to do about it, or None for a number from 0 to 1."""
    if 0.0 <= score <= 1.0:  # false for NaN
        return None
    return f"gave the score {score:g}", "a score is a number from 0 to 1: bring logits or per cent there"


def _problem_of_name(name: str, asked: Sequence[str]) -> tuple[str, str] | None:
    # other classes than those asked may be among the answers; one that differs in its spelling would be lost
    if name in asked:
        return None
    near = [query for query in asked if " ".join(query.lower().split()) == " ".join(str(name).lower().split())]
    return (f"gave the category '{name}', asked for '{near[0]}'", "spell it as it was asked") if near else None


def check_masks(judge: Judge, answer: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Return bool [N, H, W]; raises `BadAnswer` for another shape, or values that are neither 0 nor 1."""
    masks = np.asarray(answer)
    if masks.shape != shape:
        given, wanted = (list(map(int, s)) for s in (masks.shape, shape))
        raise _bad(judge, f"gave masks of the shape {given}", f"return one mask a box, {wanted} here")
    if masks.dtype == bool:
        return masks
    strange = masks[(masks != 0) & (masks != 1)]
    if strange.size:
        raise _bad(judge, f"gave the value {strange.flat[0]:g} in a mask", "a mask is True or False at each pixel")
    return masks.astype(bool)


def check_vectors(judge: Judge, answer: np.ndarray, count: int, unit: bool = False, what: str = "images") -> np.ndarray:
    """Return float64 [count, D]; raises `BadAnswer` where a number is not finite, or a length is not 1 with `unit`."""
    try:
        vectors = np.asarray(answer, np.float64)
    except (TypeError, ValueError) as error:
        raise _bad(
            judge, f"gave vectors that are not an array ({error})", f"return one row each for {count} {what}"
        ) from None
    check_count(judge, len(vectors) if vectors.ndim else 0, count, of=what)
    if vectors.ndim != 2 or vectors.shape[1] == 0:
        raise _bad(judge, f"gave vectors of the shape {list(vectors.shape)}", "return an array [N, D]")
    if not np.isfinite(vectors).all():
        value = vectors[~np.isfinite(vectors)][0]
        raise _bad(judge, f"gave the number {value:g} in a vector", "check its weights and precision")
    lengths = np.linalg.norm(vectors, axis=1)
    if unit and count and np.abs(lengths - 1).max() > UNIT:
        worst = lengths[np.abs(lengths - 1).argmax()]
        raise _bad(judge, f"gave a vector of length {worst:.4g}", "divide each vector by its length")
    return vectors


def check_same_space(judge: Judge, images: np.ndarray, texts: np.ndarray) -> None:
    """Raise `BadAnswer` where an encoder's images and texts have different numbers of dimensions."""
    if images.shape[1] != texts.shape[1]:
        what = f"gave {images.shape[1]} numbers for an image and {texts.shape[1]} for a text"
        raise _bad(judge, what, "both must be of one space")


def check_answers(judge: Judge, answer: Sequence[Sequence[str]], questions: Sequence[Sequence[str]]) -> list[list[str]]:
    """Return the answers of each image, one a question; raises `BadAnswer` for others."""
    check_count(judge, len(answer), len(questions))
    for given, asked in zip(answer, questions, strict=True):
        check_count(judge, len(given), len(asked), "answers", "questions")
        strange = next((text for text in given if not isinstance(text, str)), None)
        if strange is not None:
            raise _bad(judge, f"gave the answer {strange!r}", "an answer is a text")
    return [list(given) for given in answer]


def _bad(judge: Judge, what: str, remedy: str) -> BadAnswer:
    return BadAnswer(f"The judge '{judge.signature}' {what}; {remedy}.")
