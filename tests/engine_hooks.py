"""A tiny base on the engine and on diffusers' own loop, and an adapter whose session is given."""

from __future__ import annotations

import torch

from radl_model.engine import Engine, Inputs, Layout, Session, Settings

PROMPTS = ["a photo of a red car and a blue dog", "a photo of a green cup"]
LAYOUTS = [
    Layout(PROMPTS[0], ("a red car", "a blue dog"), ((0.1, 0.2, 0.5, 0.9), (0.4, 0.1, 0.9, 0.6))),
    Layout(PROMPTS[1], ("a green cup",), ((0.3, 0.3, 0.8, 0.9),)),
]
FAST = Settings(steps=4, guidance_scale=4.0)


class Hooks:
    """An adapter whose sessions are given."""

    max_instances = None

    def __init__(self, session):
        self.session, self.attached = session, 0

    def attach(self, unet):
        self.attached += 1

    def start(self, run):
        self.run = run
        return self.session

    def detach(self, unet):
        self.attached = 0


class Watched:
    """An adapter that keeps its last run and session."""

    max_instances = None

    def __init__(self, inner):
        self.inner, self.attach, self.detach = inner, inner.attach, inner.detach

    def start(self, run):
        self.run, self.session = run, self.inner.start(run)
        return self.session


class Probe(Watched):
    """An adapter that opens the session of another and stops before its first step: `step`, `latents`."""

    def start(self, run):
        super().start(run)
        probe, run.stopped = Session(), False

        def keep(step, latents):
            self.step, self.latents, run.stopped = step, latents, True
            return latents

        probe.before_unet, probe.denoise = keep, lambda step, latents: latents
        return probe


def noise(*seeds):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def parent(pipe, prompts=PROMPTS, seeds=(1, 2), **changes):
    call = {"num_inference_steps": 4, "guidance_scale": 4.0, "output_type": "latent", **changes}
    return pipe(list(prompts), generator=noise(*seeds), **call).images


def ours(pipe, settings=FAST, adapter=None, layouts=LAYOUTS, seeds=(1, 2), **inputs):
    return Engine(pipe).denoise(layouts, settings, adapter, Inputs(generator=noise(*seeds), **inputs))


def opened(pipe, adapter, layouts=LAYOUTS, seeds=(1, 2), settings=FAST):
    """Session, first step and noise of a batch that goes no further."""
    probe = Probe(adapter)
    ours(pipe, settings, probe, layouts, seeds)
    return probe.session, probe.step, probe.latents
