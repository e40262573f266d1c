"""GroundingDINO by its authors' library, groundingdino-py, over the same checkpoint: a second opinion on the default.

The library does not survive transformers 5 (its BERT wrapper wants methods that are gone), asks the network for BERT
although the checkpoint holds it, and mixes up the texts of a batch. So: while the model is built, three names of the
library are replaced, and put back whatever happens; BERT is made from its config alone; and every caption is asked by
itself. Its own arithmetic is left as it is, but for the backbone, which runs once an image.
"""

from __future__ import annotations

import contextlib
import copy
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from radl_bench.errors import BadInput, MissingExtra
from radl_bench.judges.grounding import Network, Query
from radl_bench.judges.grounding_config import config_beside
from radl_bench.judges.grounding_convert import layout_of, read_checkpoint, to_original
from radl_bench.judges.grounding_dino import GroundingDino
from radl_bench.judges.grounding_lean import SeenBackbone

if TYPE_CHECKING:
    from groundingdino.models.GroundingDINO.groundingdino import GroundingDINO
    from groundingdino.util.misc import NestedTensor
    from groundingdino.util.slconfig import SLConfig
    from torch import Tensor, nn
    from transformers import BatchEncoding, BertConfig, BertModel, GroundingDinoConfig

_BUILDING = threading.Lock()
_SWINS = {96: "swin_T_224_1k", 128: "swin_B_384_22k", 192: "swin_L_384_22k"}
"""The library's names of Swin by the width of its first stage."""


class GroundingDinoPy(GroundingDino):
    """GroundingDINO SwinT-OGC by groundingdino-py.

    Arguments and errors are those of `GroundingDino`.

    Raises:
        MissingExtra: groundingdino-py is not installed (at the first `detect`).
    """

    backend = "groundingdino-py"
    packages = (*GroundingDino.packages, "groundingdino")

    @cached_property
    def network(self) -> Network:
        """The network, loaded at the first use. Raises `BadInput` where the weights do not fit."""
        state = read_checkpoint(self.checkpoint)
        state = to_original(state) if layout_of(state) == "hub" else state
        model = build_original(config_beside(self.checkpoint), state, str(self.checkpoint))
        return OriginalNetwork(model, self.device)


class OriginalNetwork:
    """The library's model behind the contract of `grounding.Network`; the model becomes its own."""

    at_once = 1

    def __init__(self, model: GroundingDINO, device: str = "cpu") -> None:
        self.device = device
        self.model = model.eval().to(device)
        self.model.backbone = SeenBackbone(self.model.backbone)
        self._picture: NestedTensor | None = None

    def see(self, pixels: Tensor) -> None:
        """Run the backbone on [1, 3, H, W]."""
        import torch
        from groundingdino.util.misc import NestedTensor

        padding = torch.zeros((1, *pixels.shape[2:]), dtype=torch.bool, device=self.device)
        self._picture = NestedTensor(pixels.to(self.device), padding)
        with _quiet():
            self.model.backbone.see(self._picture)

    def ask(self, queries: Sequence[Query]) -> tuple[Tensor, Tensor]:
        """Return logits [1, Q, 256] and boxes [1, Q, 4] of one query about the image seen last."""
        (query,) = queries
        self.model.tokenizer = _Spoken(query)
        with _quiet():
            out = self.model(self._picture, captions=[""])
        return out["pred_logits"], out["pred_boxes"]

    def forget(self) -> None:
        """Let go of the image and its features."""
        self._picture = None
        self.model.backbone.forget()


class _Spoken:
    """Stands where the library has its tokenizer, and answers with the tokens of the query at hand."""

    def __init__(self, query: Query | None = None) -> None:
        self.query = query

    def __call__(self, captions: Sequence[str], **_: object) -> BatchEncoding:
        """Return token ids, types and mask, [1, T] each."""
        import torch
        from transformers import BatchEncoding

        assert self.query is not None
        ids = torch.tensor([self.query.ids])
        return BatchEncoding(
            {"input_ids": ids, "token_type_ids": torch.zeros_like(ids), "attention_mask": torch.ones_like(ids)}
        )

    def convert_tokens_to_ids(self, tokens: Sequence[str]) -> list[int]:
        """Return the ids of BERT's special tokens, which the model wants while it is built."""
        return [{"[CLS]": 101, "[SEP]": 102, ".": 1012, "?": 1029}[token] for token in tokens]


def build_original(
    config: GroundingDinoConfig, state: Mapping[str, Tensor] | None = None, where: str = "the checkpoint"
) -> GroundingDINO:
    """Return the library's model of a transformers `GroundingDinoConfig`, in eval mode.

    Args:
        state: weights in the original layout; random ones when None.
        where: names the weights in errors.

    Raises:
        MissingExtra: groundingdino-py is not installed.
        BadInput: `state` is not one of this config.
    """
    try:
        with _quiet():
            import groundingdino.models.GroundingDINO.groundingdino as library
    except ImportError as error:
        raise MissingExtra(
            f"The detector groundingdino-py needs its package ({error}). Run: pip install groundingdino-py"
        ) from error
    with _quiet(), _patched(library, config.text_config):
        model = library.build_groundingdino(_arguments(config))
    if state is not None:
        _load(model, state, where)
    return model.eval()


def _load(model: GroundingDINO, state: Mapping[str, Tensor], where: str) -> None:
    names = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    try:
        report = model.load_state_dict(names, strict=False)  # the library's own loading would stop here, silently
    except RuntimeError as error:
        raise BadInput(f"{where} does not fit: {' '.join(str(error).split())[:300]}") from error
    lacking = [name for name in report.missing_keys if not name.endswith("relative_position_index")]
    if lacking:
        raise BadInput(f"{where} lacks {len(lacking)} weights of GroundingDINO, among them {lacking[:3]}.")


def _arguments(config: GroundingDinoConfig) -> SLConfig:
    """Return the library's settings for a transformers config: those of its SwinT-OGC file with the sizes replaced."""
    import groundingdino
    from groundingdino.util.slconfig import SLConfig

    given = SLConfig.fromfile(str(Path(groundingdino.__file__).parent / "config" / "GroundingDINO_SwinT_OGC.py"))
    width = config.backbone_config.embed_dim
    if width not in _SWINS:
        raise BadInput(f"groundingdino-py has no Swin of width {width}; known: {sorted(_SWINS)}.")
    sizes = {
        "backbone": _SWINS[width],
        "enc_layers": config.encoder_layers,
        "dec_layers": config.decoder_layers,
        "num_queries": config.num_queries,
        "dim_feedforward": config.encoder_ffn_dim,
        "use_checkpoint": False,  # gradient checkpoints: they change no result, and warn
        "use_transformer_ckpt": False,
    }
    for name, value in sizes.items():
        setattr(given, name, value)
    return given


@contextlib.contextmanager
def _patched(library: Any, text_config: BertConfig) -> Iterator[None]:
    """Replace the library's BERT wrapper, tokenizer and BERT while a model is built, and put them back."""
    from transformers import BertModel

    tools = library.get_tokenlizer
    places = [
        (library, "BertModelWarper", _wrapper()),
        (tools, "get_tokenlizer", lambda _: _Spoken()),
        (tools, "get_pretrained_language_model", lambda _: BertModel(copy.deepcopy(text_config))),
    ]
    with _BUILDING:
        before = [getattr(place, name) for place, name, _ in places]
        try:
            for place, name, value in places:
                setattr(place, name, value)
            yield
        finally:
            for (place, name, _), value in zip(places, before, strict=True):
                setattr(place, name, value)


def _wrapper() -> type[nn.Module]:
    """Return the class that takes the place of `BertModelWarper`: BERT with a mask of its own for every token."""
    import torch
    from torch import nn

    class Bert(nn.Module):
        """`bert_model` without its pooler, which GroundingDINO never reads."""

        def __init__(self, bert_model: BertModel) -> None:
            super().__init__()
            self.config = bert_model.config
            self.embeddings, self.encoder = bert_model.embeddings, bert_model.encoder

        def forward(
            self, input_ids: Tensor, attention_mask: Tensor, position_ids: Tensor, token_type_ids: Tensor
        ) -> dict[str, Tensor]:
            """Return `last_hidden_state` [B, T, C]; `attention_mask` is bool [B, T, T], True where a token may look."""
            hidden = self.embeddings(input_ids=input_ids, token_type_ids=token_type_ids, position_ids=position_ids)
            closed = torch.finfo(hidden.dtype).min
            # added to the logits: right for every attention of transformers, unlike a bool mask
            added = torch.zeros(attention_mask.shape, dtype=hidden.dtype, device=hidden.device)
            added = added.masked_fill(~attention_mask, closed)[:, None]
            return {"last_hidden_state": self.encoder(hidden, attention_mask=added).last_hidden_state}

    return Bert


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the library's warnings about deprecated calls of its own from the user."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", UserWarning)
        yield
