"""The two layouts of one GroundingDINO checkpoint, and the way from each to the other.

`original` is IDEA-Research's `.pth` (groundingdino-py), `hub` the safetensors of the hub (transformers). Both hold the
same numbers; the original keeps query, key and value of an attention in one matrix. Written from the names of both
libraries' modules. As a command: `python -m radl_bench.judges.grounding_convert SOURCE TARGET`, where TARGET ends with
`.pth`, or is the folder that gets `config.json` and `model.safetensors`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from radl_bench.errors import BadInput, RadlBenchError, UsageError

if TYPE_CHECKING:
    from torch import Tensor

_SWIN, _HUB_SWIN = "backbone.0.", "model.backbone.conv_encoder.model."
_BLOCK, _HUB_BLOCK = f"{_SWIN}layers.#.blocks.#.", f"{_HUB_SWIN}encoder.layers.#.blocks.#."
_TEXT, _HUB_TEXT = "transformer.encoder.text_layers.#.", "model.encoder.layers.#.text_enhancer_layer."
_DECODER, _HUB_DECODER = "transformer.decoder.layers.#.", "model.decoder.layers.#."

# Original: hub, under a prefix each. "#" is a number; what follows a name that ends with a dot stays as it is.
_NAMES: dict[tuple[str, str], dict[str, str]] = {
    ("", "model."): {"bert.": "text_backbone.", "feat_map.": "text_projection.", "input_proj.": "input_proj_vision."},
    ("", ""): {"bbox_embed.": "bbox_embed."},
    (_SWIN, _HUB_SWIN): {
        "patch_embed.proj.": "embeddings.patch_embeddings.projection.",
        "patch_embed.norm.": "embeddings.norm.",
        "layers.#.downsample.": "encoder.layers.#.downsample.",
        "norm1.": "hidden_states_norms.stage2.",
        "norm2.": "hidden_states_norms.stage3.",
        "norm3.": "hidden_states_norms.stage4.",
    },
    (_BLOCK, _HUB_BLOCK): {
        "norm1.": "layernorm_before.",
        "norm2.": "layernorm_after.",
        "attn.relative_position_bias_table": "attention.self.relative_position_bias_table",
        "attn.proj.": "attention.output.dense.",
        "mlp.fc1.": "intermediate.dense.",
        "mlp.fc2.": "output.dense.",
    },
    ("transformer.", "model."): {
        "level_embed": "level_embed",
        "tgt_embed.": "query_position_embeddings.",
        "enc_output.": "enc_output.",
        "enc_output_norm.": "enc_output_norm.",
        "enc_out_bbox_embed.": "encoder_output_bbox_embed.",
        "decoder.norm.": "decoder.layer_norm.",
        "decoder.ref_point_head.": "decoder.reference_points_head.",
        "decoder.bbox_embed.": "decoder.bbox_embed.",
    },
    ("transformer.encoder.layers.#.", "model.encoder.layers.#.deformable_layer."): {
        "self_attn.": "self_attn.",
        "norm1.": "self_attn_layer_norm.",
        "linear1.": "fc1.",
        "linear2.": "fc2.",
        "norm2.": "final_layer_norm.",
    },
    (_TEXT, _HUB_TEXT): {
        "self_attn.out_proj.": "self_attn.out_proj.",
        "linear1.": "fc1.",
        "linear2.": "fc2.",
        "norm1.": "layer_norm_before.",
        "norm2.": "layer_norm_after.",
    },
    ("transformer.encoder.fusion_layers.#.", "model.encoder.layers.#.fusion_layer."): {
        "gamma_v": "vision_param",
        "gamma_l": "text_param",
        "layer_norm_v.": "layer_norm_vision.",
        "layer_norm_l.": "layer_norm_text.",
        "attn.v_proj.": "attn.vision_proj.",
        "attn.l_proj.": "attn.text_proj.",
        "attn.values_v_proj.": "attn.values_vision_proj.",
        "attn.values_l_proj.": "attn.values_text_proj.",
        "attn.out_v_proj.": "attn.out_vision_proj.",
        "attn.out_l_proj.": "attn.out_text_proj.",
    },
    (_DECODER, _HUB_DECODER): {
        "self_attn.out_proj.": "self_attn.out_proj.",
        "cross_attn.": "encoder_attn.",
        "norm1.": "encoder_attn_layer_norm.",
        "ca_text.out_proj.": "encoder_attn_text.out_proj.",
        "catext_norm.": "encoder_attn_text_layer_norm.",
        "norm2.": "self_attn_layer_norm.",
        "linear1.": "fc1.",
        "linear2.": "fc2.",
        "norm3.": "final_layer_norm.",
    },
}
# One matrix, or bias, of the original: three of the hub, "*" being query, key and value.
_FUSED = {
    f"{_BLOCK}attn.qkv.": f"{_HUB_BLOCK}attention.self.*.",
    f"{_TEXT}self_attn.in_proj_": f"{_HUB_TEXT}self_attn.*.",
    f"{_DECODER}self_attn.in_proj_": f"{_HUB_DECODER}self_attn.*.",
    f"{_DECODER}ca_text.in_proj_": f"{_HUB_DECODER}encoder_attn_text.*.",
}
_PLAIN = {a + left: b + right for (a, b), names in _NAMES.items() for left, right in names.items()}
_WHOLE = ("query", "key", "value")
_UNUSED = re.compile(
    r"label_enc\..*|.*\.position_ids|.*relative_position_index|.*\.swin\.layernorm\..*|(bert|model\.text_backbone)\.pooler\..*"
)
"""Buffers the modules make themselves, and weights that no forward reads."""


def layout_of(state: Mapping[str, object]) -> str:
    """Return "original" or "hub". Raises `BadInput` for a state of neither."""
    names = {name.removeprefix("module.") for name in state}
    if "transformer.level_embed" in names:
        return "original"
    if "model.level_embed" in names:
        return "hub"
    raise BadInput("This is no GroundingDINO checkpoint: it has no 'level_embed'.")


def to_hub(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return an original state under the hub's names; tensors are shared, not copied. Raises `BadInput`."""
    out: dict[str, Tensor] = {}
    for name, tensor in _used(state):
        fused = _rename(name, _FUSED)
        if fused is not None:
            out.update((fused.replace("*", part), piece) for part, piece in zip(_WHOLE, tensor.chunk(3), strict=True))
        else:
            out[_known(name, _rename(name, _PLAIN))] = tensor
    return out


def to_original(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a hub state under the original's names, each decoder layer with the one box head. Raises `BadInput`."""
    import torch

    out: dict[str, Tensor] = {}
    parts: dict[str, dict[str, Tensor]] = {}
    split = {right.replace("*", f"({'|'.join(_WHOLE)})"): left for left, right in _FUSED.items()}
    plain = {right: left for left, right in _PLAIN.items()}
    for name, tensor in _used(state):
        fused = _rename(name, split)
        if fused is not None:
            part = next(p for p in name.split(".")[::-1] if p in _WHOLE)
            parts.setdefault(fused, {})[part] = tensor
        else:
            out[_known(name, _rename(name, plain))] = tensor
    out.update((name, torch.cat([pieces[part] for part in _WHOLE])) for name, pieces in parts.items())
    return out | dict(_shared_heads(out))


def _shared_heads(state: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    layers = {name.split(".")[3] for name in state if name.startswith("transformer.decoder.layers.")}
    for name, tensor in state.items():
        if name.startswith("bbox_embed.0."):
            for layer in layers:
                copy = f"bbox_embed.{layer}.{name.removeprefix('bbox_embed.0.')}"
                yield from ((n, tensor) for n in (copy, f"transformer.decoder.{copy}") if n not in state)


def _used(state: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    for name, tensor in state.items():
        name = name.removeprefix("module.")
        if not _UNUSED.fullmatch(name):
            yield name, tensor


def _rename(name: str, table: Mapping[str, str]) -> str | None:
    """Return the name under the table, None where no line of it fits."""
    for left, right in table.items():
        pattern = left.replace(".", r"\.").replace("#", r"(?P<n>\d+)", 1).replace("#", r"(?P<m>\d+)", 1)
        match = re.match(pattern, name)
        if match is not None and (left[-1] in "._" or match.end() == len(name)):
            numbers = iter([match[key] for key in ("n", "m") if key in match.groupdict()])
            return re.sub("#", lambda _: next(numbers), right) + name[match.end() :]  # noqa: B023
    return None


def _known(name: str, renamed: str | None) -> str:
    if renamed is None:
        raise BadInput(f"This GroundingDINO checkpoint has the weight '{name}', which SwinT-OGC has not.")
    return renamed


def read_checkpoint(file: Path) -> dict[str, Tensor]:
    """Return the tensors of a `.pth` or `.safetensors`, in whichever layout. Raises `BadInput`; runs no code of it."""
    import pickle

    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if file.suffix == ".safetensors":
            return dict(load_file(str(file)))
        state = torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise BadInput(f"The checkpoint {file} cannot be read ({' '.join(str(error).split())[:200]}).") from error
    state = state.get("model", state) if isinstance(state, dict) else {}
    return {name: tensor for name, tensor in state.items() if isinstance(tensor, torch.Tensor)}


def convert(source: Path, target: Path) -> str:
    """Write the checkpoint `source` to `target` in the layout that `target`'s name asks for, and return the layout.

    Raises:
        BadInput: `source` is no GroundingDINO checkpoint.
    """
    import torch
    from safetensors.torch import save_file

    from radl_bench.judges.grounding_config import config_beside

    state = read_checkpoint(source)
    layout = "original" if target.suffix == ".pth" else "hub"
    if layout_of(state) != layout:
        state = to_original(state) if layout == "original" else to_hub(state)
    target.parent.mkdir(parents=True, exist_ok=True)
    if layout == "original":
        torch.save({"model": state}, target)
        return layout
    config_beside(source).save_pretrained(target)
    own = {name: tensor.clone().contiguous() for name, tensor in state.items()}  # safetensors refuses shared memory
    save_file(own, str(target / "model.safetensors"), metadata={"format": "pt"})
    return layout


def main(arguments: list[str]) -> int:
    """Run the command; return its exit code."""
    try:
        if len(arguments) != 2:
            raise UsageError("Run: python -m radl_bench.judges.grounding_convert SOURCE TARGET")
        print(f"{arguments[1]} holds the checkpoint in the {convert(Path(arguments[0]), Path(arguments[1]))} layout.")
    except RadlBenchError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
