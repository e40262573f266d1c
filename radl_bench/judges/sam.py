"""SAM by transformers: the segmenter of the public COCO-MIG protocol, prompted by a box.

Which box is the protocol's business: the layout's in `mig_bench_v1`, the detection's in `strict`. Of the three masks
that SAM offers for a box, the one it rates best is taken, as it is: it may be empty, and may reach over the box.

Source: Segment Anything (Kirillov et al. 2023, arXiv:2304.02643), section 3 and appendix A.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from radl_bench.errors import BadInput
from radl_bench.judges.local_weights import exact, file_sha8, find_weights, no_progress_bar

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import SamModel

HUB = "facebook/sam-vit-huge"
ABSENT = "SAM weights not found. Run: radl-bench fetch sam, or pass --segmenter grabcut."
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
BOXES = 16
"""Boxes decoded at a time; a mask of 1024 x 1024 logits takes 4 MB."""


class SamSegmenter:
    """SAM ViT-H, or whichever size the weights have.

    Args:
        device: "cpu", "cuda", ...; the CPU when None.
        weights: a folder of the hub's layout (`config.json`, `model.safetensors`), its file, or a hub id in the cache;
            the usual places when None.

    Raises:
        MissingWeights: the weights are not on this machine.
    """

    takes = ("device",)
    scale = "paper"
    packages = ("torch", "transformers", "safetensors")

    @classmethod
    def check_weights(cls) -> None:
        """Raise `MissingWeights` where the weights are in none of the usual places."""
        find_weights(None, ("sam",), HUB, ABSENT)

    def __init__(self, device: str | None = None, weights: str | Path | None = None) -> None:
        self.device = device or "cpu"
        self.checkpoint = find_weights(weights, ("sam",), HUB, ABSENT)
        self.signature = f"sam@{file_sha8(self.checkpoint)}"

    @cached_property
    def model(self) -> SamModel:
        """The `SamModel`, float32, loaded at the first use. Raises `BadInput` where it cannot be read."""
        import torch
        from safetensors import SafetensorError
        from transformers import SamModel

        folder = self.checkpoint.parent
        try:
            with no_progress_bar():
                model, report = SamModel.from_pretrained(
                    str(folder), local_files_only=True, output_loading_info=True, dtype=torch.float32
                )
        except (OSError, RuntimeError, ValueError, SafetensorError) as error:
            raise BadInput(f"{folder} cannot be read as a SAM: {' '.join(str(error).split())[:300]}") from error
        if report["missing_keys"] or report["mismatched_keys"]:
            wrong = sorted(map(str, [*report["missing_keys"], *report["mismatched_keys"]]))
            raise BadInput(f"{folder} does not fit a SAM: {len(wrong)} weights, among them {wrong[:3]}.")
        return model.eval().to(self.device)

    def masks(self, image: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        """Return bool [N, H, W] for `image` uint8 RGB [H, W, 3] and `boxes` [N, 4] as fractions of its sides.

        The image is encoded once for all its boxes.
        """
        import torch

        out = np.zeros((len(boxes), *image.shape[:2]), bool)
        if len(boxes) == 0:
            return out
        with exact():
            pixels, (height, width) = pixels_of(image, self.model.config.vision_config.image_size)
            embedding = self.model.get_image_embeddings(pixels.to(self.device))
            corners = torch.tensor(boxes, dtype=torch.float32) * torch.tensor([width, height, width, height])
            for start in range(0, len(boxes), BOXES):
                best = self._best(embedding, corners[start : start + BOXES].to(self.device))
                out[start : start + BOXES] = enlarge(best, pixels.shape[2:], (height, width), image.shape[:2])
        return out

    def _best(self, embedding: Tensor, corners: Tensor) -> Tensor:
        """Return the logits [N, h, w] of the mask that SAM rates best for each box."""
        import torch

        answer = self.model(image_embeddings=embedding, input_boxes=corners[None], multimask_output=True)
        best = answer.iou_scores[0].argmax(dim=1)
        return answer.pred_masks[0][torch.arange(len(best), device=best.device), best]


def pixels_of(image: np.ndarray, side: int) -> tuple[Tensor, tuple[int, int]]:
    """Return float32 [1, 3, side, side], normalised and padded with zeros, and `(height, width)` of the image in it.

    The longer side of the image becomes `side` pixels, resized bilinearly with PIL.
    """
    import torch
    from PIL import Image

    height, width = (max(1, int(n * side / max(image.shape[:2]) + 0.5)) for n in image.shape[:2])
    resized = np.array(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))
    scaled = torch.from_numpy(resized).permute(2, 0, 1).float() / 255
    normal = (scaled - torch.tensor(MEAN)[:, None, None]) / torch.tensor(DEVIATION)[:, None, None]
    out = torch.zeros(1, 3, side, side)
    out[0, :, :height, :width] = normal
    return out, (height, width)


def enlarge(logits: Tensor, padded: tuple[int, ...], inner: tuple[int, int], size: tuple[int, ...]) -> np.ndarray:
    """Return bool [N, *size] from logits [N, h, w]: up to the padded side, cut to the image, to its size, above 0."""
    from torch.nn.functional import interpolate

    large = interpolate(logits[:, None], tuple(padded), mode="bilinear", align_corners=False)
    cut = large[..., : inner[0], : inner[1]]
    whole = interpolate(cut, tuple(size), mode="bilinear", align_corners=False)
    return np.asarray((whole[:, 0] > 0).cpu().numpy())
