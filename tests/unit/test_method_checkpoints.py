"""Every method refuses the checkpoint of every other, and half of its own, with an error that says what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from gligen_parts import awake, gated_unet
from public_layouts import SD_BLOCKS, checkpoint
from safetensors.torch import load_file, save_file
from tiny import tiny_unet

from radl_bench.errors import BadInput
from radl_model.adapters.adapter import FusionAdapter
from radl_model.checkpoints.adapters import load_adapter, save_adapter
from radl_model.gligen.public import load_gligen
from radl_model.layers.variants import MIGC
from radl_model.layout_diffusion import pipeline as layout_diffusion
from radl_model.layout_diffusion.config import LayoutDiffusionConfig
from radl_model.layout_diffusion.network import LayoutDiffusionUNet

SMALL = LayoutDiffusionConfig(
    image_size=32, channels=32, multipliers=(1, 2, 2), attention=(2, 4), res_blocks=1, head_channels=16,
    encoder_width=32, encoder_layers=2, encoder_heads=4,
)  # fmt: skip
WIDTHS = dict.fromkeys(SD_BLOCKS, 32)


def radl(place: Path) -> Path:
    save_adapter(FusionAdapter.from_unet(tiny_unet()), place)
    return place


def migc(place: Path) -> Path:
    save_adapter(FusionAdapter.from_unet(tiny_unet(), replace(MIGC, position_hidden=16)), place)
    return place


def public_migc(place: Path) -> Path:
    torch.save(checkpoint("migc", WIDTHS, 32), place.with_suffix(".ckpt"))
    return place.with_suffix(".ckpt")


def gligen(place: Path) -> Path:
    save_adapter(awake(tiny_unet()), place)
    return place


def public_gligen(place: Path) -> Path:
    save_file(dict(gated_unet().state_dict()), place.with_suffix(".safetensors"))
    return place.with_suffix(".safetensors")


def own_layout_diffusion(place: Path) -> Path:
    layout_diffusion.save(LayoutDiffusionUNet(SMALL), place)
    return place


def public_layout_diffusion(place: Path) -> Path:
    torch.save(LayoutDiffusionUNet(SMALL).state_dict(), place.with_suffix(".pt"))
    return place.with_suffix(".pt")


FUSION, GLIGEN, PIXELS = (
    (radl, migc, public_migc),
    (gligen, public_gligen),
    (own_layout_diffusion, public_layout_diffusion),
)
LOADERS: dict[str, tuple[Callable[[Path], object], tuple[Callable[[Path], Path], ...]]] = {
    "RaDL and MIGC": (load_adapter, FUSION),
    "GLIGEN": (lambda place: load_gligen(place, tiny_unet()), GLIGEN),
    "LayoutDiffusion": (layout_diffusion.load, PIXELS),
}
WRONG = [(name, make) for name, (_, own) in LOADERS.items() for make in (*FUSION, *GLIGEN, *PIXELS) if make not in own]
RIGHT = [(name, make) for name, (_, own) in LOADERS.items() for make in own]


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("RADL_BENCH_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(layout_diffusion, "PUBLISHED", {"small": SMALL})


def test_all_pairs_are_here():
    assert (len(WRONG), len(RIGHT)) == (3 * 7 - 7, 7)


@pytest.mark.parametrize(("name", "make"), WRONG, ids=lambda v: v if isinstance(v, str) else v.__name__)
def test_the_checkpoint_of_another_method_is_refused(tmp_path, name, make):
    place = make(tmp_path / "place")
    with pytest.raises(BadInput, match=str(place.name)):
        LOADERS[name][0](place)


@pytest.mark.parametrize(("name", "make"), RIGHT, ids=lambda v: v if isinstance(v, str) else v.__name__)
def test_its_own_is_taken_and_half_of_it_is_not(tmp_path, name, make):
    """Half of the weights are gone, the file is whole."""
    place = make(tmp_path / "place")
    LOADERS[name][0](place)
    file = next(place.glob("*.safetensors")) if place.is_dir() else place
    state = load_file(file) if file.suffix == ".safetensors" else torch.load(file, weights_only=True)
    table = state.get("state_dict", state)
    for key in list(table)[len(table) // 2 :]:
        del table[key]
    if file.suffix == ".safetensors":
        save_file(state, file)
    else:
        torch.save(state, file)
    with pytest.raises(BadInput, match=str(place.name)):
        LOADERS[name][0](place)
