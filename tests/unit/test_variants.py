"""The named variants and every single reading: settings, steps, texts, and a run of each on a tiny pipeline."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from tiny import tiny_pipeline, tiny_unet, wake

from radl_bench.errors import UsageError
from radl_model.adapters.adapter import FusionAdapter, layer_names
from radl_model.adapters.wording import relation_texts, release_prompt, repeat_phrases, slot_generators
from radl_model.layers.config import FusionConfig
from radl_model.layers.context import build_context
from radl_model.layers.variants import MIGC, RELEASE, VARIANTS, variant
from radl_model.pipelines.pipeline import RaDLPipeline

SMALL = {"position_hidden": 16}
PROMPT = "a red car leaning against a blue dog"
PHRASES = ["a red car", "a blue dog"]
BOXES = [[0.1, 0.2, 0.55, 0.9], [0.3, 0.1, 0.55, 0.6]]  # both end in the middle of a cell of the 8 x 8 grid


@pytest.fixture(scope="module")
def pipe():
    return tiny_pipeline(cls=RaDLPipeline)


def dressed(pipe, config):
    if pipe.adapter is not None:
        pipe.adapter.detach(pipe.unet)
    adapter = FusionAdapter.from_unet(pipe.unet, config)
    wake(adapter)
    pipe.register_modules(adapter=adapter)
    return pipe


def run(pipe, steps=2, **changes):
    call = {"prompt": PROMPT, "phrases": PHRASES, "boxes": BOXES, "generator": torch.Generator().manual_seed(7)}
    return pipe(**{**call, **changes}, num_inference_steps=steps, output_type="latent").images


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_runs_in_under_a_second(name, pipe):
    dressed(pipe, variant(name, **SMALL))
    run(pipe)  # the first call of a process pays for loading
    begin = time.process_time()
    first = run(pipe)
    assert time.process_time() - begin < 1
    assert torch.equal(first, run(pipe))
    off = run(pipe, phrases=None, boxes=None)
    assert (first - off).abs().max() > 1e-3


READINGS = [
    ("paper", {"shading": "trained"}),
    ("paper", {"enhancement": "tokens"}),
    ("paper", {"enhancement": "none"}),
    ("paper", {"context": "token"}),
    ("paper", {"context": "channel_pooled"}),
    ("paper", {"box_order": "xxyy"}),
    ("paper", {"instance_query": "input"}),
    ("paper", {"query_norm": "separate"}),
    ("paper", {"query_norm": "none"}),
    ("paper", {"verb_texts": "separate"}),
    ("paper", {"verb_bos": False}),
    ("paper", {"verb_mode": "verb"}),
    ("paper", {"total_mask": "sum"}),
    ("paper", {"relation_scope": "pair"}),
    ("paper", {"relation_mask": "ones"}),
    ("paper", {"layout_attention": False}),
    ("paper", {"fusion": "conv"}),
    ("paper", {"fusion": "mean"}),
    ("paper", {"fusion": "sum"}),
    ("paper", {"placement": "mid"}),
    ("paper", {"placement": "all"}),
    ("paper", {"mask_mode": "area"}),
    ("paper", {"mask_prior": False}),
    ("paper", {"active_fraction": 1.0}),
    ("paper", {"gate": "through"}),
    ("migc", {"sac_perm": "rank"}),
    ("migc", {"refine_fraction": 0.5}),
    ("release", {"layout_slot": "fixed"}),
    ("release", {"context": "channel_tokens"}),
]


@pytest.mark.parametrize(("name", "change"), READINGS, ids=lambda v: "" if isinstance(v, str) else str(v))
def test_every_reading_is_another_layer(name, change, pipe):
    """Weights that both readings have are the same, so a difference is the reading's."""
    prompt = {"prompt": "a red car leaning on and jumping over a blue dog", "related": [0]}
    plain = dressed(pipe, variant(name, **SMALL)).adapter.state_dict()
    before = run(pipe, steps=4, **prompt)
    adapter = dressed(pipe, variant(name, **{**SMALL, **change})).adapter
    same = {k: v for k, v in plain.items() if k in adapter.state_dict() and v.shape == adapter.state_dict()[k].shape}
    adapter.load_state_dict(same, strict=False)
    after = run(pipe, steps=4, **prompt)
    assert torch.isfinite(after).all()
    assert (before - after).abs().max() > 1e-5


def test_no_verb_is_dropped_or_encoded_empty_or_as_the_prompt(pipe):
    """A7: dropping is exactly the layer without the phase's share; the other two give it something to say."""
    made = {}
    for choice in ("drop", "empty", "prompt"):
        dressed(pipe, variant("paper", no_verb=choice, **SMALL))
        made[choice] = run(pipe, prompt="a red car, a blue dog")
        if choice == "drop":
            assert torch.equal(made[choice], run(pipe, prompt="a red car, a blue dog", verbs=""))
    assert (made["drop"] - made["empty"]).abs().max() > 1e-4
    assert (made["empty"] - made["prompt"]).abs().max() > 1e-5


def test_steps_of_the_papers():
    """A12: MIGC's public gate lets index 25 of 50 through; RaDL has 30 of 60, its released code 31."""
    assert variant("migc").active_steps(50) == 26
    assert variant("paper").active_steps(60) == 30
    assert variant("release").active_steps(60) == 31
    assert variant("migc").active_steps(50, 0) == 0
    assert variant("migc").active_steps(50, 1) == 50
    assert variant("paper").active_steps(10, 0.7) == 7
    # rounding errors on either side of a whole number do not move the gate
    assert 0.07 * 100 > 7
    assert variant("paper").active_steps(100, 0.07) == 7
    assert 0.57 * 100 < 57
    assert variant("migc").active_steps(100, 0.57) == 58
    assert variant("migc++").refine_steps(50) == 50


def test_slots_of_the_papers():
    assert [VARIANTS[n].max_instances for n in ("paper", "migc", "migc++", "release")] == [27, 28, 29, 27]
    assert [VARIANTS[n].permuted_slots for n in ("paper", "migc", "migc++", "release")] == [27, 28, 29, 28]


def test_layers_by_placement():
    unet = tiny_unet()
    assert layer_names(unet, "mid") == layer_names(unet)[:1]
    every = layer_names(unet, "all")
    assert set(layer_names(unet)) < set(every)
    assert len(every) == 4


def test_unknown_variants_and_settings_are_sentences():
    with pytest.raises(UsageError, match="Did you mean 'release'"):
        variant("released")
    with pytest.raises(UsageError, match="Unknown layer setting 'heads'"):
        variant("paper", heads=3)
    with pytest.raises(UsageError, match="no relation phase"):
        FusionConfig(fusion="refined")
    with pytest.raises(UsageError, match="refine_fraction=2"):
        FusionConfig(refine_fraction=2)


def test_phrases_as_migcs_benchmark_script_words_them():
    assert repeat_phrases(["a cat", "a dog"]) == ["a cat, and a cat", "a dog, and a dog"]
    assert repeat_phrases(["a cat"]) == ["a cat"]
    assert repeat_phrases(["x"] * 9)[0].count("x") == 7
    assert repeat_phrases(["a cat", "a dog"], ["sitting", ""])[0] == "a cat sitting, and a cat sitting"
    assert release_prompt(["a cat", "a dog"], ["sitting", ""]) == "a high quality image of a cat sitting, and a dog"


def test_relation_texts():
    paper = variant("paper")
    assert relation_texts("p", "leaning against, facing", paper) == ["leaning against, facing"]
    assert relation_texts("p", "", paper) == []
    separate = variant("paper", verb_texts="separate")
    assert relation_texts("p", "leaning against, facing", separate) == ["leaning against", "facing"]
    assert relation_texts("p", "a b", variant("release", verb_texts="separate")) == ["a", "b"]
    assert relation_texts("p", "", RELEASE) == [""]
    assert relation_texts("p", "", variant("paper", no_verb="prompt")) == ["p"]
    assert relation_texts("p", "sitting", MIGC) == []


def test_slots_are_drawn_from_the_images_own_seed(pipe):
    """An image's permutations are those of a batch of one, whatever else is in the batch."""
    dressed(pipe, variant("migc", **SMALL))
    two = run(
        pipe,
        prompt=[PROMPT, "a cat"],
        phrases=[PHRASES, ["a cat"]],
        boxes=[BOXES, BOXES[:1]],
        generator=[torch.Generator().manual_seed(s) for s in (7, 8)],
    )
    assert (two[:1] - run(pipe)).abs().max() < 1e-4
    given = [torch.Generator().manual_seed(s) for s in (7, 8)]
    assert [g.initial_seed() for g in slot_generators(MIGC, given, 2)] == [7, 8]
    assert [g.initial_seed() for g in slot_generators(MIGC, given[0], 2)] == [7, 8]
    assert slot_generators(variant("paper"), given, 2) is None


def test_a_rank_at_its_drawn_place():
    """Place j of the gate gets rank drawn[j], as in `logits[perm]`."""
    context = build_context(
        torch.zeros(1, 2, 3, 8), torch.zeros(1, 2, 8), torch.tensor([BOXES]), torch.ones(1, 2), (4, 4),
        rngs=[torch.Generator().manual_seed(3)],
    )  # fmt: skip
    drawn = torch.randperm(28, generator=torch.Generator().manual_seed(3))
    order = context.draw_order(28)[0]
    assert all(drawn[order[rank]] == rank for rank in range(28))
    assert not torch.equal(context.draw_order(28)[0], order)


def test_masks_of_the_relation():
    """A8 and A9: where two boxes share half a cell the reduced masks add up to more than their union."""
    boxes = torch.tensor([[[0.0, 0.0, 0.6, 1.0], [0.55, 0.0, 1.0, 1.0]]])
    context = build_context(
        torch.zeros(1, 2, 3, 8), torch.zeros(1, 2, 8), boxes, torch.ones(1, 2), (16, 16), mask_mode="migc",
        related=torch.tensor([[True, False]]),
    )  # fmt: skip
    union, summed, pair = (
        context.relation_mask(64, variant("paper", **c))
        for c in ({}, {"total_mask": "sum"}, {"relation_scope": "pair"})
    )
    masks = context.masks(64)
    assert torch.equal(union, masks.union)
    assert torch.allclose(summed[0], masks.instance.sum(0).clamp(max=1))
    assert torch.equal(pair[0], masks.instance_cover[0])
    assert np.isclose(float(union.max()), 1)


def test_the_naive_fuser_by_hand():
    from radl_model.layers.fusion_variants import naive_fusion

    context = build_context(
        torch.zeros(1, 1, 3, 8), torch.zeros(1, 1, 8), torch.tensor([[[0.0, 0.0, 0.5, 1.0]]]), torch.ones(1, 1), (4, 4),
        mask_mode="area",
    )  # fmt: skip
    plain, mask = torch.full((1, 16, 1), 2.0), context.masks(16).instance[..., None]
    out = naive_fusion(plain, 5 * mask.flatten(0, 1)[context.inside(16)], context).view(4, 4)
    assert torch.allclose(out[:, :2], torch.tensor((2 + 10 * 5) / (11 + 1e-6)))
    assert torch.allclose(out[:, 2:], torch.tensor(2.0))
