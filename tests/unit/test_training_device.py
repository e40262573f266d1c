"""Trainings on an accelerator, without one: torch's fake tensors carry a device "cuda" and refuse to mix it with the
CPU's, as a GPU would. They hold no numbers; what is shown is that every tensor of a loss lies where its module is.
Losses that need numbers on the way (LayoutDiffusion's times, the detector's boxes, the text tower's last words) are not
here.
"""

import contextlib
import copy
from types import SimpleNamespace

import pytest
import torch
from accelerate.utils import send_to_device
from torch import nn
from torch._subclasses.fake_tensor import FakeCopyMode, FakeTensorMode

from radl_bench.mini.train import adapter_stage, autoencoder, base, cache, classifier, encoder, recipe
from radl_bench.mini.train.text import build_text_encoder, build_tokenizer
from radl_model.train.adapted import AdaptedUNet
from radl_model.train.loop import Loop, LoopConfig
from radl_model.train.ways import way_named

SEED = 5


@pytest.fixture
def gpu():
    """Puts modules and batches on a device that computes nothing."""
    mode = FakeTensorMode(allow_non_fake_inputs=True)

    def put(thing):
        if not isinstance(thing, nn.Module):
            with mode:
                return send_to_device(thing, "cuda")
        with FakeCopyMode(mode):
            thing = copy.deepcopy(thing)
        with mode:
            for part in thing.modules():
                for name, own in part.named_parameters(recurse=False):
                    part._parameters[name] = nn.Parameter(own.detach().to("cuda"), own.requires_grad)
                part._buffers.update({name: own.to("cuda") for name, own in part.named_buffers(recurse=False)})
        return thing

    return SimpleNamespace(put=put, mode=mode)


def stays_there(gpu, loss_fn, module, batch) -> None:
    module = gpu.put(module)
    with gpu.mode:
        loss = loss_fn(module, gpu.put(batch), torch.Generator().manual_seed(SEED))
    assert loss.device.type == "cuda"
    assert loss.requires_grad


def test_a_tensor_left_on_the_cpu_is_noticed(gpu):
    """The stand-in does what a GPU does: the reason to believe the tests below."""
    with pytest.raises(Exception, match="same device"):
        stays_there(gpu, lambda m, b, rng: (m(b) + torch.rand(3, generator=rng)).sum(), nn.Linear(3, 3), torch.ones(3))


@pytest.fixture
def pool(tmp_path):
    autoencoder.build(width=8).save_pretrained(tmp_path / "vae")
    encoder.save(encoder.SceneEncoder(4), {"width": 4}, tmp_path / "encoder")
    (tmp_path / "latents").mkdir()
    cache.write_shard(
        0, tmp_path / "latents", tmp_path / "vae", 6, 3, 64, encoder_folder=tmp_path / "encoder", level_weights=(1, 1)
    )
    return cache.LatentPool(tmp_path / "latents")


def test_the_text_only_stages(gpu, pool):
    tokenizer = build_tokenizer()
    text, unet = build_text_encoder(tokenizer), base.build_unet((32, 64))
    text.set_attn_implementation("eager")
    lesson = recipe.Lesson(pool, tokenizer, batch_size=4, tokens=32, things=1.0)
    plain = base.BaseTraining([lesson], tokenizer, 0, noisy=0.5)
    stays_there(gpu, plain.loss, base.TextToLatent(unet, text), plain.make_batch(0))
    aligned = recipe.RecipeTraining([lesson], tokenizer, 0, recipe.Recipe(min_snr=5.0))
    stays_there(gpu, aligned.loss, recipe.AlignedBase(unet, text, goal_width=24), aligned.make_batch(0))


def test_the_adapter_stage(gpu, pool, monkeypatch):
    """With GLIGEN; RaDL's and MIGC's layers count the instances of a batch, which fake tensors cannot."""
    asked = []

    def autocast(device):
        asked.append(device)
        return contextlib.nullcontext()

    monkeypatch.setattr(adapter_stage, "autocast", autocast)
    tokenizer = build_tokenizer()
    parts = base.TextToLatent(base.build_unet((32, 64)), build_text_encoder(tokenizer))
    pipe = base.pipeline(parts, tokenizer, autoencoder.build(width=8))
    module = AdaptedUNet(pipe.unet, way_named("gligen").make(pipe.unet, {}))
    training = adapter_stage.AdapterTraining(pipe, pool, 4, SEED, {"first_timestep": 200})
    width = pipe.text_encoder.config.hidden_size

    class Kept:
        """Texts that were encoded before: to look one up, a fake tensor has no numbers."""

        def find(self, ids):
            return torch.zeros(*ids.shape, width, device=ids.device), torch.zeros(len(ids), width, device=ids.device)

    training.texts.kept = Kept()
    stays_there(gpu, training.loss, module, training.make_batch(0))
    assert asked == ["cuda"]


def test_the_stages_on_pictures(gpu):
    stays_there(
        gpu, autoencoder.loss_fn, autoencoder.AutoencoderLoss(autoencoder.build(width=8)), autoencoder.make_batch(0, 2)
    )
    stays_there(gpu, encoder.loss_fn, encoder._Told(encoder.SceneEncoder(4)), encoder.make_batch(0, 2, SEED))
    stays_there(gpu, classifier.loss_fn, classifier.ThingClassifier(4), classifier.make_batch(0, 2, SEED))


def test_a_loop_sends_batches_there_and_shows_its_figures_on_the_cpu(tmp_path):
    """Batches follow the module; sheets and figures get it on the CPU, with the averaged weights, and give it back."""
    seen = []

    def loss_fn(module, batch, rng):
        seen.append(batch["x"].device.type)
        return module(batch["x"]).sum()

    def on_sample(module, step):
        seen.append(module.weight.device.type)

    config = LoopConfig(steps=1, batch_size=2, lr=0.1, precision="no")
    loop = Loop(nn.Linear(2, 1), lambda step: {"x": torch.ones(2, 2)}, loss_fn, config, tmp_path, on_sample)
    loop.save()
    loop.accelerator = SimpleNamespace(
        device=torch.device("meta"), is_main_process=True, unwrap_model=lambda module: module, scaler=None
    )
    with pytest.raises(Exception, match="meta"):
        loop._loss(loop.parts[0])  # the module itself is still on the CPU
    loop.sample()
    assert seen == ["meta", "cpu"]
    assert loop.module.weight.device.type == "meta"
    assert loop.resume()
    assert {average.device.type for average in loop.ema.shadow_params} == {"meta"}
