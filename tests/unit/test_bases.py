"""Loading bases: single files in the original layout, folders, the hub's cache; a sentence for what does not fit."""

from __future__ import annotations

import json
import os
import shutil

import pytest
import torch
from ldm_layout import ldm_state
from safetensors.torch import save_file
from tiny import tiny_pipeline

from radl_bench.errors import BadInput, MissingWeights, UsageError
from radl_model.adapters.adapter import FusionAdapter, layer_names
from radl_model.checkpoints.places import resolve_base
from radl_model.layers.config import FusionConfig
from radl_model.pipelines import sd14
from radl_model.pipelines.bases import check_shape
from radl_model.pipelines.pipeline import RaDLPipeline

# The shape of v1 on reduced widths: four levels, two blocks each, attention in three of them.
UNET = {
    "block_out_channels": (32, 32, 64, 64),
    "cross_attention_dim": 32,
    "attention_head_dim": 4,
    "sample_size": 16,
    "norm_num_groups": 8,
}
VAE = {"block_out_channels": (8, 8, 8, 8), "norm_num_groups": 4, "layers_per_block": 1}
TEXT = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "projection_dim": 32,
}


def shaped(unet=None, vae=None, text=None):
    """A v1 pipeline with random weights, of v1.4's size unless something is reduced."""
    from diffusers import AutoencoderKL, PNDMScheduler, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    torch.manual_seed(0)
    return RaDLPipeline(
        vae=AutoencoderKL(**{**sd14.VAE, **(vae or {})}),
        text_encoder=CLIPTextModel(CLIPTextConfig(**{**sd14.TEXT, **(text or {})})),
        tokenizer=sd14.clip_tokenizer(),
        unet=UNet2DConditionModel(**{**sd14.UNET, **(unet or {})}),
        scheduler=PNDMScheduler(**sd14.SCHEDULER),
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(pipeline, its single file, its configuration folder)."""
    folder = tmp_path_factory.mktemp("single")
    pipe = shaped(UNET, VAE, TEXT)
    sd14.write_config(folder / "config", UNET, VAE, TEXT)
    save_file(ldm_state(pipe), folder / "model.safetensors")
    return pipe, folder / "model.safetensors", folder / "config"


def same(a, b):
    for part in ("unet", "vae", "text_encoder"):
        ours, theirs = getattr(a, part).state_dict(), getattr(b, part).state_dict()
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_a_single_file_in_the_original_layout_loads_without_a_hub(made, monkeypatch):
    pipe, file, config = made
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    adapter = FusionAdapter.from_unet(pipe.unet, FusionConfig(position_hidden=16))
    loaded = RaDLPipeline.from_pretrained(file, adapter=adapter, config=str(config), local_files_only=True)
    same(pipe, loaded)
    assert loaded.tokenizer.model_max_length == 77
    assert type(loaded.scheduler).__name__ == "PNDMScheduler"
    assert loaded.adapter.attached(loaded.unet)


def test_the_configuration_of_a_file_is_that_of_v1_4(tmp_path):
    """860 M parameters in 16 transformer blocks, layers on 8 x 8 and 16 x 16: dossier 1.1 of the published model."""
    from diffusers import UNet2DConditionModel

    sd14.write_config(tmp_path)
    values = json.loads((tmp_path / "unet" / "config.json").read_text())
    assert values["down_block_types"] == ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"]
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(values)
        adapter = FusionAdapter.from_unet(unet)
    assert sum(p.numel() for p in unet.parameters()) == 859_520_964
    assert len(unet.attn_processors) == 32
    assert layer_names(unet) == [
        "mid_block.attentions.0.transformer_blocks.0.attn2",
        *(f"up_blocks.1.attentions.{i}.transformer_blocks.0.attn2" for i in range(3)),
    ]
    sizes = {name: adapter.config["sizes"][name]["channels"] for name in layer_names(unet)}
    assert set(sizes.values()) == {1280}
    index = json.loads((tmp_path / "model_index.json").read_text())
    assert all((tmp_path / part).is_dir() for part in ("unet", "vae", "text_encoder", "tokenizer", "scheduler"))
    assert index["_class_name"] == "StableDiffusionPipeline"


def test_a_folder_of_another_width_loads_and_an_adapter_of_the_first_is_refused(made, tmp_path):
    pipe, _, _ = made
    pipe.save_pretrained(tmp_path / "base")
    same(pipe, RaDLPipeline.from_pretrained(tmp_path / "base"))
    with pytest.raises(UsageError, match="was made for"):
        RaDLPipeline.from_pretrained(
            tmp_path / "base", adapter=FusionAdapter.from_unet(tiny_pipeline().unet, FusionConfig(position_hidden=16))
        )


def save_keys(file, *names):
    save_file({name: torch.zeros(1) for name in names}, file)
    return file


def test_files_that_are_no_v1_are_sentences(tmp_path):
    sdxl = save_keys(tmp_path / "xl.safetensors", "conditioner.embedders.1.model.ln_final.weight")
    with pytest.raises(UsageError, match="Stable Diffusion XL"):
        RaDLPipeline.from_pretrained(sdxl)
    unet = "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_q.weight"
    part = save_keys(tmp_path / "part.safetensors", unet, "first_stage_model.decoder.conv_in.weight")
    with pytest.raises(UsageError, match="no weights of the CLIP text encoder"):
        RaDLPipeline.from_pretrained(part)
    lora = save_keys(tmp_path / "lora.safetensors", "lora_unet_down.lora_up.weight")
    with pytest.raises(UsageError, match="no weights of the UNet"):
        RaDLPipeline.from_pretrained(lora)
    torn = tmp_path / "torn.safetensors"
    torn.write_bytes(b"\x10\0\0\0\0\0\0\0{")
    with pytest.raises(BadInput, match="not a readable safetensors"):
        RaDLPipeline.from_pretrained(torn)
    with pytest.raises(BadInput, match="There is no file"):
        RaDLPipeline.from_pretrained(tmp_path / "absent.safetensors")


def index_of(folder, **parts):
    folder.mkdir()
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "SomePipeline", **parts}))
    return folder


def test_folders_that_are_no_v1_are_sentences(tmp_path):
    known = {part: ["a", "b"] for part in ("vae", "text_encoder", "tokenizer", "unet", "scheduler")}
    with pytest.raises(UsageError, match="has the part 'text_encoder_2'"):
        RaDLPipeline.from_pretrained(index_of(tmp_path / "xl", **known, text_encoder_2=["a", "b"]))
    with pytest.raises(UsageError, match="no part 'unet'"):
        RaDLPipeline.from_pretrained(index_of(tmp_path / "no", vae=1, text_encoder=1, tokenizer=1, scheduler=1))
    with pytest.raises(BadInput, match="folder 'vae' is missing"):
        RaDLPipeline.from_pretrained(index_of(tmp_path / "half", **known))
    (tmp_path / "odd").mkdir()
    with pytest.raises(BadInput, match=r"model_index\.json is missing"):
        RaDLPipeline.from_pretrained(tmp_path / "odd")


def test_a_damaged_part_is_a_sentence(tmp_path):
    tiny_pipeline().save_pretrained(tmp_path / "base")
    next((tmp_path / "base" / "unet").glob("*.safetensors")).write_bytes(b"nothing")
    with pytest.raises(BadInput, match="cannot be loaded"):
        RaDLPipeline.from_pretrained(tmp_path / "base")


def test_parts_that_do_not_fit_are_sentences():
    pipe = tiny_pipeline()
    pipe.unet.register_to_config(in_channels=9)
    with pytest.raises(UsageError, match="inpainting"):
        check_shape(pipe, "base")
    pipe.unet.register_to_config(in_channels=4, cross_attention_dim=77)
    with pytest.raises(UsageError, match="text of width 77"):
        check_shape(pipe, "base")
    pipe.unet.register_to_config(cross_attention_dim=32, addition_embed_type="text_time")
    with pytest.raises(UsageError, match="wants more than"):
        check_shape(pipe, "base")


def hub_copy(home, name, source):
    """A folder as the hub's client leaves it."""
    repo = home / f"models--{name.replace('/', '--')}"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text("abc")
    shutil.copytree(source, repo / "snapshots" / "abc")
    return repo / "snapshots" / "abc"


@pytest.fixture
def hub(tmp_path, monkeypatch):
    home = tmp_path / "hub"
    home.mkdir()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(home))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    tiny_pipeline().save_pretrained(tmp_path / "base")
    return home, tmp_path / "base"


def test_a_hub_id_is_found_in_the_hubs_cache(hub):
    home, base = hub
    copy = hub_copy(home, "someone/fine-tune", base)
    assert resolve_base("someone/fine-tune") == copy
    with pytest.raises(MissingWeights, match="someone/other are not on this machine"):
        resolve_base("someone/other")


def test_a_copy_that_was_cut_short_is_a_sentence(hub):
    home, base = hub
    copy = hub_copy(home, "someone/fine-tune", base)
    os.remove(next((copy / "vae").glob("*.safetensors")))
    with pytest.raises(MissingWeights, match="incomplete: no weights in its folder 'vae'"):
        resolve_base("someone/fine-tune")


def test_pickled_checkpoints_are_turned_away(tmp_path):
    (tmp_path / "model.ckpt").write_bytes(b"x")
    with pytest.raises(UsageError, match="as safetensors"):
        resolve_base(tmp_path / "model.ckpt")


@pytest.mark.slow
@pytest.mark.skipif(
    "RADL_BENCH_FULL_SIZE" not in os.environ, reason="writes and reads 2 GB; set RADL_BENCH_FULL_SIZE=1"
)
def test_the_full_size_loads_from_one_file(tmp_path):
    """Random weights at v1.4's size, half precision: written in the original layout, read with our configuration."""
    with torch.device("meta"):
        pipe = shaped()
    rng = torch.Generator().manual_seed(0)
    for part in (pipe.unet, pipe.vae, pipe.text_encoder):
        part.half().to_empty(device="cpu")
        for value in part.state_dict().values():
            if value.is_floating_point():
                value.uniform_(-0.02, 0.02, generator=rng)
            else:
                value.copy_(torch.arange(value.numel()).view_as(value))
    file = tmp_path / "v1.safetensors"
    save_file(ldm_state(pipe), file)
    assert file.stat().st_size > 2e9
    loaded = RaDLPipeline.from_pretrained(file, dtype=torch.float16)
    same(pipe, loaded)
    assert loaded.unet.dtype == torch.float16
