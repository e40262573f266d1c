"""The engine's loop against diffusers' own, and the hooks of a session."""

from __future__ import annotations

import diffusers
import numpy as np
import pytest
import torch
from engine_hooks import FAST, LAYOUTS, PROMPTS, Hooks, noise, ours, parent
from tiny import tiny_parts, tiny_pipeline, tiny_unet

from radl_model.engine import Engine, LayoutAdapter, Session, Settings
from radl_model.errors import UsageError

SCHEDULERS = {
    "DDIMScheduler": {"clip_sample": False},
    "PNDMScheduler": {"skip_prk_steps": True, "steps_offset": 1},
    "LMSDiscreteScheduler": {},
    "DPMSolverMultistepScheduler": {"algorithm_type": "dpmsolver++"},
    "EulerDiscreteScheduler": {},
    "EulerAncestralDiscreteScheduler": {},
    "HeunDiscreteScheduler": {},
}


@pytest.mark.parametrize("name", SCHEDULERS)
def test_the_plain_path_is_diffusers_bit_for_bit(name):
    pipe = tiny_pipeline()
    pipe.scheduler = getattr(diffusers, name).from_config(pipe.scheduler.config, **SCHEDULERS[name])
    assert torch.equal(ours(pipe), parent(pipe))


@pytest.mark.parametrize(
    ("settings", "call"),
    [
        ({"guidance_scale": 1.0}, {"guidance_scale": 1.0}),
        ({"guidance_rescale": 0.7}, {"guidance_rescale": 0.7}),
        ({"negative_prompt": "low quality"}, {"negative_prompt": ["low quality"] * 2}),
        ({"eta": 0.5}, {"eta": 0.5}),
        ({"height": 64, "width": 192}, {"height": 64, "width": 192}),
    ],
)
def test_so_it_is_with_other_settings(settings, call):
    pipe = tiny_pipeline()
    changed = Settings(**{"steps": 4, "guidance_scale": 4.0, **settings})
    assert torch.equal(ours(pipe, changed), parent(pipe, **call))
    assert not torch.equal(ours(pipe, changed)[..., :8, :8], ours(pipe)[..., :8, :8])


def test_so_it_is_with_a_schedule_noise_and_texts_of_ones_own():
    pipe = tiny_pipeline()
    given = torch.randn(2, 4, 16, 16)
    assert torch.equal(ours(pipe, latents=given), parent(pipe, latents=given))
    own, empty = pipe.encode_prompt(PROMPTS, "cpu", 1, True)
    made = parent(pipe)
    assert torch.equal(ours(pipe, prompt_embeds=own, negative_prompt_embeds=empty), made)
    assert torch.equal(ours(pipe, prompt_embeds=own), made)


def test_a_base_with_other_widths_and_channels():
    """Latent channels, width of the texts and sides of the latents are the base's own."""
    from diffusers import AutoencoderTiny
    from transformers import CLIPTextConfig, CLIPTextModel

    torch.manual_seed(0)
    vae = AutoencoderTiny(
        latent_channels=6, encoder_block_out_channels=(8, 8), decoder_block_out_channels=(8, 8),
        num_encoder_blocks=(1, 1), num_decoder_blocks=(1, 1),
    )  # fmt: skip
    text = CLIPTextConfig(hidden_size=48, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2)
    unet = tiny_unet(in_channels=6, out_channels=6, cross_attention_dim=48, sample_size=(8, 16))
    parts = {**tiny_parts(), "unet": unet, "vae": vae.eval(), "text_encoder": CLIPTextModel(text).eval()}
    pipe = diffusers.StableDiffusionPipeline(**parts, requires_safety_checker=False)
    pipe.set_progress_bar_config(disable=True)
    assert torch.equal(ours(pipe), parent(pipe))
    assert ours(pipe).shape == (2, 6, 8, 16)


def test_images_are_those_of_the_pipeline_and_do_not_depend_on_each_other():
    pipe = tiny_pipeline()
    engine = Engine(pipe)
    both = engine.generate(LAYOUTS, [1, 2], FAST)
    for i, image in enumerate(both):
        want = pipe(PROMPTS[i], num_inference_steps=4, guidance_scale=4.0, generator=noise(i + 1)).images[0]
        assert image.tobytes() == want.tobytes()
    batched = engine.generate(LAYOUTS, [1, 2], FAST, exact=False)
    assert np.abs(np.asarray(batched[0]).astype(int) - np.asarray(both[0])).max() <= 1
    assert engine.generate([], [], FAST) == []


def test_one_thread_is_given_back():
    before = torch.get_num_threads()
    Engine(tiny_pipeline()).generate(LAYOUTS[:1], [1], Settings(steps=1), one_thread=True)
    assert torch.get_num_threads() == before


class Recorder(Session):
    def __init__(self):
        self.seen = []

    def before_unet(self, step, latents):
        self.seen.append(("before", step.index, latents.shape))
        return latents

    def around_unet(self, step, call, unet):
        self.seen.append(("unet", step.index, call.sample.shape))
        return unet(call)

    def after_step(self, step, latents):
        self.seen.append(("after", step.index, latents.shape))
        return latents

    def notes(self):
        return ["first", ""]

    def close(self):
        self.seen.append("closed")


def test_hooks_run_in_order_and_a_session_is_closed():
    session = Recorder()
    made = ours(tiny_pipeline(), Settings(steps=2, guidance_scale=4.0), Hooks(session))
    shape, rows = (2, 4, 16, 16), (4, 4, 16, 16)
    want = [(hook, i, rows if hook == "unet" else shape) for i in range(2) for hook in ("before", "unet", "after")]
    assert session.seen == [*want, "closed"]
    assert torch.equal(made, parent(tiny_pipeline(), num_inference_steps=2))
    assert isinstance(Hooks(session), LayoutAdapter)


def test_a_session_is_closed_after_an_error():
    class Broken(Recorder):
        def after_step(self, step, latents):
            raise ValueError("no")

    session = Broken()
    with pytest.raises(ValueError, match="no"):
        ours(tiny_pipeline(), FAST, Hooks(session))
    assert session.seen[-1] == "closed"


def test_notes_reach_the_images():
    images = Engine(tiny_pipeline()).generate(LAYOUTS, [1, 2], Settings(steps=1), Hooks(Recorder()), exact=False)
    assert [image.info.get("note") for image in images] == ["first", None]


def test_what_hooks_return_is_what_is_denoised():
    class Zero(Session):
        def before_unet(self, step, latents):
            return torch.zeros_like(latents) if step.index == 0 else latents

    pipe = tiny_pipeline()
    made = ours(pipe, FAST, Hooks(Zero()))
    assert torch.equal(made, ours(pipe, latents=torch.zeros(2, 4, 16, 16)))

    class After(Session):
        def after_step(self, step, latents):
            return torch.full_like(latents, 7.0)

    assert (ours(pipe, FAST, Hooks(After())) == 7).all()

    class Silent(Session):
        def around_unet(self, step, call, unet):
            return torch.zeros_like(call.sample)

    assert not torch.equal(ours(pipe, FAST, Hooks(Silent())), ours(pipe))


def test_unet_arguments_can_be_added_to_a_call():
    class Extra(Session):
        def around_unet(self, step, call, unet):
            return unet(call.with_extra(encoder_attention_mask=torch.zeros(len(call.sample), call.texts.shape[1])))

    pipe = tiny_pipeline()
    assert not torch.equal(ours(pipe, FAST, Hooks(Extra())), ours(pipe))


class Regions(Session):
    """Each image as two equal regions, stepped apart and averaged."""

    def denoise(self, step, latents):
        rows = torch.cat([latents, latents])
        negative, positive = step.run.negative_states, step.run.prompt_states
        texts = torch.cat([negative, negative, positive, positive])
        return step.advance(step.predict(rows, texts), rows).unflatten(0, (2, -1)).mean(0)


@pytest.mark.parametrize("rows", [None, 2, 4, 3, 1])
def test_regions_of_several_images_in_pieces_of_any_size(rows):
    pipe = tiny_pipeline()
    sizes = []
    hook = pipe.unet.register_forward_pre_hook(lambda _, args: sizes.append(len(args[0])))
    made = ours(pipe, Settings(steps=4, guidance_scale=4.0, max_rows=rows), Hooks(Regions()))
    hook.remove()
    assert max(sizes) == {None: 8, 2: 2, 4: 4, 3: 2, 1: 2}[rows]
    assert (made - ours(pipe)).abs().max() < 1e-4


def test_without_guidance_there_are_no_unconditional_rows():
    session = Recorder()
    adapter = Hooks(session)
    ours(tiny_pipeline(), Settings(steps=1, guidance_scale=1.0), adapter)
    assert session.seen[1] == ("unet", 0, (2, 4, 16, 16))
    assert not adapter.run.guided
    assert torch.equal(adapter.run.prompt_states, adapter.run.negative_states)


def test_only_one_adapter_is_attached():
    engine, first, second = Engine(tiny_pipeline()), Hooks(Session()), Hooks(None)
    engine.generate(LAYOUTS[:1], [1], Settings(steps=1), first)
    engine.generate(LAYOUTS[:1], [1], Settings(steps=1), second)
    assert (first.attached, second.attached) == (0, 1)
    engine.use(None)
    assert second.attached == 0


def test_a_limit_of_instances_is_a_clear_error():
    adapter = Hooks(Session())
    adapter.max_instances = 1
    with pytest.raises(UsageError, match="has 2 instances; the layers take at most 1"):
        ours(tiny_pipeline(), FAST, adapter)


def test_derived_randomness_is_the_images_own():
    adapter = Hooks(Session())
    ours(tiny_pipeline(), Settings(steps=1), adapter, seeds=(5, 6))
    run = adapter.run
    draws = [torch.rand(3, generator=run.rng(i, what)) for i, what in ((0, "a"), (0, "b"), (1, "a"), (0, "a"))]
    assert torch.equal(draws[0], draws[3])
    assert not torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    ours(tiny_pipeline(), Settings(steps=1), adapter, layouts=LAYOUTS[:1], seeds=(6,))
    assert torch.equal(torch.rand(3, generator=adapter.run.rng(0, "a")), draws[2])
