"""From layouts to images with LayoutDiffusion, and where its weights come from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from radl_model.checkpoints.kinds import check_kind
from radl_model.checkpoints.tensors import read_tensors
from radl_model.errors import BadInput, MissingWeights
from radl_model.layout_diffusion.blocks import ObjectAwareCrossAttention
from radl_model.layout_diffusion.config import PUBLISHED, LayoutDiffusionConfig
from radl_model.layout_diffusion.labels import Encoded, empty
from radl_model.layout_diffusion.network import LayoutDiffusionUNet
from radl_model.layout_diffusion.solver import solve
from radl_model.numbers import check_finite, check_steps

WEIGHTS = "model.safetensors"


def load(place: Path) -> LayoutDiffusionUNet:
    """Load a network from a folder (`config.json`, `model.safetensors`) or from a published state dict (`.pt`).

    Raises:
        MissingWeights: nothing is there.
        BadInput: it is the checkpoint of something else, or only a part of one.
    """
    if not place.exists():
        raise MissingWeights(f"There are no LayoutDiffusion weights at {place}.")
    check_kind(place, LayoutDiffusionUNet.__name__)
    file = place / WEIGHTS if place.is_dir() else place
    state = read_tensors(file)
    config = _config_beside(place) if place.is_dir() else _config_of(state, file)
    with torch.device("meta"):
        network = LayoutDiffusionUNet(config)
    _check(state, network, file)
    network.to_empty(device="cpu")
    network.load_state_dict(state)
    for module in network.modules():
        if isinstance(module, ObjectAwareCrossAttention):
            module.reset_patches()
    return network.eval()


def save(network: LayoutDiffusionUNet, folder: Path) -> None:
    """Write a folder that `load` reads, the weights in half precision."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    save_file({k: v.half().contiguous() for k, v in network.state_dict().items()}, folder / WEIGHTS)
    (folder / "config.json").write_text(json.dumps(network.config.to_dict(), indent=1) + "\n", "utf-8")


@torch.no_grad()
def sample(
    network: LayoutDiffusionUNet,
    layouts: Sequence[Encoded],
    generators: Sequence[torch.Generator],
    evaluations: int = 25,
    guidance: float = 1.0,
) -> Tensor:
    """Return images in -1..1, float32 [N, 3, S, S].

    Args:
        generators: one on the CPU an image; it draws the image's noise.
        evaluations: calls of the solver's model, each of two passes of the network.
        guidance: s in e_c + s (e_c - e_u), as published (1 is 2 in the usual notation); 0 runs one pass.

    Raises:
        UsageError: `evaluations` is no whole number from 1 to 1000, or `guidance` is not finite.
    """
    check_steps(evaluations)
    check_finite("guidance", guidance)
    config, weight = network.config, network.layout_encoder.obj_bbox_embedding.weight
    device, dtype = weight.device, torch.promote_types(torch.float32, weight.dtype)
    side = config.image_size
    noise = torch.stack([torch.randn(3, side, side, generator=g) for g in generators]).to(device, dtype)
    none = [empty(config)] * len(layouts) if guidance else []
    classes = torch.stack([entry.classes for entry in [*layouts, *none]]).to(device)
    boxes = torch.stack([entry.boxes for entry in [*layouts, *none]]).to(device)
    copies = 2 if guidance else 1

    def predicted(x: Tensor, t: float) -> Tensor:
        times = torch.full((len(classes),), 1000 * max(t - 1 / 1000, 0.0), device=device)
        out = network(x.repeat(copies, 1, 1, 1), times, classes, boxes)[:, :3].to(dtype)
        wanted, free = out[: len(x)], out[len(x) :]
        return wanted + guidance * (wanted - free) if guidance else wanted

    return solve(predicted, noise, evaluations).clamp(-1, 1)


def _config_beside(folder: Path) -> LayoutDiffusionConfig:
    file = folder / "config.json"
    try:
        values = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BadInput(f"{file} cannot be read ({error}).") from None
    if not isinstance(values, dict):
        raise BadInput(f"{file} is not a table.")
    return LayoutDiffusionConfig.from_dict(values)


def _config_of(state: dict[str, Tensor], file: Path) -> LayoutDiffusionConfig:
    """The published config with these keys; the number of input blocks tells 128 from 256 pixels."""
    if "layout_encoder.obj_class_embedding.weight" not in state:
        raise BadInput(f"{file} is no LayoutDiffusion checkpoint: it has no layout encoder.")
    for config in PUBLISHED.values():
        with torch.device("meta"):
            wanted = LayoutDiffusionUNet(config).state_dict()
        if wanted.keys() == state.keys():
            return config
    known = ", ".join(PUBLISHED)
    raise BadInput(
        f"{file} has {len(state)} weights, which is none of the published models ({known}): it is cut short, or a "
        "model of another kind. Give a folder with its config.json."
    )


def _check(state: dict[str, Tensor], network: LayoutDiffusionUNet, file: Path) -> None:
    """Every weight has its place and its shape, or the file is refused: nothing is left at its start."""
    wanted = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    problems = [f"{key} is missing" for key in sorted(wanted.keys() - state.keys())]
    problems += [f"{key} is unknown" for key in sorted(state.keys() - wanted.keys())]
    problems += [
        f"{key} has the shape {tuple(state[key].shape)}, not {shape}"
        for key, shape in wanted.items()
        if key in state and tuple(state[key].shape) != shape
    ]
    if problems:
        raise BadInput(f"{file} does not fit: {'; '.join(problems[:5])} ({len(problems)} problems in all).")
