"""GroundingDINO by transformers, the default detector for photographs and for generators of real images.

SwinT-OGC, asked one category at a time (see `grounding`); the image's backbone runs once for all categories, and the
modules of `grounding_lean` spare most of the rest. Right in batches, runs on CPU and GPU, always in float32.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from radl_bench.errors import BadInput
from radl_bench.judges.grounding import LONGEST, SIDE, GroundingDetector, Network, Query, load_tokenizer
from radl_bench.judges.grounding_config import config_beside
from radl_bench.judges.grounding_convert import layout_of, read_checkpoint, to_hub
from radl_bench.judges.grounding_lean import lean
from radl_bench.judges.grounding_weights import find_checkpoint, find_vocabulary
from radl_bench.judges.local_weights import file_sha8, no_progress_bar

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import GroundingDinoConfig, PreTrainedModel, PreTrainedTokenizerBase


class GroundingDino(GroundingDetector):
    """GroundingDINO SwinT-OGC by transformers.

    Args:
        device: "cpu", "cuda", ...; the CPU when None.
        weights: checkpoint file in either layout, folder, or hub id in the cache; the usual places when None.
        vocabulary: BERT's `vocab.txt`; looked for beside the weights when None.
        side, longest: size of the image for the network, pixels.

    Raises:
        MissingWeights: the checkpoint is not on this machine.
    """

    backend = "grounding-dino"
    takes = ("device",)
    scale = "paper"
    packages: tuple[str, ...] = ("torch", "transformers", "safetensors")

    @classmethod
    def check_weights(cls) -> None:
        """Raise `MissingWeights` where the checkpoint or its vocabulary is in none of the usual places."""
        find_vocabulary(find_checkpoint(None, cls.backend))

    def __init__(
        self,
        device: str | None = None,
        weights: str | Path | None = None,
        vocabulary: str | Path | None = None,
        side: int = SIDE,
        longest: int = LONGEST,
    ) -> None:
        super().__init__(side, longest)
        self.device, self.vocabulary = device or "cpu", vocabulary
        self.checkpoint = find_checkpoint(weights, self.backend)
        size = "" if (side, longest) == (SIDE, LONGEST) else f"+{side}-{longest}"
        self.signature = f"{self.backend}@{file_sha8(self.checkpoint)}{size}"

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """BERT's tokenizer. Raises `MissingWeights` or `BadInput`."""
        return load_tokenizer(find_vocabulary(self.checkpoint, self.vocabulary))

    @cached_property
    def network(self) -> Network:
        """The network, loaded at the first use. Raises `BadInput` where the weights do not fit."""
        return TransformersNetwork(load_model(self.checkpoint), self.device)


class TransformersNetwork:
    """A `GroundingDinoForObjectDetection` behind the contract of `grounding.Network`; the model becomes its own."""

    def __init__(self, model: PreTrainedModel, device: str = "cpu") -> None:
        self.device = device
        self.model = lean(model.eval().to(device))
        self.at_once = 1 if device == "cpu" else 8  # batches save no work on a CPU, and cost memory
        self._pixels: Tensor | None = None

    def see(self, pixels: Tensor) -> None:
        """Run the backbone on [1, 3, H, W]."""
        import torch

        self._pixels = pixels.to(self.device)
        mask = torch.ones((1, *pixels.shape[2:]), dtype=torch.long, device=self.device)
        self.model.model.backbone.see(self._pixels, mask)

    def ask(self, queries: Sequence[Query]) -> tuple[Tensor, Tensor]:
        """Return logits [B, Q, T] and boxes [B, Q, 4] of the queries about the image seen last."""
        import torch

        longest = max(len(query.ids) for query in queries)
        ids = torch.tensor([query.ids + (0,) * (longest - len(query.ids)) for query in queries], device=self.device)
        mask = torch.tensor([[n < len(query.ids) for n in range(longest)] for query in queries], device=self.device)
        assert self._pixels is not None  # `see` comes first
        pixels = self._pixels.expand(len(queries), *self._pixels.shape[1:])
        out = self.model(pixel_values=pixels, input_ids=ids, attention_mask=mask.long())
        return out.logits, out.pred_boxes

    def forget(self) -> None:
        """Let go of the image and its features."""
        self._pixels = None
        self.model.model.backbone.forget()


def load_model(checkpoint: Path, config: GroundingDinoConfig | None = None) -> PreTrainedModel:
    """Return a transformers model with the weights of a checkpoint in either layout, float32, in eval mode.

    Raises:
        BadInput: the file is no GroundingDINO checkpoint, or not one of this config.
    """
    state = read_checkpoint(checkpoint)
    state = to_hub(state) if layout_of(state) == "original" else state
    return build_model(state, config or config_beside(checkpoint), str(checkpoint))


def build_model(state: Mapping[str, Tensor], config: GroundingDinoConfig, where: str) -> PreTrainedModel:
    """Return a transformers model of `config` with a state in the hub's layout; `where` names it in errors."""
    import torch
    from transformers import GroundingDinoForObjectDetection

    try:
        with no_progress_bar():
            model, report = GroundingDinoForObjectDetection.from_pretrained(
                None, config=config, state_dict=dict(state), output_loading_info=True, dtype=torch.float32
            )
    except (RuntimeError, ValueError) as error:
        raise BadInput(f"{where} does not fit: {' '.join(str(error).split())[:300]}") from error
    lacking = sorted(name for name in report["missing_keys"] if "swin.layernorm" not in name)  # no forward reads it
    wrong = lacking or sorted(map(str, report["mismatched_keys"]))
    if wrong:
        raise BadInput(f"{where} does not fit this GroundingDINO: {len(wrong)} weights, among them {wrong[:3]}.")
    return model.eval()
