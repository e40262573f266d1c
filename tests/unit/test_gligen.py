"""GLIGEN on the engine: what holds for its layers and for a run, on random weights."""

from __future__ import annotations

import math

import pytest
import torch
from engine_hooks import noise, parent
from gligen_parts import CONFIG, EMPTY, LAYOUT, OTHER, awake, made
from tiny import tiny_pipeline, tiny_unet

from radl_bench.errors import UsageError
from radl_model.engine import Engine, Layout, Settings
from radl_model.gligen.adapter import GligenAdapter
from radl_model.gligen.config import GligenConfig
from radl_model.gligen.layers import GatedSelfAttention, PositionNet, attention_arguments

# Layers


def test_a_token_is_made_of_the_text_and_of_sines_in_a_stated_order():
    net = PositionNet(3, 2, 4)
    seen = []
    net.linears.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    net(torch.tensor([[[7.0, 8.0, 9.0]]]), torch.tensor([[[0.1, 0.2, 0.3, 0.4]]]), torch.tensor([[True]]))
    box = (0.1, 0.2, 0.3, 0.4)
    wanted = [7.0, 8.0, 9.0]
    for frequency in (1.0, 10.0):  # 100 ** (j / 2)
        wanted += [math.sin(frequency * v) for v in box] + [math.cos(frequency * v) for v in box]
    assert torch.allclose(seen[0].flatten(), torch.tensor(wanted), atol=1e-6)


def test_an_empty_slot_holds_the_null_features_whatever_text_and_box_it_was_given():
    net = PositionNet(3, 2, 4)
    torch.nn.init.normal_(net.null_positive_feature)
    torch.nn.init.normal_(net.null_position_feature)
    empty = torch.zeros(2, 1, dtype=torch.bool)
    tokens = net(torch.randn(2, 1, 3), torch.rand(2, 1, 4), empty)
    direct = net.linears(torch.cat([net.null_positive_feature, net.null_position_feature]))
    assert torch.allclose(tokens, direct.expand_as(tokens), atol=1e-6)


TINY, FULL = (16, 4, 8, 5), (1280, 8, 768, 30)
"""Channels, heads, width of the texts and slots of a layer; the second as in Stable Diffusion v1's mid block."""


def layer_inputs(size=TINY, seed=0):
    torch.manual_seed(seed)
    channels, heads, width, slots = size
    layer = GatedSelfAttention(channels, heads, width).requires_grad_(False)
    return layer, torch.randn(2, 9, channels), torch.randn(2, slots, width), torch.ones(2, 1, 1)


@pytest.mark.parametrize("size", [TINY, FULL])
def test_closed_gates_change_no_bit(size):
    layer, x, tokens, strength = layer_inputs(size)
    assert torch.equal(layer(x, layer.slots(tokens), strength), x)


def test_the_gate_opens_linearly_along_the_attention_branch():
    layer, x, tokens, strength = (v.double() for v in layer_inputs())
    step = 1e-6
    with torch.no_grad():
        layer.alpha_attn.fill_(step)
        slope = (layer(x, layer.slots(tokens), strength) - x) / step
        seen = layer.norm1(torch.cat([x, layer.linear(tokens)], 1))
        q, k, v = (
            m(seen).unflatten(-1, (4, 4)).transpose(1, 2) for m in (layer.attn.to_q, layer.attn.to_k, layer.attn.to_v)
        )
        shares = (q @ k.transpose(-1, -2) / 2).softmax(-1)
        branch = layer.attn.to_out((shares @ v).transpose(1, 2).flatten(2))[:, :9]
    assert torch.allclose(slope, branch, atol=1e-6)


@pytest.mark.parametrize("size", [TINY, FULL])
def test_slots_have_no_order(size):
    layer, x, tokens, strength = layer_inputs(size)
    layer.alpha_attn.data.fill_(1.0)
    layer.alpha_dense.data.fill_(1.0)
    shuffled = tokens[:, torch.randperm(size[-1])]
    assert not torch.allclose(layer(x, layer.slots(tokens), strength), x, atol=1e-2)
    assert torch.allclose(layer(x, layer.slots(tokens), strength), layer(x, layer.slots(shuffled), strength), atol=1e-5)


# Share of the steps


def test_strengths_by_step():
    assert GligenConfig().strengths(50) == [1.0] * 15 + [0.0] * 35
    assert GligenConfig(active_fraction=0.5, ramp=0.5).strengths(8) == [1, 1, 1, 1, 0.75, 0.5, 0.25, 0]
    assert GligenConfig(active_fraction=0.25).strengths(50).count(1.0) == 12  # cut, not rounded
    assert GligenConfig(active_fraction=0.57).strengths(100).count(1.0) == 57
    assert GligenConfig(active_fraction=1.0, ramp=1.0).strengths(3) == [1, 1, 1]
    assert GligenConfig().strengths(4, fraction=0.0) == [0.0] * 4


@pytest.mark.parametrize(
    "values", [{"slots": 0}, {"slots": 2.0}, {"ramp": 2}, {"ramp": None}, {"active_fraction": None}, {"colour": 1}]
)
def test_settings_that_are_none(values):
    with pytest.raises(UsageError):
        GligenConfig.from_dict(values)


class Watch(torch.nn.Module):
    """Counts the calls of the position net and of each UNet call's gated layers."""

    def __init__(self, pipe, adapter):
        super().__init__()
        self.nets, self.steps = 0, []
        adapter.position_net.register_forward_hook(self._net)
        for _, layer in adapter.named_layers():
            layer.register_forward_hook(self._layer)
        pipe.unet.register_forward_pre_hook(lambda _m, args: self.steps.append([float(args[1]), 0]))

    def _net(self, *_):
        self.nets += 1

    def _layer(self, *_):
        self.steps[-1][1] += 1


def test_the_position_net_runs_once_and_the_layers_stop_at_the_gate():
    pipe = tiny_pipeline()
    adapter = awake(pipe.unet)
    watch = Watch(pipe, adapter)
    made(adapter, [LAYOUT], pipe=pipe)
    assert watch.nets == 1
    assert [count for _, count in watch.steps] == [4] * 5 + [0] * 5  # four transformer blocks


def test_the_published_sampler_calls_the_unet_with_layers_16_times_down_to_701():
    from diffusers import PNDMScheduler

    pipe = tiny_pipeline()
    pipe.scheduler = PNDMScheduler(
        beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, skip_prk_steps=True, steps_offset=1
    )
    adapter = awake(pipe.unet)
    watch = Watch(pipe, adapter)
    made(adapter, [LAYOUT], pipe=pipe, settings=Settings(steps=50, guidance_scale=4.0, active_fraction=0.3))
    on = [t for t, count in watch.steps if count]
    assert len(watch.steps) == 51
    assert (len(on), on[:4], on[-1]) == (16, [981, 961, 961, 941], 701)


# Runs


def test_every_transformer_block_gets_a_layer_whatever_the_shape_of_the_base():
    assert len(GligenAdapter.from_unet(tiny_unet()).named_layers()) == 4
    wide = tiny_unet(
        block_out_channels=(32, 32, 32, 32),
        layers_per_block=2,
        down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
    )
    assert len(GligenAdapter.from_unet(wide).named_layers()) == 16


def test_at_stable_diffusions_size_it_has_the_published_number_of_parameters():
    """16 layers; diffusers' UNet has 1,068,623,204 parameters with gated attention and 859,520,964 without."""
    from diffusers import UNet2DConditionModel

    from radl_model.pipelines.sd14 import UNET

    with torch.device("meta"):
        adapter = GligenAdapter.from_unet(UNet2DConditionModel(**UNET))
    assert adapter.parameter_count() == 1_068_623_204 - 859_520_964
    assert len(adapter.named_layers()) == 16


@pytest.mark.parametrize("config", [CONFIG, GligenConfig(slots=5, active_fraction=1.0)])
def test_a_fresh_adapter_is_the_plain_base_bit_for_bit(config):
    pipe = tiny_pipeline()
    fresh = GligenAdapter.from_unet(pipe.unet, config)
    assert torch.equal(
        made(fresh, [LAYOUT], pipe=pipe), parent(tiny_pipeline(), [LAYOUT.prompt], (1,), num_inference_steps=10)
    )


@pytest.mark.parametrize(("layout", "share"), [(EMPTY, None), (LAYOUT, 0.0)])
def test_no_instance_or_no_step_is_the_plain_base_bit_for_bit(layout, share):
    settings = Settings(steps=10, guidance_scale=4.0, active_fraction=share)
    pipe = tiny_pipeline()
    got = made(awake(pipe.unet), [layout], settings=settings, pipe=pipe)
    assert torch.equal(got, parent(tiny_pipeline(), [layout.prompt], (1,), num_inference_steps=10))


def test_after_the_gate_a_step_is_the_plain_one_bit_for_bit():
    """From the latents at the gate on, the plain base ends at the same bits."""
    pipe, kept = tiny_pipeline(), {}

    def keep(step, latents):
        kept[step.index] = latents.clone()
        return latents

    end = made(awake(pipe.unet), [LAYOUT], pipe=pipe, on_step=keep)
    plain = tiny_pipeline()
    given = lambda step, latents: kept[4] if step.index == 4 else latents  # noqa: E731
    assert torch.equal(made(None, [LAYOUT], pipe=plain, on_step=given), end)
    assert not torch.equal(made(None, [LAYOUT], pipe=plain), end)


def test_batches_of_different_layouts_are_the_single_runs():
    pipe = tiny_pipeline()
    adapter = awake(pipe.unet)
    layouts, seeds = [LAYOUT, EMPTY, OTHER], (1, 2, 3)
    together = made(adapter, layouts, seeds, pipe=pipe)
    apart = [made(adapter, [layout], (seed,), pipe=pipe)[0] for layout, seed in zip(layouts, seeds, strict=True)]
    assert (together - torch.stack(apart)).abs().max() < 1e-4
    assert torch.equal(apart[1], made(None, [EMPTY], (2,))[0])
    assert (apart[0] - made(None, [LAYOUT], (1,))[0]).abs().max() > 1e-2


def test_seeds():
    pipe = tiny_pipeline()
    adapter = awake(pipe.unet)
    first, again, other = (made(adapter, [LAYOUT], (seed,), pipe=pipe) for seed in (5, 5, 6))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_instances_have_no_order_and_equal_phrases_keep_their_boxes():
    pipe = tiny_pipeline()
    adapter = awake(pipe.unet)
    turned = Layout(LAYOUT.prompt, LAYOUT.phrases[::-1], LAYOUT.boxes[::-1])
    first = made(adapter, [LAYOUT], pipe=pipe)
    assert (first - made(adapter, [turned], pipe=pipe)).abs().max() < 1e-4
    swapped = Layout(LAYOUT.prompt, LAYOUT.phrases, LAYOUT.boxes[::-1])
    assert (first - made(adapter, [swapped], pipe=pipe)).abs().max() > 1e-3
    twins = Layout("two dogs", ("a dog", "a dog"), LAYOUT.boxes)
    one = Layout("two dogs", ("a dog",), LAYOUT.boxes[:1])
    both = made(adapter, [twins], pipe=pipe)
    assert (both - made(adapter, [Layout("two dogs", twins.phrases, twins.boxes[::-1])], pipe=pipe)).abs().max() < 1e-4
    assert (both - made(adapter, [one], pipe=pipe)).abs().max() > 1e-3


def ground(adapter, valid, rows=1):
    torch.manual_seed(3)
    slots = adapter.settings.slots
    texts, boxes = torch.randn(rows, slots, 32), torch.rand(rows, slots, 4)
    return adapter.ground(texts, boxes, torch.tensor([valid] * rows))


def forward(unet, grounding):
    torch.manual_seed(4)
    extra = {} if grounding is None else {"cross_attention_kwargs": attention_arguments(grounding)}
    with torch.no_grad():
        return unet(torch.randn(1, 4, 16, 16), torch.tensor(500), torch.randn(1, 7, 32), **extra).sample


def test_empty_slots_are_not_the_same_as_no_layers():
    unet = tiny_unet()
    adapter = awake(unet)
    adapter.attach(unet)
    plain, empty = forward(unet, None), forward(unet, ground(adapter, [False] * 5))
    real = forward(unet, ground(adapter, [True] * 2 + [False] * 3))
    assert torch.equal(plain, forward(tiny_unet(), None))
    assert (empty - plain).abs().max() > 1e-3
    assert (empty - real).abs().max() > 1e-4


def test_the_unconditional_rows_depend_on_no_box():
    seen = []
    pipe = tiny_pipeline()
    adapter = awake(pipe.unet)
    for layout in (LAYOUT, OTHER):
        adapter.attach(pipe.unet)
        hook = adapter.named_layers()[0][1].register_forward_pre_hook(lambda _, args: seen.append(args[1]))
        made(adapter, [layout], pipe=pipe, settings=Settings(steps=1, guidance_scale=4.0, active_fraction=1.0))
        hook.remove()
    (a, _), (b, _) = seen
    assert torch.equal(a[0], b[0])
    assert not torch.equal(a[1], b[1])


def test_without_guidance_there_are_conditional_rows_alone():
    pipe = tiny_pipeline()
    adapter = awake(pipe.unet)
    plain = Settings(steps=4, guidance_scale=1.0, active_fraction=1.0)
    got = made(adapter, [LAYOUT, OTHER], (1, 2), settings=plain, pipe=pipe)
    apart = made(adapter, [OTHER], (2,), settings=plain, pipe=pipe)
    assert (got[1] - apart[0]).abs().max() < 1e-4


def test_guidance_may_end_half_way():
    pipe = tiny_pipeline()
    adapter = awake(pipe.unet)

    def end(step, latents):
        step.run.guidance_scale, step.run.texts = 1.0, step.run.prompt_states
        return latents

    got = made(adapter, [LAYOUT, OTHER], (1, 2), pipe=pipe, on_step=end)
    apart = made(adapter, [OTHER], (2,), pipe=pipe, on_step=end)
    assert (got[1] - apart[0]).abs().max() < 1e-4


# Layouts at their limits


def many(count):
    boxes = tuple((0.0, 0.0, (i + 1) / (count + 1), 0.9) for i in range(count))
    return Layout("things", tuple(f"thing {i}" for i in range(count)), boxes)


def images(pipe, adapter, layout):
    return Engine(pipe).generate([layout], [1], Settings(steps=2, guidance_scale=4.0), adapter)


@pytest.mark.parametrize(("count", "note"), [(30, ""), (31, "No guidance for 1 of 31 instances")])
def test_thirty_fit_and_of_more_the_largest_are_kept_and_it_is_recorded(count, note):
    pipe = tiny_pipeline()
    adapter = awake(pipe.unet, GligenConfig(active_fraction=1.0))
    layout = many(count)
    (image,) = images(pipe, adapter, layout)
    assert image.info.get("note", "").startswith(note)
    assert bool(note) == ("note" in image.info)
    kept = Layout(layout.prompt, layout.phrases[-30:], layout.boxes[-30:])
    assert image.tobytes() == images(pipe, adapter, kept)[0].tobytes()


def test_a_box_smaller_than_a_cell_counts():
    pipe = tiny_pipeline()
    adapter = awake(pipe.unet)
    small = lambda x: Layout("a dot", ("a dot",), ((x, 0.5, x + 0.01, 0.51),))  # noqa: E731
    here, there = (made(adapter, [small(x)], pipe=pipe) for x in (0.2, 0.7))
    assert torch.isfinite(here).all()
    assert (here - there).abs().max() > 1e-4


# Attaching


def test_attach_and_detach_leave_the_unet_as_it_was():
    unet = tiny_unet()
    keys, adapter = list(unet.state_dict()), awake(unet)
    adapter.attach(unet)
    held = [vars(m)["fuser"] for m in unet.modules() if "fuser" in vars(m)]
    adapter.attach(unet)
    assert held == [vars(m)["fuser"] for m in unet.modules() if "fuser" in vars(m)]
    assert list(unet.state_dict()) == keys
    adapter.detach(unet)
    assert not any("fuser" in vars(m) or "position_net" in vars(m) for m in unet.modules())


def test_another_base_is_refused():
    adapter = GligenAdapter.from_unet(tiny_unet())
    with pytest.raises(UsageError, match="was made for"):
        adapter.attach(tiny_unet(block_out_channels=(64, 64)))
    with pytest.raises(UsageError, match="texts of width 32, but this base has 64"):
        adapter.attach(tiny_unet(cross_attention_dim=64))
    with pytest.raises(UsageError, match="does not have"):
        adapter.attach(tiny_unet(down_block_types=("DownBlock2D", "DownBlock2D")))
    fewer = GligenAdapter.from_unet(tiny_unet(down_block_types=("DownBlock2D", "DownBlock2D")))
    with pytest.raises(UsageError, match="no layer for down_blocks"):
        fewer.attach(tiny_unet())


def test_a_batch_in_parts_is_refused():
    pipe = tiny_pipeline()
    with pytest.raises(UsageError, match="max_rows=2 must be at least 4"):
        made(awake(pipe.unet), [LAYOUT, OTHER], (1, 2), settings=Settings(steps=2, max_rows=2), pipe=pipe)


def test_the_pipeline_takes_it_as_its_method():
    from radl_model.pipelines.pipeline import RaDLPipeline

    pipe = tiny_pipeline(cls=RaDLPipeline)
    pipe.method = awake(pipe.unet)
    call = {"num_inference_steps": 10, "guidance_scale": 4.0, "output_type": "latent", "generator": noise(1)}
    got = pipe([LAYOUT.prompt], [list(LAYOUT.phrases)], [list(LAYOUT.boxes)], **call).images
    assert torch.equal(got, made(pipe.method, [LAYOUT]))
