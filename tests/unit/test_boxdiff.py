"""BoxDiff: its losses in closed form and against a plain reading, its gradient, refinement, and what PNDM loses."""

from __future__ import annotations

from dataclasses import replace

import diffusers
import numpy as np
import pytest
import torch
from engine_hooks import FAST, LAYOUTS, Watched, opened, ours, parent
from tiny import tiny_pipeline

from radl_model.engine import Layout, Settings, make_scheduler
from radl_model.errors import UsageError
from radl_model.guidance import boxdiff
from radl_model.guidance.boxdiff import Aim, BoxDiffAdapter, BoxDiffConfig, sharpened, smoothed
from radl_model.guidance.gradient import carry_on

PLAIN = BoxDiffConfig(active_fraction=1.0, refine=False)
WHOLE = (0.0, 0.0, 1.0, 1.0)


@pytest.fixture(scope="module")
def pipe():
    return tiny_pipeline()


@pytest.fixture(scope="module")
def double():
    return tiny_pipeline().to(torch.float64)


def build(**changes):
    return BoxDiffAdapter(replace(PLAIN, **changes))


def losses(planes, box, tokens=(3,)):
    return Aim(tokens, box, "cpu").losses(planes).tolist()


def test_even_attention_in_closed_form():
    """Shares of 1/75: inner 1 - 1/75, outer 1/75; corners count 1 - 1/75 for wanted and 1/75 for other cells."""
    planes = sharpened(torch.full((256, 77), 1 / 77))
    assert planes.shape == (256, 75)
    assert torch.allclose(planes, torch.tensor(1 / 75))
    inner, rest = losses(planes, (4 / 16, 6 / 16, 9 / 16, 1.0))
    # Columns 3..5 and 8..10: inside are 4, 5, 8. Rows 5..7 and 15: inside are 6, 7, 15.
    corner = (3 * (1 - 1 / 75) + 3 / 75) / 16 + (3 * (1 - 1 / 75) + 1 / 75) / 16
    assert inner == pytest.approx(1 - 1 / 75, abs=1e-6)
    assert rest == pytest.approx(1 / 75 + corner, abs=1e-6)


def test_a_box_that_fills_the_image_has_no_outer_part():
    inner, rest = losses(torch.full((256, 75), 1 / 75), WHOLE)
    corner = (3 * (1 - 1 / 75)) / 16  # cells 0, 1 and 15 of each axis
    assert (inner, rest) == (pytest.approx(1 - 1 / 75), pytest.approx(2 * corner))


@pytest.mark.parametrize("box", [(0.51, 0.51, 0.52, 0.52), (0.99, 0.0, 1.0, 0.1), (0.0, 0.0, 1.0, 0.98), WHOLE])
def test_no_box_gives_nan(box):
    planes = sharpened(torch.rand(256, 77, generator=torch.Generator().manual_seed(0)).softmax(-1)).requires_grad_()
    value = Aim((3,), box, "cpu").losses(planes)
    assert value.isfinite().all()
    (slope,) = torch.autograd.grad(value.sum(), planes)
    assert slope.isfinite().all()
    assert slope[:, 2].abs().sum() > 0


def by_hand(attention, box, token):
    """The four parts of an instance as the description of the release states them, in numpy."""
    a = np.exp(100 * attention[:, 1:-1])
    a = (a / a.sum(-1, keepdims=True))[:, token - 1].reshape(16, 16)
    weights = np.exp(-(np.array([-1.0, 0, 1]) ** 2))
    kernel = np.outer(weights, weights) / weights.sum() ** 2
    padded = np.pad(a, 1, mode="reflect")
    a = sum(kernel[i, j] * padded[i : i + 16, j : j + 16] for i in range(3) for j in range(3))
    x1, y1, x2, y2 = (round(v * 16) for v in box)
    mask = np.zeros((16, 16))
    mask[y1:y2, x1:x2] = 1
    top = lambda values, n: np.sort(values.ravel())[::-1][:n].mean()  # noqa: E731
    inner = max(0, 1 - top(a * mask, int(0.2 * mask.sum())))
    outer = top(a * (1 - mask), int(0.2 * (1 - mask).sum()))
    corner = 0
    for axis, (low, high) in ((0, (x1, x2)), (1, (y1, y2))):
        band = np.zeros(16)
        for edge in (low, high):
            band[max(0, edge - 1) : min(15, edge + 1) + 1] = 1
        corner += (np.abs(a.max(axis) - mask.max(axis)) * band).sum() / 16
    return inner, outer + corner


def test_losses_are_those_of_the_description():
    rng = np.random.default_rng(0)
    for _ in range(20):
        raw = rng.normal(0, 3, (256, 77))
        attention = np.exp(raw) / np.exp(raw).sum(-1, keepdims=True)
        x, y = rng.uniform(0, 0.6, 2)
        box, token = (x, y, x + rng.uniform(0.25, 0.4), y + rng.uniform(0.25, 0.4)), int(rng.integers(1, 75))
        got = losses(sharpened(torch.from_numpy(attention)), box, (token,))
        assert np.allclose(got, by_hand(attention, box, token), atol=1e-9)


def test_smoothing_keeps_the_sum_of_a_point_and_its_gradient_mirrors_at_the_edge():
    point = torch.zeros(16, 16, dtype=torch.float64)
    point[5, 5] = 1
    assert smoothed(point).sum() == pytest.approx(1.0)
    assert smoothed(point)[5, 4:7].div(smoothed(point)[5].sum()).tolist() == pytest.approx(
        [0.2119, 0.5761, 0.2119], abs=1e-4
    )
    assert torch.allclose(smoothed(torch.ones(16, 16)), torch.ones(16, 16))
    kernel = torch.ones(1, 1, 3, 3, dtype=torch.float64) * smoothed(point)[4:7, 4:7]
    values = torch.rand(16, 16, dtype=torch.float64)
    padded = torch.nn.functional.pad(values[None, None], (1, 1, 1, 1), mode="reflect")
    assert torch.allclose(smoothed(values), torch.nn.functional.conv2d(padded, kernel)[0, 0])


def total(session, step, z):
    terms = session.terms(step.maps(z, session.store))
    return terms.inner + terms.rest


def test_the_gradient_against_finite_differences(double):
    session, step, latents = opened(double, build())
    with torch.enable_grad():
        z = latents.clone().requires_grad_()
        (slope,) = torch.autograd.grad(total(session, step, z).sum(), z)
    rng = torch.Generator().manual_seed(1)
    for _ in range(4):
        way = torch.randn(z.shape, generator=rng, dtype=z.dtype)
        ahead, behind = (total(session, step, latents + s * way).sum() for s in (1e-6, -1e-6))
        assert torch.allclose((slope * way).sum(), (ahead - behind) / 2e-6, rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("scheduler", ["ddim", "euler"])
def test_a_step_is_one_way_down_in_what_the_unet_sees(scheduler):
    pipe = tiny_pipeline().to(torch.float64)
    pipe.scheduler = make_scheduler(scheduler, pipe.scheduler)
    session, step, latents = opened(pipe, build())
    with torch.enable_grad():
        z = step.scale(latents).clone().requires_grad_()
        (slope,) = torch.autograd.grad(total(session, step, z).sum(), z)
    assert torch.allclose(step.scale(session.before_unet(step, latents)), z - 20 * slope, atol=1e-6)
    later = replace(step, index=2)
    eta = 20 * (1 - 0.5 * 2 / 3) ** 0.5
    assert torch.allclose(step.scale(session.before_unet(later, latents)), z - eta * slope, atol=1e-6)


@pytest.mark.parametrize("change", [{"step_size": 0.0}, {"step_size": 0.0, "refine": True}, {"active_fraction": 0.0}])
def test_without_guidance_it_is_plain_bit_for_bit(pipe, change):
    assert torch.equal(ours(pipe, FAST, build(**change)), parent(pipe))
    assert not torch.equal(ours(pipe, FAST, build()), parent(pipe))


def test_without_instances_it_is_plain_bit_for_bit(pipe):
    bare = [Layout(layout.prompt) for layout in LAYOUTS]
    assert torch.equal(ours(pipe, FAST, build(), bare), parent(pipe))
    assert torch.equal(ours(pipe, FAST, build(), [bare[0], LAYOUTS[1]])[0], parent(pipe)[0])


@pytest.mark.parametrize("scheduler", ["ddim", "pndm", "lms"])
@pytest.mark.parametrize("after", ["all", "inner"])
def test_a_batch_is_its_images(scheduler, after, monkeypatch):
    monkeypatch.setattr(boxdiff, "TURNS", 3)
    pipe = tiny_pipeline()
    pipe.scheduler = make_scheduler(scheduler, pipe.scheduler)
    together = ours(pipe, FAST, build(refine=True, after=after))
    for i in range(2):
        alone = ours(pipe, FAST, build(refine=True, after=after), [LAYOUTS[i]], [i + 1])
        assert torch.allclose(alone[0], together[i], atol=1e-3)


def test_the_attention_moves_into_the_boxes():
    """Over random networks: the loss falls after a small step, and the share inside the box rises."""
    fell, rose = [], []
    for seed in range(12):
        pipe = tiny_pipeline(seed)
        session, step, latents = opened(pipe, build(step_size=1.0), seeds=(seed, seed + 100))
        after = session.before_unet(step, latents)
        fell += (total(session, step, after) < total(session, step, latents)).tolist()
        for i, aims in enumerate(session.aims):
            here, there = (
                sharpened(torch.cat(list(step.maps(z, session.store).values()), 1).mean(1))[i] for z in (latents, after)
            )
            for aim in aims:
                a, b = (smoothed(p[:, aim.tokens[0] - 1].view(16, 16)) for p in (here, there))
                rose.append(float(b[aim.mask].sum() / b.sum() - a[aim.mask].sum() / a.sum()))
    assert sum(fell) >= 0.95 * len(fell)
    assert sum(rose) / len(rose) > 0


def test_refinement_is_the_loop_of_the_release(pipe):
    """Against a plain loop: its test looks at the value before the update, then one more measure."""
    session, step, latents = opened(pipe, build(refine=True, step_size=5.0), LAYOUTS[:1], [1])
    session.bounds, eta, z = {0: 0.93}, 5.0, latents
    with torch.enable_grad():
        worst, turns = float("inf"), 0
        while worst > 0.93 and turns < 20:
            leaf = z.clone().requires_grad_()
            terms = session.terms(step.maps(leaf, session.store))
            (slope,) = torch.autograd.grad(terms.worst.sum(), leaf)
            z, worst, turns = (leaf - eta * slope).detach(), float(terms.worst), turns + 1
        for after in ("inner", "all"):
            leaf = z.clone().requires_grad_()
            terms = session.terms(step.maps(leaf, session.store))
            loss = terms.inner if after == "inner" else terms.inner + terms.rest
            (slope,) = torch.autograd.grad(loss.sum(), leaf)
            session.config, session.measured = replace(session.config, after=after), 0
            assert torch.allclose(session.before_unet(step, latents), leaf - eta * slope, atol=1e-4)
            assert session.measured == turns + 1
    assert turns >= 2


def test_steps_that_refine_and_steps_that_are_guided(pipe):
    session, _, _ = opened(pipe, build(active_fraction=0.5), LAYOUTS[:1], [1], Settings(steps=50))
    assert (session.last, session.bounds) == (25, {0: 0.95, 10: 0.5, 20: 0.2})
    session, _, _ = opened(pipe, build(active_fraction=0.5), LAYOUTS[:1], [1], Settings(steps=2))
    assert (session.last, session.bounds) == (1, {0: 0.95, 1: 0.2})


def test_a_step_without_refinement_measures_once(pipe):
    watched = Watched(build(active_fraction=0.5))
    ours(pipe, FAST, watched)
    assert watched.session.measured == 2


class At(Watched):
    """Guidance at one index alone."""

    def __init__(self, inner, index):
        super().__init__(inner)
        self.index = index

    def start(self, run):
        session = super().start(run)
        guide = session.before_unet
        session.before_unet = lambda step, latents: guide(step, latents) if step.index == self.index else latents
        return session


def test_pndm_loses_the_start_of_its_second_call_and_ddim_nothing():
    """With small steps the predictions change little, so that what is lost shows in the size of the change."""
    pipe, settings, change = tiny_pipeline(), Settings(steps=4, guidance_scale=4.0), {}
    for name, second in (("ddim", "kept"), ("pndm", "lost"), ("pndm", "kept")):
        pipe.scheduler = make_scheduler(name, pipe.scheduler)
        plain = ours(pipe, settings, None, LAYOUTS[:1], [1])
        for index in (0, 1, 2):
            made = ours(pipe, settings, At(build(second=second, step_size=1.0), index), LAYOUTS[:1], [1])
            change[name, second, index] = float((made - plain).norm())
    for index in (0, 2):
        assert change["pndm", "lost", index] == pytest.approx(change["pndm", "kept", index])
    assert change["pndm", "lost", 1] < 0.5 * change["pndm", "kept", 1]
    assert change["ddim", "kept", 1] > 0.5 * change["ddim", "kept", 2]


def test_runge_kutta_steps_are_a_clear_error(pipe):
    other = tiny_pipeline()
    other.scheduler = diffusers.PNDMScheduler(skip_prk_steps=False)
    with pytest.raises(UsageError, match="Runge-Kutta steps, which lose"):
        ours(other, FAST, build())


def test_an_update_is_lost_or_kept_in_pndm_itself():
    """With a network that always predicts the same, only the sample carries an update on."""
    scheduler = make_scheduler("pndm", tiny_pipeline().scheduler)
    start, shift = torch.randn(1, 4, 4, 4), torch.ones(1, 4, 4, 4)
    results = {}
    for name in ("plain", "lost", "kept"):
        scheduler.set_timesteps(4)
        z = scheduler.step(torch.zeros_like(start), scheduler.timesteps[0], start).prev_sample
        if name != "plain":
            z = z + shift
        if name == "kept":
            carry_on(Fake(scheduler), shift)
        results[name] = scheduler.step(torch.zeros_like(start), scheduler.timesteps[1], z).prev_sample
    assert torch.equal(results["lost"], results["plain"])
    assert (results["kept"] - results["plain"]).abs().min() > 0.5


class Fake:
    """A step, of which only the scheduler is looked at."""

    def __init__(self, scheduler):
        self.run = type("Run", (), {"scheduler": scheduler})()


def test_equal_phrases_go_to_different_tokens(pipe):
    layout = Layout("a red car and a red car, the dog", ("a red car", "a red car", "a brown dog"), (WHOLE,) * 3,
                    categories=("car", "car", "dog"))  # fmt: skip
    tokens = lambda **given: [aim.tokens for aim in opened(pipe, build(**given), [layout], [1])[0].aims[0]]  # noqa: E731
    assert tokens() == [(3,), (7,), (10,)]
    assert tokens(tokens="phrase") == [(2, 3), (6, 7), (10,)]


def test_instances_of_one_plural_are_not_drawn_out_of_each_others_boxes(pipe):
    left, right = (0.0, 0.25, 0.25, 0.75), (0.75, 0.25, 1.0, 0.75)
    layout = Layout("two dogs", ("a dog", "a dog"), (left, right))
    session, _, _ = opened(pipe, build(), [layout], [1])
    assert [aim.tokens for aim in session.aims[0]] == [(2,), (2,)]
    assert opened(pipe, build(plurals="none"), [layout], [1])[0].aims[0] == []
    planes = torch.zeros(16, 16, 75)
    planes[4:12, :4, 1] = planes[4:12, 12:, 1] = 1.0  # all attention in both boxes, none between them
    for aim, box in zip(session.aims[0], (left, right), strict=True):
        alone = Aim((2,), box, "cpu").losses(planes.flatten(0, 1))
        inner, rest = aim.losses(planes.flatten(0, 1)).tolist()
        assert inner == pytest.approx(float(alone[0]))
        assert rest < float(alone[1]) / 2  # what is left is the smoothing at the edges


def test_layers_are_those_with_16_by_16_cells_at_the_size_of_the_image():
    pipe, adapter = tiny_pipeline(), build()
    ours(pipe, FAST, adapter)
    assert [name.split(".attentions")[0] for name in adapter.store.layers] == ["down_blocks.0"] + ["up_blocks.1"] * 2
    ours(pipe, Settings(steps=1, height=256, width=256), adapter)
    assert [name.split(".attentions")[0] for name in adapter.store.layers] == ["mid_block"]
    attached = [name for name, p in pipe.unet.attn_processors.items() if "MapProcessor" in type(p).__name__]
    assert len(attached) == 1
    with pytest.raises(UsageError, match=r"no text attention on 16 x 16 cells; it has 6 x 6, 12 x 12"):
        ours(pipe, Settings(steps=1, height=96, width=96), adapter)
    adapter.detach(pipe.unet)
    assert not any("MapProcessor" in type(p).__name__ for p in pipe.unet.attn_processors.values())
