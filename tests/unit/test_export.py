"""Adapters written in the public key layouts: read back equal, by this project and by diffusers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file

from radl_model.adapters.adapter import FusionAdapter
from radl_model.checkpoints.adapters import load_adapter, save_adapter
from radl_model.checkpoints.export import export, gated_unet, main, public_tensors
from radl_model.checkpoints.public import convert_public, read_public
from radl_model.errors import UsageError
from radl_model.gligen.adapter import GligenAdapter, block_sizes
from radl_model.gligen.config import GligenConfig
from radl_model.gligen.public import read_gligen
from radl_model.layers.variants import variant
from radl_model.pipelines.pipeline import RaDLPipeline
from tests.public_layouts import checkpoint
from tests.tiny import tiny_pipeline, tiny_unet, wake

LAYERS = ("mid_block.attentions.0", "up_blocks.1.attentions.0", "up_blocks.1.attentions.1")
CALL = {
    "prompt": "a red car near a dog",
    "phrases": ["a red car", "a dog"],
    "boxes": [[0.1, 0.2, 0.5, 0.9], [0.5, 0.3, 1.0, 0.8]],
    "verbs": "chasing",
    "num_inference_steps": 2,
}


def unet() -> UNet2DConditionModel:
    return tiny_unet(attention_head_dim=8)


def fusion(name: str, folder: Path, **changes: object) -> Path:
    adapter = FusionAdapter.from_unet(unet(), variant(name, **changes))
    wake(adapter)
    save_adapter(adapter, folder, half=False)
    return folder


def image(adapter: FusionAdapter | GligenAdapter) -> np.ndarray:
    pipe = tiny_pipeline(cls=RaDLPipeline)
    pipe.register_modules(unet=unet())
    if isinstance(adapter, FusionAdapter):
        adapter.attach(pipe.unet)
        pipe.register_modules(adapter=adapter)
    else:
        adapter.attach(pipe.unet)
        pipe.method = adapter
    return pipe(**CALL, generator=torch.Generator().manual_seed(0), output_type="np").images[0]


@pytest.mark.parametrize("suffix", ["safetensors", "ckpt"])
@pytest.mark.parametrize(("name", "kind"), [("migc", "MIGC"), ("migc++", "MIGC++"), ("release", "RaDL")])
def test_what_is_written_is_read_back_equal(tmp_path: Path, name: str, kind: str, suffix: str) -> None:
    folder = fusion(name, tmp_path / "adapter")
    assert export(folder, tmp_path / f"public.{suffix}") == []
    found = read_public(tmp_path / f"public.{suffix}", layers=LAYERS)
    before = FusionAdapter.from_pretrained(folder)
    assert found.kind == kind
    assert found.adapter.fusion_config == before.fusion_config
    own, back = before.state_dict(), found.adapter.state_dict()
    assert own.keys() == back.keys()
    assert all(torch.equal(own[key], back[key]) for key in own)


@pytest.mark.parametrize("kind", ["migc", "migc++", "radl"])
def test_names_and_shapes_are_those_of_the_public_files(tmp_path: Path, kind: str) -> None:
    """Against the table of names and shapes from which the importer's own tests are made."""
    import radl_model.checkpoints.public as public

    blocks = {"middle_block.1": 64, "output_blocks.3.1": 32, "output_blocks.4.1": 32, "output_blocks.5.1": 32}
    table = checkpoint(kind, blocks, 32)
    torch.save(table, tmp_path / "theirs.ckpt")
    adapter = read_public(tmp_path / "theirs.ckpt", layers=public.SD_LAYERS).adapter
    flat = table if kind == "migc++" else table["state_dict"]
    wanted = {key: value for key, value in flat.items() if "text_encoder" not in key and "verb_embedding" not in key}
    written = public_tensors(adapter)
    assert written.keys() == wanted.keys()
    assert all(torch.equal(written[key], wanted[key]) for key in wanted)


def test_the_images_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the way that `RaDLPipeline` takes: the file is converted to a folder in the cache, and that is loaded."""
    monkeypatch.setenv("RADL_BENCH_HOME", str(tmp_path / "home"))
    folder = fusion("release", tmp_path / "adapter")
    export(folder, tmp_path / "public.safetensors")
    back = load_adapter(convert_public(tmp_path / "public.safetensors", layers=LAYERS))
    assert np.array_equal(image(load_adapter(folder)), image(back))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "paper"}, "no place for the weight enhancement"),
        ({"name": "migc", "mask_prior": True}, "mask_prior=True \\(public: False\\)|no place for the weight"),
        ({"name": "release", "verb_mode": "verb_phrase_or_prep"}, "verb_mode='verb_phrase_or_prep'"),
    ],
)
def test_what_has_no_public_form_is_refused(tmp_path: Path, changes: dict[str, object], words: str) -> None:
    folder = fusion(**changes, folder=tmp_path / "adapter")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=words):
        export(folder, tmp_path / "public.safetensors")
    assert not (tmp_path / "public.safetensors").exists()


def test_gligen_has_diffusers_names_and_comes_back(tmp_path: Path) -> None:
    base = unet()
    adapter = GligenAdapter.from_unet(base, GligenConfig(active_fraction=0.8))
    wake(adapter)
    save_adapter(adapter, tmp_path / "adapter", half=False)
    remarks = export(tmp_path / "adapter", tmp_path / "layers.safetensors")
    assert remarks == ["active_fraction = 0.8 is a setting of sampling, and is not in the file."]
    assert "mid_block.attentions.0.transformer_blocks.0.fuser.alpha_attn" in load_file(tmp_path / "layers.safetensors")
    heads = {name: size["heads"] for name, size in block_sizes(base).items()}
    back = read_gligen(tmp_path / "layers.safetensors", heads).adapter.eval()
    back.settings = adapter.settings
    assert np.array_equal(image(adapter.eval()), image(back))


def test_diffusers_own_gated_unet_takes_the_layers_and_computes_the_same(tmp_path: Path) -> None:
    base = unet()
    adapter = GligenAdapter.from_unet(base, GligenConfig()).eval()
    wake(adapter)
    gated_unet(adapter, base).save_pretrained(tmp_path / "unet")
    theirs = UNet2DConditionModel.from_pretrained(tmp_path / "unet").eval()
    rng = torch.Generator().manual_seed(1)
    latents, states = torch.randn(1, 4, 16, 16, generator=rng), torch.randn(1, 77, 32, generator=rng)
    texts, valid = torch.randn(1, 30, 32, generator=rng), (torch.arange(30) < 2)[None]
    corners = torch.rand(1, 30, 2, generator=rng) / 2
    boxes = torch.cat([corners, corners + 0.4], -1)
    from radl_model.gligen.layers import attention_arguments

    given = {"boxes": boxes, "positive_embeddings": texts, "masks": valid.float()}
    with torch.no_grad():
        plain = theirs(latents, 500, states, return_dict=False)[0]
        gated = theirs(latents, 500, states, cross_attention_kwargs={"gligen": given}, return_dict=False)[0]
        adapter.attach(base)
        arguments = attention_arguments(adapter.ground(texts, boxes, valid))
        ours = base(latents, 500, states, cross_attention_kwargs=arguments, return_dict=False)[0]
    assert (gated - plain).abs().max() > 1e-2
    assert torch.allclose(ours, gated, atol=1e-5)


def test_the_command_writes_or_says_why_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = fusion("migc", tmp_path / "adapter", active_fraction=0.3)
    assert main([str(folder), str(tmp_path / "public.bin")]) == 2
    assert "should end in .safetensors or .ckpt" in capsys.readouterr().err
    assert main([str(folder), str(tmp_path / "public.ckpt")]) == 0
    assert "active_fraction = 0.3 is a setting of sampling" in capsys.readouterr().out
    assert main([str(tmp_path / "nowhere"), str(tmp_path / "x.ckpt")]) == 3
    save_adapter(FusionAdapter.from_unet(tiny_unet(), variant("migc")), tmp_path / "four")
    assert main([str(tmp_path / "four"), str(tmp_path / "x.ckpt")]) == 2
    assert "have 8 heads; this adapter has 4" in capsys.readouterr().err
