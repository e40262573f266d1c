"""A turn timed on this machine, with random weights, beside what the base alone costs: all in turn in one process."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from radl_model.train.adapted import AdaptedUNet
from radl_model.train.counting import cost_of
from radl_model.train.plan import Plan
from radl_model.train.precision import faster_precision, training_device
from radl_model.train.turn import Turn
from radl_model.train.ways import way_named

ADAPTER = "the adapter: forward and backward"
NEEDED = "the base alone: forward, and backward down to the adapter's first layer"
WHOLE = "fine-tuning of the whole base: forward and backward"


class Timed(NamedTuple):
    """Fewest seconds of a call (processor time without a GPU), and its FLOPs."""

    name: str
    seconds: float
    flops: int


def calls(turn: Turn, samples: int) -> dict[str, Callable[[], None]]:
    """What is compared, each one forward and backward of `samples`; the UNet is as it was afterwards."""
    return {
        ADAPTER: lambda: turn.forward(samples).backward(),
        NEEDED: lambda: _alone(turn, samples, whole=False),
        WHOLE: lambda: _alone(turn, samples, whole=True),
    }


def _alone(turn: Turn, samples: int, whole: bool) -> None:
    """The base without the adapter; a gradient is asked for at the adapter's first layer, or by all weights."""
    unet, adapter = turn.unet, turn.adapter
    adapter.detach(unet)  # type: ignore[operator]
    device = next(adapter.parameters()).device
    asked = torch.zeros(1, device=device, requires_grad=True)
    hook = unet.get_submodule(_first(unet, adapter)).register_forward_hook(lambda _m, _i, out: out + asked)
    unet.requires_grad_(whole)
    try:
        _base_loss(turn, samples, device).backward()
    finally:
        hook.remove()
        unet.requires_grad_(False)
        unet.zero_grad(set_to_none=True)
        adapter.attach(unet)  # type: ignore[operator]


def _base_loss(turn: Turn, samples: int, device: torch.device) -> Tensor:
    batch = turn.batch(samples).to(device)
    states = torch.zeros(*batch.prompt_ids.shape, turn.unet.config.cross_attention_dim, device=device)
    steps = torch.full((samples,), 700, device=device)
    with turn.autocast(device.type):
        predicted = turn.unet(batch.latents, steps, states, return_dict=False)[0]
    loss: Tensor = predicted.float().square().mean()
    return loss


def _first(unet: Any, adapter: Any) -> str:
    """Name of the module of the UNet that the adapter's first layer sits on, in the order they run."""
    pairs = adapter.named_layers()
    names = {name for name, _ in pairs}
    order = [name for part in ("down_blocks", "mid_block", "up_blocks") for name in _under(unet, part) if name in names]
    return order[0]


def _under(unet: nn.Module, part: str) -> list[str]:
    return [f"{part}.{name}" for name, _ in unet.get_submodule(part).named_modules() if name]


def measure(plan: Plan, samples: int = 1, repeats: int = 2) -> list[Timed]:
    """Time each of `calls` at the plan's size with random weights, on the GPU where there is one."""
    device = training_device()
    turn = _real_turn(plan, device)
    best: dict[str, float] = {}
    for _ in range(repeats):
        for name, call in calls(turn, samples).items():
            turn.adapter.zero_grad(set_to_none=True)
            best[name] = min(best.get(name, float("inf")), _seconds(call, device))
    return [Timed(name, seconds, plan_flops(plan, name, samples)) for name, seconds in best.items()]


def plan_flops(plan: Plan, name: str, samples: int) -> int:
    """FLOPs of one of `calls`, from shapes alone."""
    return cost_of(calls(plan.turn, samples)[name]).flops


def _real_turn(plan: Plan, device: str) -> Turn:
    torch.manual_seed(0)
    unet = plan.skeleton.make_unet()
    adapter = way_named(plan.program.method).make(unet, plan.program.settings)
    module = AdaptedUNet(unet, adapter).to(device)
    precision = plan.turn.precision if device == "cuda" else faster_precision(device)
    return Turn(module.unet, module.adapter, plan.program.loss, plan.program.rules, precision)


def _seconds(call: Callable[[], None], device: str) -> float:
    """Processor time, so that others on a busy machine do not count; on a GPU the time that passes."""
    clock = time.perf_counter if device == "cuda" else time.process_time
    begin = clock()
    call()
    if device == "cuda":
        torch.cuda.synchronize()
    return clock() - begin


def measured_lines(plan: Plan, repeats: int = 2) -> Iterator[str]:
    """Time and print: seconds beside FLOPs, and what they say about the computed ones."""
    rows = {row.name: row for row in measure(plan, 1, repeats)}
    own, where = rows[ADAPTER], "this GPU" if torch.cuda.is_available() else "this machine's processor"
    yield f"Measured on {where}: one image at full size, random weights, least of {repeats}"
    for row in rows.values():
        rate = row.flops / row.seconds / 1e9
        yield f"  {row.seconds:>8.2f} s {row.flops / 1e12:>7.2f} TFLOPs {rate:>9.0f} GFLOPS  {row.name}"
    for name, other in ((NEEDED, "base alone"), (WHOLE, "fine-tuning of the whole base")):
        seconds, flops = own.seconds / rows[name].seconds, own.flops / rows[name].flops
        yield f"  {seconds:.2f} times the seconds and {flops:.2f} times the FLOPs of the {other}"
    hours = own.seconds * plan.program.loop.steps * plan.program.loop.batch_size / plan.gpus / 3600
    yield f"  {hours:,.0f} hours for all steps on {plan.gpus} of these, without the encoding of images"
