"""The public checkpoints of MIGC, MIGC++ and RaDL, read from the user's disk and converted once to an adapter folder.

What kind of checkpoint it is, and each setting of the layer, follows from keys and shapes; every key is accounted for.
Files are read as tensors only (`weights_only=True`), so none of them can run code.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from radl_model.adapters.adapter import FusionAdapter
from radl_model.checkpoints.conversion import Conversion, converted, refuse
from radl_model.checkpoints.public_keys import IGNORED, PublicModule, infer, our_key, split_key
from radl_model.checkpoints.tensors import read_tensors, tensor_problems
from radl_model.errors import BadInput

SD_LAYERS = (
    "mid_block.attentions.0",
    "up_blocks.1.attentions.0",
    "up_blocks.1.attentions.1",
    "up_blocks.1.attentions.2",
)
"""Attentions that the public checkpoints have modules for: the 8 x 8 bottleneck and the 16 x 16 up path."""
FORMAT = 1
"""Version of the conversion; a new one makes old folders in the cache stale."""


def read_public(
    file: str | Path, *, context: str | None = None, layers: Sequence[str] = SD_LAYERS, allow_unknown: bool = False
) -> Conversion:
    """Read and check a public checkpoint.

    Args:
        file: `.ckpt`, `.pt`, `.bin` or `.safetensors`, its tensors at the top level or under "state_dict".
        context: how (3) joins label and box, where the shapes fit two readings: keys of twice the text width are
            `channel_pooled` as in RaDL's released code, unless this says `channel_tokens`.
        layers: attentions that must have a module; another base may have others.
        allow_unknown: leave unknown keys out with a note, instead of refusing the file.

    Raises:
        MissingWeights: no such file.
        BadInput: it cannot be read, or keys are unknown, missing or of another shape; a sentence for each.
        UsageError: `context` does not fit the shapes.
    """
    file = Path(file).expanduser()
    modules, unknown, notes = _sort_keys(read_tensors(file), file)
    wanted = {f"{layer}.transformer_blocks.0.attn2" for layer in layers}
    problems = [f"There is no module for the layer {name}." for name in sorted(wanted - set(modules))]
    problems += [f"The layer {name} is none that this base has." for name in sorted(set(modules) - wanted)]
    for name, weights in modules.items():
        problems += tensor_problems({f"{key} of {name}": tensor for key, tensor in weights.items()})
    if unknown and not allow_unknown:
        problems += [f"The key {key} is unknown." for key in unknown]
    elif unknown:
        notes.append(f"{len(unknown)} unknown keys were left out, the first of them {unknown[0]}.")
    refuse(file, problems)
    found = {name: infer(module, f"{file.name}, {name}", context) for name, module in modules.items()}
    first = next(iter(found.values()))
    for name, module in found.items():
        if module.config != first.config:
            raise BadInput(f"The checkpoint {file} mixes two kinds of module; {name} is not like the first one.")
    adapter, problems = _fill(modules, found)
    refuse(file, problems)
    return Conversion(first.kind, adapter, (*notes, *first.notes))


def convert_public(
    file: str | Path, *, context: str | None = None, layers: Sequence[str] = SD_LAYERS, allow_unknown: bool = False
) -> Path:
    """Return the adapter folder of a public checkpoint in the user's cache, converting it on the first call.

    The cache is `adapters/` under `$RADL_BENCH_HOME` (by default the platform's cache folder); a folder is named by the
    file's sha256 and the options, and holds `config.json`, safetensors and `source.json` with the notes. Arguments and
    errors as `read_public`.
    """
    options = {"format": FORMAT, "context": context, "layers": list(layers), "allow_unknown": allow_unknown}
    return converted(
        Path(file).expanduser(),
        options,
        lambda own: read_public(own, context=context, layers=layers, allow_unknown=allow_unknown),
    )


def _sort_keys(tensors: dict[str, Tensor], file: Path) -> tuple[dict[str, dict[str, Tensor]], list[str], list[str]]:
    """Split the table into modules by layer name, unknown keys, and notes on what is known and not needed."""
    modules: dict[str, dict[str, Tensor]] = {}
    unknown, ignored = [], []
    for key, tensor in tensors.items():
        place = split_key(key)
        if place is None:
            unknown.append(key)
        elif IGNORED.search(place[1]):
            ignored.append(key)
        else:
            modules.setdefault(place[0], {})[place[1]] = tensor
    if not modules and any(".fuser." in key for key in tensors):
        raise BadInput(f"The checkpoint {file} holds GLIGEN's gated layers; run it with the method gligen.")
    if not modules:
        raise BadInput(
            f"The checkpoint {file} is none of MIGC, MIGC++ or RaDL: no key names a module '.migc.' or '.radl.' in a "
            f"UNet's block. Its first key is {next(iter(tensors), 'missing')}."
        )
    order = sorted(modules, key=lambda name: (not name.startswith("mid"), name))
    notes = []
    if ignored:
        notes.append(f"{len(ignored)} keys that no layer reads were left out, the first of them {ignored[0]}.")
    return {name: modules[name] for name in order}, unknown, notes


def _fill(modules: dict[str, dict[str, Tensor]], found: dict[str, PublicModule]) -> tuple[FusionAdapter, list[str]]:
    """Build the adapter without memory of its own and hand it the tensors; a sentence for each that does not fit."""
    config = next(iter(found.values())).config
    with torch.device("meta"):
        adapter = FusionAdapter({name: module.size for name, module in found.items()}, config.to_dict())
    wanted = {key: tuple(value.shape) for key, value in adapter.state_dict().items()}
    state, problems = {}, []
    for name, module in modules.items():
        for public, tensor in module.items():
            inner = our_key(public)
            key = f"layers.{name.replace('.', '-')}.{inner}"
            if inner is None or key not in wanted:
                problems.append(f"The key {public} of {name} is unknown.")
                continue
            # 1x1 convolutions are linear maps here.
            value = tensor.flatten(1) if public.endswith((".conv1.weight", ".conv2.weight")) else tensor
            if tuple(value.shape) != wanted[key]:
                problems.append(f"{public} of {name} has the shape {tuple(tensor.shape)}, not {wanted[key]}.")
            state[key] = value.contiguous()
    for key in sorted(set(wanted) - set(state)):
        layer, inner = key.removeprefix("layers.").split(".", 1)
        problems.append(f"The weight {inner} of {layer.replace('-', '.')} is missing.")
    if not problems:
        adapter.load_state_dict(state, assign=True)
    return adapter, problems
