"""GroundingDINO without a network: captions, spans, picture sizes, decoding, the lean modules, finding weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_grounding import noise, tiny_config, vocabulary

from radl_bench.errors import BadInput, MissingWeights, UsageError
from radl_bench.judges.grounding import caption, decode, load_tokenizer, make_query, network_size, pixels_of
from radl_bench.judges.grounding_dino import GroundingDino
from radl_bench.judges.grounding_lean import LeanFusion, LeanSampling
from radl_bench.judges.grounding_weights import find_checkpoint, find_vocabulary
from radl_bench.judges.groundingdino_py import GroundingDinoPy

SIZES = [(512, 512), (640, 427), (427, 640), (800, 800), (97, 61)]
LONG = [(1500, 250), (250, 1500)]
"""Here transformers rounds the longer side to 1333, one pixel more than the original, which is followed."""


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer(vocabulary())


@pytest.mark.parametrize(
    ("category", "words"),
    [("dog", "dog."), ("  Traffic   Light ", "traffic light."), ("dog.", "dog."), ("t.v", "t.v.")],
)
def test_a_category_becomes_a_caption(category, words):
    assert caption(category) == words


@pytest.mark.parametrize("category", ["dog", "dining table", "frisbee", "hair drier", "skateboard"])
def test_the_span_is_the_words_of_the_category(tokenizer, category):
    query = make_query(tokenizer, category)
    assert tokenizer.decode([query.ids[i] for i in query.span]) == category
    rest = [query.ids[i] for i in range(len(query.ids)) if i not in query.span]
    assert rest == [101, 1012, 102]


@pytest.mark.parametrize("category", ["", " . ", "dog " * 300])
def test_a_category_that_cannot_be_asked_for_is_a_sentence(tokenizer, category):
    with pytest.raises(UsageError, match="GroundingDINO cannot be asked for"):
        make_query(tokenizer, category)


def test_another_vocabulary_is_refused(tmp_path):
    file = tmp_path / "vocab.txt"
    file.write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n.\n?\ndog\n")
    with pytest.raises(BadInput, match="not the vocabulary of bert-base-uncased"):
        load_tokenizer(file)


@pytest.mark.parametrize(("width", "height"), SIZES + LONG)
def test_pictures_reach_the_network_as_both_libraries_prepare_them(width, height):
    import groundingdino.datasets.transforms as transforms
    from transformers import GroundingDinoImageProcessorPil

    image = noise(0, width, height)
    pixels = pixels_of(image)
    steps = [transforms.RandomResize([800], max_size=1333), transforms.ToTensor()]
    steps.append(transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    original, _ = transforms.Compose(steps)(image, None)
    assert tuple(pixels.shape[2:]) == network_size(width, height)[::-1] == tuple(original.shape[1:])
    assert torch.allclose(pixels[0], original, atol=1e-6)
    if (width, height) not in LONG:
        theirs = GroundingDinoImageProcessorPil()(image, return_tensors="pt")["pixel_values"]
        assert torch.allclose(pixels, theirs, atol=1e-5)


def test_pictures_are_read_as_rgb():
    image = Image.new("RGB", (32, 32), (255, 0, 0))
    assert torch.equal(pixels_of(image, 32), pixels_of(image.convert("RGBA"), 32))
    assert pixels_of(image, 32)[0, 0].min() > pixels_of(image, 32)[0, 2].max()


def test_decoding_equals_that_of_transformers_where_only_the_span_speaks(tokenizer):
    from transformers import GroundingDinoImageProcessorPil, GroundingDinoProcessor
    from transformers.models.grounding_dino.modeling_grounding_dino import GroundingDinoObjectDetectionOutput

    rng = np.random.default_rng(0)
    query = make_query(tokenizer, "dining table")
    logits = rng.normal(-3, 2, (60, 256)).astype(np.float32)
    boxes = rng.uniform(0, 1, (60, 4)).astype(np.float32)
    alone = np.full_like(logits, -np.inf)
    alone[:, query.span] = logits[:, query.span]
    output = GroundingDinoObjectDetectionOutput(
        logits=torch.from_numpy(alone)[None],
        pred_boxes=torch.from_numpy(boxes)[None],
        input_ids=torch.tensor([query.ids]),
    )
    processor = GroundingDinoProcessor(GroundingDinoImageProcessorPil(), tokenizer)
    (theirs,) = processor.post_process_grounded_object_detection(output, threshold=0.05, text_threshold=0.05)
    found = decode(logits, boxes, query.span)
    order = theirs["scores"].argsort(descending=True)
    assert 10 < len(found.scores) < 60
    assert np.allclose(found.scores, theirs["scores"][order], atol=1e-6)
    assert np.allclose(found.boxes, theirs["boxes"][order], atol=1e-6)
    assert np.all(np.diff(found.scores) <= 0)


def test_other_tokens_do_not_score():
    logits = np.full((2, 5), -9.0, np.float32)
    logits[0, [0, 3, 4]] = 9.0  # "[CLS]", the full stop, "[SEP]"
    logits[1, 2] = 0.0
    boxes = np.array([[0.5, 0.5, 0.2, 0.2], [0.4, 0.6, 0.2, 0.4]], np.float32)
    found = decode(logits, boxes, (1, 2))
    assert found.scores.tolist() == [0.5]
    assert found.boxes[0] == pytest.approx([0.3, 0.4, 0.5, 0.8])


@pytest.mark.parametrize("padding", [False, True])
def test_lean_fusion_equals_the_fusion_of_transformers(padding):
    from transformers.models.grounding_dino.modeling_grounding_dino import GroundingDinoBiMultiHeadAttention

    torch.manual_seed(0)
    stock = GroundingDinoBiMultiHeadAttention(tiny_config(encoder_ffn_dim=2048)).eval()
    for parameter in stock.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    image, text = torch.randn(2, 37, 256), torch.randn(2, 5, 256)
    masks = {}
    if padding:
        closed = torch.tensor([[False] * 3 + [True] * 2] * 2)
        masks = {"vision_attention_mask": torch.rand(2, 37) < 0.3, "text_attention_mask": closed}
    with torch.inference_mode():
        (image_a, to_image_a), (text_a, to_text_a) = stock(image, text, **masks)
        (image_b, to_image_b), (text_b, to_text_b) = LeanFusion(stock)(image, text, **masks)
    assert image_a.std() > 0.1
    assert text_a.std() > 0.1
    for a, b in ((image_a, image_b), (text_a, text_b)):
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-4 * float(a.abs().max()))
    assert torch.allclose(to_image_a, to_image_b.flatten(0, 1), atol=1e-4)
    assert torch.allclose(to_text_a, to_text_b.flatten(0, 1), atol=1e-4)


def test_lean_sampling_equals_the_sampling_of_transformers_also_outside_of_the_picture():
    from transformers.models.grounding_dino.modeling_grounding_dino import MultiScaleDeformableAttention

    torch.manual_seed(0)
    shapes = [(7, 9), (4, 5), (1, 1)]
    tokens = sum(h * w for h, w in shapes)
    value = torch.randn(2, tokens, 3, 8)
    locations = torch.rand(2, 1500, 3, len(shapes), 4, 2) * 1.6 - 0.3
    locations[0, :4, :, :, 0] = torch.tensor([[0.0, 0.0], [1.0, 1.0], [-5.0, 0.5], [0.5, 7.0]])[:, None, None]
    weights = torch.rand(2, 1500, 3, len(shapes), 4)
    with torch.inference_mode():
        arguments = (value, torch.tensor(shapes), shapes, None, locations, weights, 64)
        stock, own = MultiScaleDeformableAttention()(*arguments), LeanSampling()(*arguments)
    assert torch.allclose(stock, own, atol=1e-5)


@pytest.fixture
def nowhere(monkeypatch, tmp_path):
    """A machine without fetched weights and with an empty hub cache."""
    monkeypatch.setenv("RADL_BENCH_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path


@pytest.mark.parametrize("detector", [GroundingDino, GroundingDinoPy])
def test_weights_that_are_nowhere_are_a_sentence(nowhere, detector):
    with pytest.raises(MissingWeights) as caught:
        detector()
    sentence = "GroundingDINO weights not found. Run: radl-bench fetch grounding-dino, or pass --detector mini."
    assert str(caught.value) == sentence
    with pytest.raises(MissingWeights, match="none at some/place"):
        detector(weights="some/place")


def test_weights_are_found_where_fetch_and_the_hub_put_them(nowhere, monkeypatch):
    cache = nowhere / "hub" / "models--IDEA-Research--grounding-dino-tiny"
    snapshot = cache / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text("abc")
    for name in ("model.safetensors", "vocab.txt"):
        (snapshot / name).write_bytes(b"hub")
    assert find_checkpoint() == snapshot / "model.safetensors"
    assert find_checkpoint("IDEA-Research/grounding-dino-tiny") == snapshot / "model.safetensors"
    assert find_vocabulary(nowhere / "x.pth") == snapshot / "vocab.txt"
    for name, file in (("groundingdino-py", "groundingdino_swint_ogc.pth"), ("grounding-dino", "model.safetensors")):
        folder = nowhere / "home" / "weights" / name
        folder.mkdir(parents=True)
        (folder / file).write_bytes(b"fetched")
        assert find_checkpoint(backend=name) == folder / file
    assert GroundingDinoPy().signature.startswith("groundingdino-py@")
    with pytest.raises(MissingWeights, match="vocabulary"):
        find_vocabulary(nowhere / "x.pth", nowhere / "none.txt")
