"""Which tokens of a prompt name an instance."""

from __future__ import annotations

import random
import re

import pytest
from tiny import tokenizer

from radl_bench.benchmarks.loading import load_benchmark
from radl_model.checkpoints.places import PACKAGED
from radl_model.engine import Span, token_spans
from radl_model.errors import UsageError


def words(prompt, span):
    ids = tokenizer()(prompt).input_ids[span.start : span.stop]
    return tokenizer().decode(ids).strip()


def spans(prompt, *phrases, categories=()):
    return token_spans(tokenizer(), prompt, phrases, categories)


def test_positions_count_the_first_special_token():
    assert spans("a photo of a red car and a blue dog", "a red car", "a blue dog") == [Span(4, 7), Span(8, 11)]


def test_equal_phrases_get_one_mention_each():
    """In 224 of the 800 prompts of COCO-MIG a label repeats."""
    assert spans("a red carrot and a red car and a red car", "a red car", "a red car") == [Span(5, 8), Span(9, 12)]
    assert spans("a dog and a dog", "a dog", "a dog", "a dog") == [Span(1, 3), Span(4, 6), None]


def test_only_whole_words_match():
    assert spans("a red carrot", "a red car") == [None]
    assert spans("a scar", "car") == [None]
    assert spans("a car's door, car.", "car", "car") == [Span(2, 3), Span(6, 7)]


def test_longer_phrases_choose_first():
    assert spans("a red car and a car", "a car", "a red car") == [Span(5, 7), Span(1, 4)]
    assert spans("red car", "car", "red car") == [None, Span(1, 3)]


def test_case_and_spacing_do_not_matter():
    assert spans("A  Red\tCar", "a red car") == [Span(1, 4)]
    assert spans("a red car", "A RED  CAR ") == [Span(1, 4)]


def test_the_category_stands_in_and_is_named():
    found = spans("two dogs and the dog", "a brown dog", "a person", categories=("dog", "person"))
    assert found == [Span(5, 6, "category"), None]
    taken = spans("a red car by a wall", "a red car", "a blue car", categories=("car", "car"))
    assert taken == [Span(1, 4), None]


def shared(prompt, *phrases, categories=()):
    return token_spans(tokenizer(), prompt, phrases, categories, plurals=True)


def test_instances_of_equal_text_share_their_plural_on_request():
    phrases, categories = ("a horse",) * 3, ("horse",) * 3
    assert spans("Three horses in a field.", *phrases, categories=categories) == [None] * 3
    found = shared("Three horses in a field.", *phrases, categories=categories)
    assert found == [Span(2, 3, "plural")] * 3
    assert shared("Three horses in a field.", *phrases) == found
    own = shared("two buses and one bus", "a bus", "a bus", "a bus", categories=("bus",) * 3)
    assert own == [Span(5, 6, "category"), Span(2, 3, "plural"), Span(2, 3, "plural")]


def test_a_plural_is_shared_by_one_kind_alone_and_the_whole_phrase_comes_first():
    prompt = "two blue cars, three red cars and two red carrots"
    phrases = ("a red car", "a blue car", "a red car", "a car")
    found = shared(prompt, *phrases, categories=("car",) * 4)
    assert [span and (words(prompt, span), span.by) for span in found] == [
        ("red cars", "plural"), ("blue cars", "plural"), ("red cars", "plural"), None
    ]  # fmt: skip
    assert shared("red, cars", "a red car") == [None]
    assert shared("a glass of wine, glasses", "a wine glass", "", categories=("wine glass", "")) == [None, None]
    kinds = shared("two wine glasses and a pair of scissors", "a wine glass", "scissors")
    assert [words("two wine glasses and a pair of scissors", span) for span in kinds] == ["wine glasses", "scissors"]


def test_no_instance_of_drawbench_lacks_words():
    for sample in load_benchmark("drawbench").samples:
        got = shared(sample.prompt, *(i.phrase for i in sample.instances),
                     categories=[i.category for i in sample.instances])  # fmt: skip
        assert None not in got, sample.prompt


def test_words_of_several_tokens():
    prompt = "a photo of a fire-hydrant, a zxqwv bird and a giraffe's zxqwv bird"
    found = spans(prompt, "a fire-hydrant", "a zxqwv bird", "giraffe")
    assert [words(prompt, span) for span in found] == ["a fire - hydrant", "a zxqwv bird", "giraffe"]
    assert found[1].stop - found[1].start > 3


def test_letters_of_several_bytes():
    prompt = "日本 a Café ☕ a crème brûlée and a dog"
    found = spans(prompt, "a café", "a crème brûlée", "a dog", "☕")
    assert [words(prompt, s) for s in found] == ["a café", "a crème brûlée", "a dog", "☕"]


def test_what_is_cut_off_has_no_tokens():
    prompt = "very " * 74 + "red car and a dog"
    assert spans(prompt, "red car", "a dog") == [None, None]
    assert spans("very " * 73 + "red car and a dog", "red car", "a dog") == [Span(74, 76), None]


def test_a_tokenizer_without_offsets_is_a_clear_error():
    class Slow:
        is_fast = False

    with pytest.raises(UsageError, match="use a fast one"):
        token_spans(Slow(), "a dog", ["a dog"])


def mini_tokenizer():
    from transformers import CLIPTokenizer

    return CLIPTokenizer.from_pretrained(PACKAGED / "mini" / "base" / "tokenizer")


@pytest.mark.parametrize("made", [tokenizer, mini_tokenizer])
@pytest.mark.parametrize("name", ["coco-mig", "drawbench"])
def test_every_phrase_of_the_benchmarks_is_found_where_it_stands(made, name):
    """Against ids: the tokens of a span are those of the phrase by itself, and no token serves two instances."""
    tok = made()
    total = found = 0
    for sample in load_benchmark(name).samples:
        phrases = [instance.phrase for instance in sample.instances]
        got = token_spans(tok, sample.prompt, phrases, [instance.category for instance in sample.instances])
        ids = tok(sample.prompt, truncation=True, max_length=tok.model_max_length).input_ids
        used = [i for span in got if span for i in range(span.start, span.stop)]
        assert len(used) == len(set(used))
        total += len(phrases)
        for phrase, span in zip(phrases, got, strict=True):
            if span is not None and span.by == "phrase":
                assert ids[span.start : span.stop] == tok(phrase).input_ids[1:-1]
                found += 1
    if name == "coco-mig":
        assert found == total > 3000


def test_offsets_hold_on_random_prompts():
    """The characters behind the tokens of a span are the phrase, in prompts of all kinds of words and signs."""
    rng = random.Random(0)
    pieces = [
        "red",
        "Car",
        "don't",
        "fire-hydrant",
        "über",
        "naïve",
        "東京",
        "☕",
        "3.5",
        "x_y",
        "l'été",
        "Ünïcødé",
        "and",
    ]
    marks = [" ", "  ", ", ", ". ", "\t", " - ", "! "]
    for _ in range(400):
        chosen = [rng.choice(pieces) for _ in range(rng.randint(2, 12))]
        prompt = "".join(word + rng.choice(marks) for word in chosen)
        at = rng.randrange(len(chosen))
        (span,) = spans(prompt, chosen[at])
        assert span is not None
        offsets = tokenizer()(prompt, return_offsets_mapping=True).offset_mapping
        text = prompt[offsets[span.start][0] : offsets[span.stop - 1][1]]
        assert re.sub(r"\s+", " ", text).casefold() == chosen[at].casefold()
