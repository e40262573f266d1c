"""SAM with random weights: equal to transformers' own way through its processor, box by box and all at once."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from radl_bench.errors import BadInput, MissingWeights
from radl_bench.judges.kinds.coverage import SEGMENTER
from radl_bench.judges.sam import SamSegmenter, pixels_of
from radl_bench.runs.images import Picture
from radl_bench.scoring.evidence import Evidence
from radl_bench.scoring.judging import judge, make_judges
from radl_bench.scoring.protocol import resolve_protocol
from radl_bench.types import Detection, Instance, Sample

BOXES = np.array([[0.1, 0.2, 0.5, 0.6], [0.5, 0.5, 1.0, 1.0], [0.0, 0.0, 1.0, 1.0]])


def tiny_sam():
    from transformers import SamConfig, SamModel

    torch.manual_seed(0)
    config = SamConfig(
        vision_config={
            "hidden_size": 32,
            "output_channels": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 64,
            "patch_size": 8,
            "mlp_dim": 64,
            "window_size": 4,
            "global_attn_indexes": [1],
            "num_pos_feats": 8,
        },
        prompt_encoder_config={"hidden_size": 16, "image_size": 64, "patch_size": 8, "mask_input_channels": 4},
        mask_decoder_config={"hidden_size": 16, "mlp_dim": 32, "num_attention_heads": 2, "iou_head_hidden_dim": 16},
    )
    model = SamModel(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return model


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("sam")
    tiny_sam().save_pretrained(path)
    return path


def picture(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)


def by_processor(folder: Path, image: np.ndarray, box: np.ndarray) -> np.ndarray:
    """The way transformers documents: processor, model, best of three masks, post-processing."""
    from transformers import SamImageProcessorPil, SamModel, SamProcessor

    sides = {"height": 64, "width": 64}
    processor = SamProcessor(SamImageProcessorPil(size={"longest_edge": 64}, pad_size=sides))
    corners = (box * np.array([image.shape[1], image.shape[0]] * 2)).tolist()
    inputs = processor(Image.fromarray(image), input_boxes=[[corners]], return_tensors="pt")
    model = SamModel.from_pretrained(folder).eval()
    with torch.inference_mode():
        out = model(pixel_values=inputs["pixel_values"], input_boxes=inputs["input_boxes"].float())
    sizes = inputs["original_sizes"], inputs["reshaped_input_sizes"]
    (masks,) = processor.image_processor.post_process_masks(out.pred_masks, *sizes)
    return masks[0, int(out.iou_scores[0, 0].argmax())].numpy()


@pytest.mark.parametrize("size", [(64, 64), (96, 150), (50, 31)])
def test_masks_equal_those_of_transformers_own_processor(folder, size):
    image = picture(*size)
    masks = SamSegmenter(weights=folder).masks(image, BOXES)
    assert masks.dtype == bool
    assert masks.shape == (3, *size)
    for mask, box in zip(masks, BOXES, strict=True):
        expected = by_processor(folder, image, box)
        assert (mask == expected).mean() > 0.995  # a logit at 0 may fall either way
        assert 0.02 < expected.mean() < 0.98


def test_boxes_together_give_what_they_give_alone_and_the_picture_is_encoded_once(folder):
    sam, image = SamSegmenter(weights=folder), picture(64, 80)
    boxes = np.concatenate([BOXES] * 7)
    runs = []
    hook = sam.model.vision_encoder.register_forward_hook(lambda *_: runs.append(1))
    masks = sam.masks(image, boxes)
    hook.remove()
    assert len(runs) == 1
    assert np.array_equal(masks[:3], masks[18:])
    assert all(np.array_equal(sam.masks(image, box[None])[0], mask) for box, mask in zip(BOXES, masks, strict=False))
    assert not np.array_equal(masks[0], masks[1])
    assert sam.masks(image, np.zeros((0, 4))).shape == (0, 64, 80)


@pytest.mark.parametrize(("protocol", "expected"), [("mig_bench_v1", "layout"), ("strict", "detection")])
def test_the_protocol_says_whose_box_prompts(folder, tmp_path, protocol, expected):
    boxes = {"layout": (0.1, 0.1, 0.6, 0.6), "detection": (0.15, 0.1, 0.65, 0.6)}

    class Finder:
        signature = "finder"

        def detect(self, images, queries):
            return [[Detection("car", boxes["detection"], 0.9)] for _ in images]

    sam = SamSegmenter(weights=folder)
    prompts = []
    masks = sam.masks
    sam.masks = lambda image, asked: prompts.extend(map(tuple, asked.tolist())) or masks(image, asked)  # type: ignore[method-assign]
    sample = Sample("s", "a photo of a red car", (Instance("a red car", "car", "red", boxes["layout"]),))
    file = tmp_path / "s_0.png"
    Image.fromarray(picture(64, 64)).save(file)
    shown = Picture(sample, 0, file, hashlib.sha256(file.read_bytes()).hexdigest())
    evidence = Evidence(tmp_path / "evidence", detector=Finder(), segmenter=sam)
    needs = frozenset({"detections", "coverage"})
    (view,) = judge([shown], evidence, resolve_protocol(protocol), needs)
    assert prompts == [pytest.approx(boxes[expected])]
    assert view.shares.shape == (1, 7)


def test_pictures_are_padded_below_and_to_the_right():
    pixels, inner = pixels_of(np.full((20, 40, 3), 255, np.uint8), 64)
    assert pixels.shape == (1, 3, 64, 64)
    assert inner == (32, 64)
    assert (pixels[..., 32:, :] == 0).all()
    assert pixels[0, :, :32].flatten(1).amin(1).tolist() == pytest.approx([2.2489, 2.4286, 2.64], abs=1e-3)


def test_weights_that_are_nowhere_or_broken_are_sentences(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("RADL_BENCH_HOME", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(MissingWeights, match="Run: radl-bench fetch sam, or pass --segmenter grabcut"):
        SamSegmenter()
    place = tmp_path / "weights" / "sam"
    place.mkdir(parents=True)
    for file in folder.iterdir():
        (place / file.name).write_bytes(file.read_bytes())
    judges = make_judges("blind", "sam", "none", device="cpu")
    assert judges.get(SEGMENTER).signature.startswith("sam@")
    assert "model" not in vars(judges.get(SEGMENTER))
    (place / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(BadInput, match="cannot be read as a SAM"):
        SamSegmenter().masks(picture(8, 8), BOXES)


@pytest.mark.slow
def test_the_real_size_of_sam_base_runs():
    from transformers import SamConfig, SamModel

    torch.manual_seed(0)
    sam = SamSegmenter.__new__(SamSegmenter)
    sam.device, sam.model = "cpu", SamModel(SamConfig()).eval()
    masks = sam.masks(picture(427, 640), BOXES)
    assert masks.shape == (3, 427, 640)
