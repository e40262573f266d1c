"""Layout guidance: its energy in closed form, its gradient, its step in two spaces, when it stops, what it guides."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from engine_hooks import FAST, LAYOUTS, Watched, opened, ours, parent
from tiny import tiny_pipeline, tiny_unet

from radl_model.engine import AttentionStore, Layout, Settings, low_attentions, make_scheduler
from radl_model.errors import UsageError
from radl_model.guidance.layout_guidance import Aims, GuidanceConfig, LayoutGuidanceAdapter, Target
from radl_model.guidance.words import word_positions

BOX = (0.25, 0.25, 0.75, 1.0)
GRIDS = {"mid": (8, 8), "up": (16, 16)}
CAREFUL = GuidanceConfig(active_fraction=1.0, threshold=0.0)


@pytest.fixture(scope="module")
def pipe():
    return tiny_pipeline()


@pytest.fixture(scope="module")
def double():
    return tiny_pipeline().to(torch.float64)


def build(pipe, **changes):
    return LayoutGuidanceAdapter(pipe.unet, replace(CAREFUL, **changes))


def aims(*targets):
    return Aims([Target(*target) for target in targets], GRIDS, "cpu")


def test_the_energy_in_closed_form():
    """0 with all attention inside, 1 with none, (1 - a)^2 where it is even and the box holds the share a."""
    own = aims(((1,), (BOX,)), ((2, 3), ((0.0, 0.0, 0.5, 0.5),)))
    even = {name: torch.full((2, h * w, 5), 0.2) for name, (h, w) in GRIDS.items()}
    shares = torch.tensor([0.375, 0.25])
    assert own.energy(even) == pytest.approx(float((1 - shares).square().mean()), abs=1e-6)
    for inside in (True, False):
        maps = {name: torch.zeros(2, h * w, 5) for name, (h, w) in GRIDS.items()}
        for name, masks in own.masks.items():
            for row, tokens in ((0, (1,)), (1, (2, 3))):
                for token in tokens:
                    maps[name][:, :, token] = masks[row] if inside else 1 - masks[row]
        assert own.energy(maps) == pytest.approx(0.0 if inside else 1.0, abs=1e-6)


def test_heads_are_averaged_after_the_square_and_tokens_within_their_phrase():
    maps = {name: torch.zeros(2, h * w, 3) for name, (h, w) in GRIDS.items()}
    for name, (h, w) in GRIDS.items():
        plane = torch.zeros(h, w)
        plane[:, : w // 2] = 1
        maps[name][0, :, 1] = plane.flatten()  # head 0 is inside, head 1 outside
        maps[name][1, :, 1] = 1 - plane.flatten()
        maps[name][:, :, 2] = 1.0
    left = ((0.0, 0.0, 0.5, 1.0),)
    assert aims(((1,), left)).energy(maps) == pytest.approx(0.5)
    assert aims(((1, 2), left)).energy(maps) == pytest.approx((0.5 + 0.25) / 2)
    assert aims(((1, 2), left), ((2,), left)).energy(maps) == pytest.approx(((0.5 + 0.25) / 2 + 0.25) / 2)


def measure(session, step, store, z):
    return session.energy(step.maps(z, store))


def test_the_gradient_against_finite_differences(double):
    adapter = build(double)
    session, step, latents = opened(double, adapter)
    with torch.enable_grad():
        z = latents.clone().requires_grad_()
        (slope,) = torch.autograd.grad(measure(session, step, adapter.store, z).sum(), z)
    rng = torch.Generator().manual_seed(1)
    for _ in range(4):
        way = torch.randn(z.shape, generator=rng, dtype=z.dtype)
        ahead, behind = (measure(session, step, adapter.store, latents + s * way).sum() for s in (1e-5, -1e-5))
        assert torch.allclose((slope * way).sum(), (ahead - behind) / 2e-5, rtol=1e-5, atol=1e-12)


@pytest.mark.parametrize("scheduler", ["lms", "euler"])
def test_the_step_is_that_of_the_release_in_sigma_space(scheduler):
    pipe = tiny_pipeline().to(torch.float64)
    pipe.scheduler = make_scheduler(scheduler, pipe.scheduler)
    adapter = build(pipe, turns=1)
    session, step, x = opened(pipe, adapter)
    with torch.enable_grad():
        leaf = x.clone().requires_grad_()
        loss = 30 * measure(session, step, adapter.store, leaf / (step.sigma**2 + 1) ** 0.5)
        (slope,) = torch.autograd.grad(loss.sum(), leaf)
    want = x - step.sigma**2 * slope
    assert (want - x).abs().max() > 1e-4
    assert torch.allclose(session.before_unet(step, x), want, rtol=1e-6, atol=1e-6)  # sigmas are float32


def test_the_step_with_a_scheduler_that_scales_nothing(double):
    adapter = build(double, turns=1)
    session, step, z = opened(double, adapter)
    with torch.enable_grad():
        leaf = z.clone().requires_grad_()
        (slope,) = torch.autograd.grad(30 * measure(session, step, adapter.store, leaf).sum(), leaf)
    assert torch.allclose(session.before_unet(step, z), z - (1 - step.alpha_bar) * slope, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("change", [{"turns": 0}, {"active_fraction": 0.0}, {"strength": 0.0}, {"threshold": 1.0}])
def test_without_guidance_it_is_plain_bit_for_bit(pipe, change):
    assert torch.equal(ours(pipe, FAST, build(pipe, **change)), parent(pipe))
    assert not torch.equal(ours(pipe, FAST, build(pipe)), parent(pipe))


def test_without_instances_it_is_plain_bit_for_bit(pipe):
    bare = [Layout(layout.prompt) for layout in LAYOUTS]
    assert torch.equal(ours(pipe, FAST, build(pipe), bare), parent(pipe))
    assert torch.equal(ours(pipe, FAST, build(pipe), [bare[0], LAYOUTS[1]])[0], parent(pipe)[0])


def test_the_release_stops_for_good_after_one_measure_too_many(pipe):
    """E <= threshold at the first measure: that one still moves the latents, and there is no other."""
    watched = Watched(build(pipe, threshold=1.0, stop="for-good"))
    moved = ours(pipe, FAST, watched)
    assert watched.session.measured == 1
    assert not torch.equal(moved, parent(pipe))
    watched = Watched(build(pipe, threshold=1.0))
    ours(pipe, FAST, watched)
    assert watched.session.measured == 4  # once a step


def test_updates_are_counted(pipe):
    for stop in ("for-good", "each-step"):
        watched = Watched(build(pipe, stop=stop, active_fraction=0.5, turns=3))
        ours(pipe, FAST, watched)
        assert watched.session.measured == 2 * 3


def test_an_image_that_is_done_stays_where_it_is(pipe):
    """The threshold lies between the energies of the two images, so one is moved and the other is not."""
    session, step, latents = opened(pipe, build(pipe))
    low, high = session.energy(step.maps(latents, session.store)).sort().values
    session, step, latents = opened(pipe, build(pipe, threshold=float(low + high) / 2, turns=1))
    moved = session.before_unet(step, latents)
    same = [torch.equal(a, b) for a, b in zip(moved, latents, strict=True)]
    assert sorted(same) == [False, True]


@pytest.mark.parametrize("scheduler", ["ddim", "lms", "pndm"])
def test_a_batch_is_its_images(scheduler):
    pipe = tiny_pipeline()
    pipe.scheduler = make_scheduler(scheduler, pipe.scheduler)
    together = ours(pipe, FAST, build(pipe))
    for i in range(2):
        assert torch.allclose(ours(pipe, FAST, build(pipe), [LAYOUTS[i]], [i + 1])[0], together[i], atol=5e-4)


def test_the_attention_moves_into_the_boxes():
    """Over random networks: the energy falls after a small step, and the share inside rises for the guided tokens."""
    rose, fell = [], []
    for seed in range(12):
        pipe = tiny_pipeline(seed)
        session, step, latents = opened(pipe, build(pipe, turns=1, strength=3.0), seeds=(seed, seed + 100))
        after = session.before_unet(step, latents)
        maps = [step.maps(z, session.store) for z in (latents, after)]
        before, then = (session.energy(m) for m in maps)
        fell += (then < before).tolist()
        for i, own in enumerate(session.aims):
            here, there = ([own.inside(n, s[i]).mean(0) for n, s in m.items()] for m in maps)
            rise = torch.stack(there).mean(0) - torch.stack(here).mean(0)
            rose += rise[own.weights > 0].tolist()
    assert sum(fell) >= 0.95 * len(fell)
    assert sum(rose) / len(rose) > 0


def test_tokens_of_a_mention_without_its_article(pipe):
    layout = Layout("a red car and a red car, the dog", ("a red car", "a red car", "a brown dog"), (BOX,) * 3,
                    categories=("car", "car", "dog"))  # fmt: skip
    session, _, _ = opened(pipe, build(pipe), [layout], [1])
    assert [target.tokens for target in session.aims[0].targets] == [(2, 3), (6, 7), (10,)]


def test_a_plural_is_one_target_with_the_boxes_of_all_its_instances(pipe):
    boxes = (BOX, (0.0, 0.0, 0.2, 0.2), (0.7, 0.7, 1.0, 1.0))
    layout = Layout("two red cars and a dog", ("a red car", "a red car", "a dog"), boxes)
    session, _, _ = opened(pipe, build(pipe), [layout], [1])
    assert session.aims[0].targets == [Target((2, 3), boxes[:2]), Target((6,), boxes[2:])]
    assert session.notes() == [""]
    alone, _, _ = opened(pipe, build(pipe, plurals="none"), [layout], [1])
    assert alone.aims[0].targets == [Target((6,), boxes[2:])]
    assert alone.notes()[0].startswith("No guidance for 2 of 3 instances")


def test_words_as_the_release_counts_them(pipe):
    assert word_positions("a red car and a red carrot.", "a red carrot") == (1, 2, 7)
    assert word_positions("a dog, a cat", "a dog") == (1,)  # "dog," is another word
    boxes = (BOX, (0.0, 0.0, 0.2, 0.2), BOX)
    layout = Layout("a red car and a red car", ("a red car", "a red car", "zebras"), boxes)
    session, _, _ = opened(pipe, build(pipe, tokens="words"), [layout], [1])
    assert session.aims[0].targets == [Target((1, 2, 3), boxes[:2])]
    assert session.notes() == ["No guidance for 1 of 3 instances, whose words the prompt lacks: 'zebras'."]
    far = Layout("very " * 80 + "car", ("car",), (BOX,))
    assert opened(pipe, build(pipe, tokens="words"), [far], [1])[0].aims[0].targets == []


def test_a_box_smaller_than_a_cell_still_pulls(pipe):
    tiny = Layout(LAYOUTS[1].prompt, LAYOUTS[1].phrases, ((0.51, 0.51, 0.52, 0.52),))
    session, step, latents = opened(pipe, build(pipe), [tiny], [1])
    assert all(mask.sum() == 1 for mask in session.aims[0].masks.values())
    assert not torch.equal(session.before_unet(step, latents), latents)


def test_parameters_stay_as_they_were(pipe):
    asking = [p.requires_grad for p in pipe.unet.parameters()]
    made = ours(pipe, FAST, build(pipe))
    assert not made.requires_grad
    assert [p.requires_grad for p in pipe.unet.parameters()] == asking
    assert all(p.grad is None for p in pipe.unet.parameters())


def test_the_forward_ends_at_the_last_layer(pipe):
    reached, adapter = [], build(pipe, turns=1)
    session, step, latents = opened(pipe, adapter)
    hook = pipe.unet.conv_out.register_forward_pre_hook(lambda *_: reached.append(1))
    session.before_unet(step, latents)
    hook.remove()
    assert reached == []


def test_a_gradient_that_overflows_is_a_clear_error(pipe):
    session, step, latents = opened(pipe, build(pipe))
    session.config = replace(session.config, strength=1e39)
    with pytest.raises(UsageError, match="not finite in float32; use dtype=float32 or bfloat16"):
        session.before_unet(step, latents)


def test_a_unet_without_text_attention_is_a_clear_error():
    blind = tiny_unet(down_block_types=("DownBlock2D",) * 2, up_block_types=("UpBlock2D",) * 2)
    with pytest.raises(UsageError, match="not shaped like Stable Diffusion v1"):
        AttentionStore(low_attentions(blind))


def test_ten_of_the_51_official_steps_are_guided(pipe):
    watched = Watched(LayoutGuidanceAdapter(pipe.unet, GuidanceConfig(turns=0)))
    ours(pipe, Settings(steps=51), watched, LAYOUTS[:1], [1])
    assert watched.session.last == 10
