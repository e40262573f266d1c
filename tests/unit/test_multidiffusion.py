"""MultiDiffusion against a plain loop over images and regions, and what holds of its masks, draws and rows."""

from __future__ import annotations

import itertools
import random

import pytest
import torch
from engine_hooks import FAST, LAYOUTS, Watched, opened, ours, parent
from tiny import tiny_pipeline

from radl_model.engine import Engine, Layout, Settings, make_scheduler
from radl_model.errors import UsageError
from radl_model.guidance.cells import cells_of, cut, first_pixel, mask_of, nearest
from radl_model.guidance.multidiffusion import MultiDiffusionAdapter, MultiDiffusionSession

PROMPT = "a photo of a red car and a blue dog"
HALVES = Layout(PROMPT, ("a red car", "a blue dog"), ((0.0, 0.0, 0.5, 1.0), (0.5, 0.0, 1.0, 1.0)))


@pytest.fixture(scope="module")
def pipe():
    return tiny_pipeline()


def build(pipe, bootstrapping=0.0, **settings):
    return MultiDiffusionAdapter(pipe.vae, bootstrapping, **settings)


@torch.no_grad()
def by_hand(pipe, layout, seed, adapter, steps=4, guidance=4.0):
    """The method for one image, a region after the other, with the scheduler and the UNet alone."""
    scheduler = make_scheduler("ddim", pipe.scheduler)
    scheduler.set_timesteps(steps)
    z = eps = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(seed))
    encode = lambda text: pipe.encode_prompt(text, "cpu", 1, False)[0]  # noqa: E731
    empty, run = encode(""), opened(pipe, adapter, [layout], [seed])[1].run
    colours, draws = adapter.colours((16, 16)), [run.rng(0, key) for key in keys(layout)]
    masks = [box_mask(box) for box in layout.boxes]
    ground = (1 - sum(masks)).clamp(min=0)
    for i, t in enumerate(scheduler.timesteps):
        total, count = torch.zeros_like(z), torch.zeros(16, 16)
        for n, (text, mask) in enumerate(zip([layout.prompt, *layout.phrases], [ground, *masks], strict=True)):
            zeta = z
            if n and i < round(adapter.bootstrapping * steps):
                colour = colours[int(torch.randint(20, (), generator=draws[n - 1]))]
                share = scheduler.alphas_cumprod[t]
                zeta = mask * z + (1 - mask) * (share.sqrt() * colour + (1 - share).sqrt() * eps)
            without, with_text = (pipe.unet(zeta, t, states).sample for states in (empty, encode(text)))
            stepped = scheduler.step(without + guidance * (with_text - without), t, zeta).prev_sample
            total, count = total + mask * stepped, count + mask
        z = total / count
    return z


def keys(layout):
    return [f"multidiffusion {phrase} {box}" for phrase, box in zip(layout.phrases, layout.boxes, strict=True)]


def box_mask(box):
    """Cells whose first pixel lies in the box, at eight pixels a cell."""
    x0, y0, x1, y1 = (round(128 * v) for v in box)
    pixels = torch.zeros(128, 128)
    pixels[y0:y1, x0:x1] = 1
    return pixels[::8, ::8]


@pytest.mark.parametrize("bootstrapping", [0.0, 0.5, 1.0])
def test_it_is_the_plain_loop_over_regions(pipe, bootstrapping):
    adapter = build(pipe, bootstrapping)
    made = ours(pipe, FAST, adapter)
    for i in range(2):
        assert torch.allclose(made[i], by_hand(pipe, LAYOUTS[i], i + 1, adapter)[0], atol=2e-4)
    assert (made - parent(pipe)).abs().max() > 0.05


def test_without_instances_it_is_plain_bit_for_bit(pipe):
    bare = [Layout(layout.prompt) for layout in LAYOUTS]
    assert torch.equal(ours(pipe, FAST, build(pipe, 0.5), bare), parent(pipe))
    mixed = ours(pipe, FAST, build(pipe, 0.5), [bare[0], LAYOUTS[1]])
    assert torch.allclose(mixed[0], parent(pipe)[0], atol=1e-4)


def test_equal_texts_without_bootstrapping_are_plain(pipe):
    same = Layout(PROMPT, (PROMPT, PROMPT), ((0.1, 0.2, 0.5, 0.9), (0.4, 0.1, 0.9, 0.6)))
    assert torch.allclose(ours(pipe, FAST, build(pipe), [same], [1]), parent(pipe, [PROMPT], [1]), atol=1e-4)


def test_where_boxes_are_apart_a_cell_is_that_of_its_region_alone(pipe):
    made = ours(pipe, Settings(steps=1), build(pipe), [HALVES], [1])
    alone = [ours(pipe, Settings(steps=1), None, [Layout(text)], [1]) for text in HALVES.phrases]
    assert torch.allclose(made[..., :8], alone[0][..., :8], atol=1e-5)
    assert torch.allclose(made[..., 8:], alone[1][..., 8:], atol=1e-5)
    both = Layout(PROMPT, HALVES.phrases, ((0.0, 0.0, 1.0, 1.0),) * 2)
    made = ours(pipe, Settings(steps=1), build(pipe), [both], [1])
    assert torch.allclose(made, (alone[0] + alone[1]) / 2, atol=1e-5)


def test_the_order_of_the_instances_does_not_matter(pipe):
    first = LAYOUTS[0]
    turned = Layout(first.prompt, first.phrases[::-1], first.boxes[::-1])
    one, other = (ours(pipe, FAST, build(pipe, 1.0), [layout], [1]) for layout in (first, turned))
    assert torch.allclose(one, other, atol=1e-4)


def test_backgrounds_are_drawn_in_the_first_steps_alone(pipe):
    watched, states = Watched(build(pipe, 0.5)), []
    keep = lambda step, latents: states.append([r.rng.get_state() for r in watched.session.regions[1:]]) or latents  # noqa: E731
    ours(pipe, FAST, watched, LAYOUTS[:1], [1], on_step=keep)
    changed = [not torch.equal(a[0], b[0]) for a, b in itertools.pairwise(states)]
    assert changed == [True, False, False]


def test_rows_in_chunks_and_images_in_a_batch(pipe):
    adapter, whole = build(pipe, 0.5), Settings(steps=4, guidance_scale=4.0)
    together = ours(pipe, whole, adapter)
    for rows in (1, 2, 5):
        chunked = ours(pipe, Settings(steps=4, guidance_scale=4.0, max_rows=rows), adapter)
        assert torch.allclose(chunked, together, atol=2e-4)
    for i in range(2):
        assert torch.allclose(ours(pipe, whole, adapter, [LAYOUTS[i]], [i + 1])[0], together[i], atol=2e-4)


def test_exact_images_do_not_depend_on_the_batch(pipe):
    engine, adapter = Engine(pipe), build(pipe, 0.5)
    both = engine.generate(LAYOUTS, [1, 2], FAST, adapter)
    assert both[1].tobytes() == engine.generate(LAYOUTS[1:], [2], FAST, adapter)[0].tobytes()


def test_every_cell_has_an_owner(pipe):
    draw = random.Random(1)
    for _ in range(40):
        boxes = []
        for _ in range(draw.randint(1, 6)):
            x, y = draw.random() * 0.95, draw.random() * 0.95
            boxes.append((x, y, x + (1 - x) * draw.random() ** 4 + 1e-4, y + (1 - y) * draw.random() + 1e-4))
        layout = Layout("a photo", ("a dog",) * len(boxes), tuple(boxes))
        weights = opened(pipe, build(pipe), [layout], [1])[0].weights
        assert torch.allclose(weights.sum(0), torch.ones(()), atol=1e-6)
        assert all(row.any() for row in weights)


def test_a_box_smaller_than_a_cell_keeps_the_cell_of_its_centre():
    small = (0.51, 0.26, 0.52, 0.27)
    for rounding in (nearest, cut, first_pixel):
        assert cells_of(small, (8, 8), rounding) == (4, 2, 5, 3)
        assert cells_of((0.99, 0.999, 1.0, 1.0), (8, 8), rounding) == (7, 7, 8, 8)
        assert mask_of([small], (8, 8), rounding).sum() == 1


@pytest.mark.parametrize(
    ("rounding", "cells"), [(nearest, (2, 2, 10, 14)), (cut, (1, 2, 9, 14)), (first_pixel, (2, 3, 10, 15))]
)
def test_each_method_rounds_in_its_own_way(rounding, cells):
    assert cells_of((1.6 / 16, 2.5 / 16, 9.6 / 16, 14.1 / 16), (16, 16), rounding) == cells


def test_an_edge_on_a_cell_is_there_whatever_the_floats_say():
    assert cells_of((0.3, 0.1, 0.7, 0.6), (10, 10), first_pixel) == (3, 1, 7, 6)


def test_backgrounds_are_plain_colours_of_the_autoencoder(pipe):
    adapter = build(pipe)
    colours = adapter.colours((16, 16))
    assert colours.shape == (20, 4, 16, 16)
    assert torch.equal(colours, build(tiny_pipeline()).colours((16, 16)))
    value = torch.rand(20, 3, 1, 1, generator=torch.Generator().manual_seed(0))[7] * 2 - 1
    with torch.no_grad():
        want = pipe.vae.encode(value.expand(1, 3, 128, 128)).latents
    assert torch.allclose(colours[7], want[0], atol=1e-5)


def test_an_autoencoder_with_a_posterior_is_sampled():
    from diffusers import AutoencoderKL

    torch.manual_seed(0)
    vae = AutoencoderKL(block_out_channels=(8, 8), norm_num_groups=4, down_block_types=("DownEncoderBlock2D",) * 2,
                        up_block_types=("UpDecoderBlock2D",) * 2).eval()  # fmt: skip
    colours = MultiDiffusionAdapter(vae).colours((4, 6))
    assert colours.shape == (20, 4, 4, 6)
    assert torch.equal(colours, MultiDiffusionAdapter(vae).colours((4, 6)))


def test_euler_sees_the_same_backgrounds_in_its_own_space():
    pipe, nearest_of = tiny_pipeline(), []
    pipe.scheduler = make_scheduler("euler", pipe.scheduler)
    adapter, eps = build(pipe, 1.0), torch.randn(4, 16, 16, generator=torch.Generator().manual_seed(1))

    class Looking(MultiDiffusionSession):
        def _on_colours(self, step, rows):
            plain, outside = super()._on_colours(step, rows), self.masks[1, 0] == 0
            known = step.alpha_bar**0.5 * adapter.colours((16, 16)) + (1 - step.alpha_bar) ** 0.5 * eps
            nearest_of.append((step.scale(plain)[1] - known)[..., outside].abs().amax((1, 2)).min())
            return plain

    adapter.start = lambda run: Looking(run, adapter.colours(run.grid), run.total, "{}")
    assert ours(pipe, FAST, adapter, LAYOUTS[:1], [1]).isfinite().all()
    assert len(nearest_of) == 4
    assert max(nearest_of) < 1e-4


@pytest.mark.parametrize("name", ["pndm", "lms", "dpm"])
def test_a_scheduler_with_a_memory_is_a_clear_error(name):
    pipe = tiny_pipeline()
    pipe.scheduler = make_scheduler(name, pipe.scheduler)
    with pytest.raises(UsageError, match=r"remembers earlier ones; use ddim or euler"):
        ours(pipe, FAST, build(pipe))


def test_noise_of_the_scheduler_is_a_clear_error(pipe):
    with pytest.raises(UsageError, match="leave eta at 0"):
        ours(pipe, Settings(steps=2, eta=0.5), build(pipe))


def test_a_region_reads_its_phrase_in_the_template(pipe):
    watched = Watched(build(pipe, template="a photo of {}"))
    ours(pipe, Settings(steps=1), watched)
    texts = [region.text for region in watched.session.regions]
    assert texts == [None, "a photo of a red car", "a photo of a blue dog", None, "a photo of a green cup"]
    assert watched.session.texts.shape == (10, 77, 32)
    assert torch.equal(watched.session.texts[6], watched.run.encoder.encode(texts[1:2]).states[0])
