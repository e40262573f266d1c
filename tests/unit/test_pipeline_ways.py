"""Ways people use a diffusers pipeline: compiling, offloading, LoRA, callbacks, saving, embeddings, lists."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
import torch
from tiny import tiny_pipeline, wake
from torch import nn

import radl_model.pipelines.pipeline
from radl_bench.errors import UsageError
from radl_model.adapters.adapter import FusionAdapter
from radl_model.layers.config import FusionConfig
from radl_model.pipelines.pipeline import RaDLPipeline

CALL = {
    "prompt": "a red car leaning against a blue dog",
    "phrases": ["a red car", "a blue dog"],
    "boxes": [[0.1, 0.2, 0.5, 0.9], [0.4, 0.1, 0.9, 0.6]],
    "num_inference_steps": 4,
    "output_type": "np",
}


def make(config=None):
    pipe = tiny_pipeline(cls=RaDLPipeline)
    adapter = FusionAdapter.from_unet(pipe.unet, config or FusionConfig(position_hidden=16, mask_mode="area"))
    wake(adapter)
    pipe.register_modules(adapter=adapter)
    return pipe


def noise(seed=1):
    return torch.Generator().manual_seed(seed)


def test_the_example_of_the_docstring_runs():
    from radl_bench.errors import MissingWeights
    from radl_model.checkpoints.places import resolve_adapter

    try:
        resolve_adapter("mini", "radl")
    except MissingWeights as error:
        pytest.skip(str(error))
    finder = doctest.DocTestFinder(recurse=False)
    (example,) = finder.find(RaDLPipeline, "RaDLPipeline", globs=vars(radl_model.pipelines.pipeline).copy())
    assert len(example.examples) > 5
    assert doctest.DocTestRunner().run(example).failed == 0


@pytest.mark.slow
def test_a_compiled_unet_makes_the_same_image_and_is_compiled_once():
    pipe = make()
    want = pipe(generator=noise(), **CALL).images
    compiled = []

    def backend(graph, _):
        compiled.append(graph)
        return graph.forward

    torch._dynamo.reset()
    pipe.unet = torch.compile(pipe.unet, backend=backend)
    assert np.abs(pipe(generator=noise(), **CALL).images - want).max() < 1e-5
    count = len(compiled)
    other = {**CALL, "boxes": [[0.2, 0.2, 0.6, 0.6], [0.5, 0.5, 0.9, 0.95]]}
    pipe(generator=noise(), **other)
    assert count > 0
    assert len(compiled) == count
    torch._dynamo.reset()


def test_model_offload_leaves_the_adapter_beside_the_unet():
    """No accelerator here, so diffusers' hooks move the models from and to the CPU."""
    pipe = make()
    want = pipe(generator=noise(), **CALL).images
    pipe.enable_model_cpu_offload(device="cpu")
    assert np.abs(pipe(generator=noise(), **CALL).images - want).max() < 1e-5
    assert hasattr(pipe.unet, "_hf_hook")
    assert not any(hasattr(m, "_hf_hook") for m in pipe.adapter.modules())


class Low(nn.Module):
    """A linear map with a low-rank addition, as LoRA puts it in the place of a projection."""

    def __init__(self, base, rank=2):
        super().__init__()
        self.base = base
        self.down, self.up = nn.Linear(base.in_features, rank, bias=False), nn.Linear(rank, base.out_features)

    def forward(self, x):
        return self.base(x) + self.up(self.down(x))


def test_lora_on_the_frozen_attention_reaches_the_instances():
    """Equation (1) uses whatever stands in `to_q`, `to_k`, `to_v` and `to_out`."""
    pipe = make()
    before = pipe(generator=noise(), **CALL).images
    torch.manual_seed(0)
    for name, _ in pipe.adapter.named_layers():
        attn = pipe.unet.get_submodule(name)
        attn.to_k = Low(attn.to_k)
    assert np.abs(pipe(generator=noise(), **CALL).images - before).max() > 1e-4


def load_lora(pipe, folder):
    """LoRA weights on the UNet's attentions, written and loaded."""
    peft = pytest.importorskip("peft", reason="LoRA files need the package peft")
    from diffusers.utils import convert_state_dict_to_diffusers

    donor = tiny_pipeline().unet
    donor.add_adapter(peft.LoraConfig(r=2, init_lora_weights="gaussian", target_modules=["to_q", "to_k", "to_v"]))
    with torch.no_grad():
        for name, p in donor.named_parameters():
            if "lora_B" in name:
                p.normal_(generator=noise(4))
    state = convert_state_dict_to_diffusers(peft.get_peft_model_state_dict(donor))
    RaDLPipeline.save_lora_weights(folder, unet_lora_layers=state)
    pipe.load_lora_weights(folder)


def test_real_lora_weights_load_and_unload(tmp_path):
    pipe = make()
    before = pipe(generator=noise(), **CALL).images
    load_lora(pipe, tmp_path)
    assert np.abs(pipe(generator=noise(), **CALL).images - before).max() > 1e-4
    pipe.unload_lora_weights()
    assert np.abs(pipe(generator=noise(), **CALL).images - before).max() < 1e-5


def test_embeddings_stand_in_for_the_prompt():
    pipe = make()
    want = pipe(generator=noise(), verbs="", **CALL).images
    own, empty = pipe.encode_prompt(CALL["prompt"], "cpu", 1, True)
    call = {key: value for key, value in CALL.items() if key != "prompt"}
    got = pipe(prompt_embeds=own, negative_prompt_embeds=empty, generator=noise(), **call).images
    assert np.abs(got - want).max() < 1e-5
    plain = pipe(prompt_embeds=own, negative_prompt_embeds=empty, num_inference_steps=2, output_type="np").images
    assert plain.shape == (1, 128, 128, 3)


def test_a_list_of_one_layout_is_the_single_layout():
    pipe = make()
    one = pipe(generator=noise(), **CALL).images
    lists = {key: [CALL[key]] for key in ("prompt", "phrases", "boxes")}
    assert np.array_equal(pipe(generator=[noise()], **{**CALL, **lists}).images, one)


@pytest.mark.parametrize("kind", ["pil", "latent", "pt"])
def test_output_types(kind):
    out = make()(generator=noise(), **{**CALL, "output_type": kind, "num_inference_steps": 1}).images
    assert len(out) == 1


def test_a_callback_may_change_the_latents_and_stop_early():
    pipe = make()
    seen = []

    def stop(pipe, step, timestep, values):
        seen.append(pipe.adapter.holder.context.active)
        pipe._interrupt = step >= 1
        return {"latents": torch.zeros_like(values["latents"])}

    out = pipe(generator=noise(), callback_on_step_end=stop, **{**CALL, "output_type": "latent"}).images
    assert not out.any()
    assert seen[:2] == [True, False]  # of 4 steps 2 are active, and the callback runs before the next one


def test_low_precision_weights():
    pipe = make().to(torch.bfloat16)
    assert next(pipe.adapter.parameters()).dtype == torch.bfloat16
    image = pipe(generator=noise(), **CALL).images
    assert np.isfinite(image).all()


def test_saved_whole_and_loaded_again_it_keeps_its_adapter(tmp_path):
    pipe = make()
    want = pipe(generator=noise(), **CALL).images
    pipe.save_pretrained(tmp_path)
    loaded = RaDLPipeline.from_pretrained(tmp_path)
    loaded.set_progress_bar_config(disable=True)
    assert loaded.adapter is not None
    assert np.abs(loaded(generator=noise(), **CALL).images - want).max() < 1e-5


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"prompt": 3}, "must be a text or a list of texts"),
        ({"prompt": []}, "must be a text or a list of texts"),
        ({"boxes": [["a", 0, 1, 1], [0, 0, 1, 1]]}, "x0 < x1"),
        ({"boxes": [[0, 0, 1], [0, 0, 1, 1]]}, "x0 < x1"),
        ({"boxes": [[0, 0, 64, 64], [0, 0, 1, 1]]}, "in fractions"),
        ({"phrases": ["a red car", None]}, "empty phrase"),
    ],
)
def test_bad_calls_are_sentences(changes, sentence):
    with pytest.raises(UsageError, match=sentence):
        make()(**{**CALL, **changes})


@pytest.mark.parametrize("layout", [True, False])
def test_the_scale_of_lora_weights(layout, tmp_path):
    pipe = make()
    call = CALL if layout else {key: CALL[key] for key in ("prompt", "num_inference_steps", "output_type")}
    without = pipe(generator=noise(), **call).images
    load_lora(pipe, tmp_path)
    full = pipe(generator=noise(), **call).images
    scaled = {s: pipe(generator=noise(), cross_attention_kwargs={"scale": s}, **call).images for s in (0.0, 0.5, 1.0)}
    assert np.abs(scaled[0.0] - without).max() < 1e-4
    assert np.abs(scaled[1.0] - full).max() < 1e-4
    assert np.abs(scaled[0.5] - full).max() > 1e-4
    assert np.abs(pipe(generator=noise(), **call).images - full).max() < 1e-5  # a scale holds for its call alone
