"""The mini detector and the mini CLIP: their answers on rendered scenes, their contracts, and their training data."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pytest
from PIL import Image

from radl_bench.errors import MissingWeights, UsageError
from radl_bench.mini.atlas import CATEGORIES
from radl_bench.mini.judges import clip as mini_clip
from radl_bench.mini.judges import detector as mini_detector
from radl_bench.mini.layouts import LayoutSampler
from radl_bench.mini.scenes import render, render_visible
from radl_bench.scoring.protocol import Boxes, match_instances, resolve_protocol
from radl_bench.types import Instance, Sample

needs_detector = pytest.mark.skipif(
    not (mini_detector.WEIGHTS / "model.safetensors").is_file(), reason="the weights of the mini detector are not there"
)
needs_clip = pytest.mark.skipif(
    not (mini_clip.WEIGHTS / "model.safetensors").is_file(), reason="the weights of the mini CLIP are not there"
)


def thing(color, category, box):
    return Instance(f"a {color} {category}", category, color, box)


def scene(*things):
    return Sample("t", "a photo of " + " and ".join(i.phrase for i in things), tuple(things))


PAIR = scene(thing("red", "dog", (0.05, 0.2, 0.45, 0.9)), thing("blue", "car", (0.55, 0.3, 0.95, 0.7)))
SWAPPED = scene(thing("blue", "dog", (0.05, 0.2, 0.45, 0.9)), thing("red", "car", (0.55, 0.3, 0.95, 0.7)))


def picture(sample, seed=5):
    return Image.fromarray(render(sample, seed))


@pytest.fixture(scope="module")
def detector():
    return mini_detector.MiniDetector()


@pytest.fixture(scope="module")
def clip():
    return mini_clip.MiniClip()


def test_visible_share_counts_what_later_things_hide():
    sample = scene(thing("red", "bed", (0.0, 0.0, 1.0, 1.0)), thing("blue", "tv", (0.25, 0.25, 0.75, 0.75)))
    image, visible = render_visible(sample, 3)
    assert visible[1] == 1.0
    assert 0.6 < visible[0] < 0.8
    assert np.array_equal(image, render(sample, 3))


@needs_detector
def test_detector_finds_each_thing_in_its_box_and_answers_only_what_is_asked(detector):
    found = detector.detect([picture(PAIR), picture(PAIR)], [["dog", "car"], ["car", "zebra"]])
    rule = resolve_protocol("strict", **detector.thresholds)
    seen = {
        name: Boxes(np.array([d.box for d in found[0] if d.category == name and d.score >= rule.score]), np.zeros(0))
        for name in ("dog", "car")
    }
    assert all(m.iou > 0.7 for m in match_instances(PAIR.instances, seen, rule))
    assert {d.category for d in found[1]} <= {"car", "zebra"}
    assert max((d.score for d in found[1] if d.category == "zebra"), default=0.0) < rule.score


@needs_detector
def test_detector_reads_the_shape_and_not_the_colour(detector):
    for color in ("red", "black", "white", "green"):
        sample = scene(thing(color, "elephant", (0.2, 0.2, 0.8, 0.8)))
        best = max(detector.detect([picture(sample)], [["elephant"]])[0], key=lambda d: d.score)
        assert best.score > detector.thresholds["score"]
        assert np.abs(np.subtract(best.box, (0.2, 0.2, 0.8, 0.8))).max() < 0.08


@needs_detector
def test_detector_sees_no_thing_on_an_empty_background(detector):
    found = detector.detect([Image.new("RGB", (128, 128), (120, 120, 125))], [CATEGORIES])[0]
    assert max((d.score for d in found), default=0.0) < detector.thresholds["score"]


@needs_detector
def test_detector_contract(detector):
    single = detector.detect([picture(PAIR)], [["dog"]])[0]
    both = detector.detect([picture(SWAPPED), picture(PAIR)], [["dog"], ["dog"]])[1]
    assert np.allclose([d.score for d in single], [d.score for d in both], atol=1e-4)
    assert all(0 <= d.box[0] < d.box[2] <= 1 and 0 <= d.box[1] < d.box[3] <= 1 and d.score >= 0.05 for d in single)
    large = detector.detect([picture(PAIR).resize((512, 512), Image.Resampling.BICUBIC)], [["dog"]])[0]
    assert np.abs(np.subtract(large[0].box, single[0].box)).max() < 0.05
    assert detector.detect([], []) == []
    assert "@" in detector.signature
    assert detector.signature.endswith("+contest+nms.65+blank")


@needs_detector
def test_detector_refuses_a_class_it_cannot_know(detector):
    with pytest.raises(UsageError, match=r"'elefant'.*Did you mean 'elephant'"):
        detector.detect([picture(PAIR)], [["elefant"]])


@needs_detector
def test_labels_of_the_weights_are_the_atlas(detector):
    assert detector.config["categories"] == list(CATEGORIES)


@pytest.mark.parametrize("judge", [mini_detector.MiniDetector, mini_clip.MiniClip])
def test_missing_weights_are_a_sentence(judge, tmp_path):
    with pytest.raises(MissingWeights, match=r"model\.safetensors"):
        judge(tmp_path)


@needs_clip
def test_clip_finds_the_caption_of_a_scene_among_other_ones(clip):
    box = (0.2, 0.2, 0.8, 0.8)
    shown = [
        ("red", "dog"),
        ("blue", "car"),
        ("white", "elephant"),
        ("green", "chair"),
        ("black", "pizza"),
        ("yellow", "bus"),
    ]
    scenes = [scene(thing(color, name, box)) for color, name in shown]
    cosine = clip.encode_images([picture(s) for s in scenes]) @ clip.encode_texts([s.prompt for s in scenes]).T
    assert (cosine.argmax(axis=1) == np.arange(len(scenes))).sum() >= 5  # by chance it would be one


@needs_clip
def test_clip_contract(clip):
    images = [picture(PAIR, seed) for seed in range(3)]
    encoded, raw = clip.encode_images(images), clip.features(images)
    assert encoded.dtype == np.float32
    assert encoded.shape == raw.shape == (3, clip.config["embed_dim"])
    assert np.allclose(np.linalg.norm(encoded, axis=1), 1, atol=1e-5)
    assert np.allclose(np.linalg.norm(clip.encode_texts(["a red dog", "", "x " * 200]), axis=1), 1, atol=1e-5)
    assert np.allclose(clip.encode_images(images[:1])[0], encoded[0], atol=1e-4)
    assert clip.encode_images([]).shape == (0, clip.config["embed_dim"])
    assert clip.encode_texts([]).shape == (0, clip.config["embed_dim"])


@needs_clip
def test_features_of_scenes_have_a_mean_square_near_one(clip):
    """The origin of `FEATURE_UNIT`, on scenes drawn anew: 3.66 once on 256 of them, 3.62 on another 256."""
    layouts = LayoutSampler(960_000)
    raw = clip.features([picture(layouts.sample(), seed) for seed in range(64)])
    assert np.mean(np.square(raw)) == pytest.approx(1, abs=0.06)


@needs_clip
def test_both_towers_stay_small():
    for folder in (mini_clip.WEIGHTS, mini_detector.WEIGHTS):
        assert sum(path.stat().st_size for path in folder.iterdir()) < 8_000_000
        assert json.loads((folder / "config.json").read_text())


def test_cut_vocabulary_splits_the_words_of_the_world_as_the_full_one(tmp_path):
    pytest.importorskip("open_clip")
    from open_clip.tokenizer import SimpleTokenizer

    from radl_bench.mini.train.clip import write_vocabulary

    write_vocabulary(tmp_path / "bpe.txt.gz")
    small, full = mini_clip.tokenizer(tmp_path / "bpe.txt.gz", 48), SimpleTokenizer()
    text = "a photo of " + " and ".join(f"a brown {name}" for name in CATEGORIES)
    assert [small.decoder[t] for t in small.encode(text)] == [full.decoder[t] for t in full.encode(text)]
    assert small.vocab_size < 4000
    assert len(gzip.decompress((tmp_path / "bpe.txt.gz").read_bytes())) < 40_000


def test_augmentation_keeps_hue_and_size():
    import cv2

    from radl_bench.mini.train.augment import augment

    image = render(scene(thing("red", "bed", (0.1, 0.1, 0.9, 0.9))), 4)
    rng = np.random.default_rng(0)
    sprite = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)[..., 1] > 150
    for _ in range(20):
        treated = augment(image, rng)
        assert treated.shape == image.shape
        assert treated.dtype == np.uint8
        hue = cv2.cvtColor(treated, cv2.COLOR_RGB2HSV)[..., 0][sprite].astype(int)
        assert np.median(np.minimum(hue, 180 - hue)) <= 6


def test_detector_batches_are_a_function_of_the_step_and_hold_no_hidden_thing():
    from radl_bench.mini.train.detector import make_batch, target

    first, again, other = make_batch(3, 4), make_batch(3, 4), make_batch(4, 4)
    assert np.array_equal(first[0], again[0])
    assert not np.array_equal(first[0], other[0])
    assert all(len(t["boxes"]) == len(t["labels"]) for t in first[1])
    kept = target(PAIR, np.array([0.2, 0.9]))
    assert kept["labels"].tolist() == [CATEGORIES.index("car")]
    assert np.allclose(kept["boxes"].numpy(), np.array([PAIR.instances[1].box]) * 128)


def test_twin_says_something_else_in_the_same_words_and_places():
    from radl_bench.mini.train.clip import make_pairs, twin

    rng = np.random.default_rng(1)
    twins = [twin(PAIR, rng) for _ in range(30)]
    assert all([i.box for i in t.instances] == [i.box for i in PAIR.instances] for t in twins)
    assert all(t.prompt == "a photo of " + " and ".join(i.phrase for i in t.instances) for t in twins)
    assert any(t.prompt == SWAPPED.prompt for t in twins)
    keys = [pair.key for pair in make_pairs(0, 8, 3)]
    assert len(keys) == 8


def test_equal_keys_share_the_target():
    import torch

    from radl_bench.mini.train.clip import loss_fn

    class Fixed(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = torch.nn.Parameter(torch.tensor(50.0))

        def forward(self, images, texts):
            return images, texts, self.scale

    def loss(texts, same):
        return float(loss_fn(Fixed(), (torch.eye(3), texts, same), torch.Generator()).detach())

    swapped = torch.eye(3)[[1, 0, 2]]
    same = torch.tensor([[1.0, 1, 0], [1, 1, 0], [0, 0, 1]])
    assert loss(torch.eye(3), torch.eye(3)) == pytest.approx(0, abs=1e-4)
    assert loss(swapped, torch.eye(3)) == pytest.approx(2 / 3 * 50, abs=1e-3)
    assert loss(swapped, same) == pytest.approx(loss(torch.eye(3), same), abs=1e-4) == pytest.approx(50 / 3, abs=1e-3)
