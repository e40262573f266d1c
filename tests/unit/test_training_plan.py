"""`--plan`: counted costs against real ones, the sizes of v1.4, and what the plan says of cards."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from radl_model.errors import UsageError
from radl_model.train import program
from radl_model.train.__main__ import main
from radl_model.train.adapted import AdaptedUNet
from radl_model.train.config import load_config
from radl_model.train.counting import PeakBytes, cost_of, shapes_only
from radl_model.train.layouts import Rules
from radl_model.train.measure import ADAPTER, NEEDED, WHOLE, calls, measure
from radl_model.train.plan import Plan
from radl_model.train.program import Program
from radl_model.train.turn import Turn
from radl_model.train.ways import way_named
from tests.layout_training import config, make_place
from tests.tiny import tiny_unet

CONFIGS = Path(program.__file__).parent / "configs"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_place(tmp_path_factory.mktemp("training"))


def sd14(name: str = "radl-sd14", **changes: object) -> Program:
    table = load_config(CONFIGS / f"{name}.toml")
    return Program.from_dict({**table, "loop": {**table["loop"], **changes}})


def tiny_turn(method: str = "fusion", precision: str = "no") -> Turn:
    unet = tiny_unet()
    adapter = way_named(method).make(unet, {})
    module = AdaptedUNet(unet, adapter)
    return Turn(module.unet, module.adapter, {}, Rules(side=128), precision)


def test_flops_are_two_for_each_multiplication_of_a_matrix() -> None:
    """[5, 7] x [7, 3] is 105 multiplications; backward to the weight costs the same again."""
    with shapes_only():
        linear = nn.Linear(7, 3)
    assert cost_of(lambda: linear(torch.zeros(5, 7))).flops == 210
    assert cost_of(lambda: linear(torch.zeros(5, 7)).sum(), backward=True).flops == 420


def test_the_peak_is_what_is_alive_together() -> None:
    """1 MB and its double of 2 MB are alive together; the first is gone when 2 MB more are made."""
    with PeakBytes() as memory:
        first = torch.zeros(250_000)
        second = torch.cat([first, first])
        del first
        third = second + 1
    assert memory.peak == 4_000_000
    assert memory.now == 4_000_000
    del second, third
    assert memory.now == 0


@pytest.mark.parametrize("method", ["fusion", "gligen"])
def test_counting_without_memory_gives_what_a_real_turn_takes(method: str) -> None:
    turn = tiny_turn(method)
    real = cost_of(lambda: turn.forward(2), backward=True)
    with shapes_only():
        unet = tiny_unet()
        adapter = way_named(method).make(unet, {})
    module = AdaptedUNet(unet, adapter)
    fake = Turn(module.unet, module.adapter, {}, Rules(side=128), "no")
    assert cost_of(lambda: fake.forward(2), backward=True) == real


def test_blocks_before_the_first_layer_keep_no_activations() -> None:
    kept: dict[str, int] = {"down_blocks": 0, "up_blocks": 0}
    turn, running = tiny_turn(), [""]
    for part in kept:
        for block in turn.unet.get_submodule(part):
            block.register_forward_pre_hook(lambda *_, part=part: running.append(part))
            block.register_forward_hook(lambda *_: running.pop() and None)

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        if running[-1]:
            kept[running[-1]] += tensor.nbytes
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        turn.forward(1)
    assert kept["down_blocks"] == 0
    assert kept["up_blocks"] > 100_000


def test_what_is_compared_leaves_the_base_as_it_was() -> None:
    turn = tiny_turn()
    before = turn.forward(1)
    flops = {name: cost_of(call).flops for name, call in calls(turn, 1).items()}
    assert flops[NEEDED] < flops[ADAPTER]
    assert flops[NEEDED] < flops[WHOLE]
    assert torch.equal(turn.forward(1), before)
    assert not any(p.requires_grad or p.grad is not None for p in turn.unet.parameters())


@pytest.mark.slow
def test_the_adapter_costs_at_most_a_quarter_more_than_the_base_needs() -> None:
    """Forward and backward at v1.4's size, in FLOPs: 1.20 for RaDL. Its seconds are in docs/training.md."""
    plan = Plan(sd14())
    flops = {name: cost_of(call).flops for name, call in calls(plan.turn, 1).items()}
    assert 1.1 < flops[ADAPTER] / flops[NEEDED] < 1.25
    assert flops[ADAPTER] < flops[WHOLE]


@pytest.mark.slow
def test_the_plan_of_v14_has_its_sizes() -> None:
    """Weights of CompVis' checkpoint: UNet 859,520,964, autoencoder 83,653,863, CLIP text 123,060,480."""
    plan = Plan(sd14(), "a100-80gb", 8)
    parts = plan.parameters
    assert (parts["UNet"], parts["autoencoder"], parts["text encoder"]) == (859_520_964, 83_653_863, 123_060_480)
    assert plan.turn_size == 10
    assert plan.states()["optimizer"] == 8 * parts["adapter"]
    assert plan.checkpoint_bytes() == 16 * parts["adapter"]
    text = "\n".join(plan.lines())
    assert f"Parameters trained   {parts['adapter']:>14,}" in text
    assert "24,832,000  300.0 times the 82,783 of COCO's train2014" in text
    assert "It fits" in text
    small = Plan(sd14(), "rtx-3090", 1)
    turns = small.fitting_turns()
    assert turns is not None
    assert 320 // turns <= small.largest_turn() < 80
    assert f"It does not fit: a turn can hold {small.largest_turn()}. Set accumulate = {turns}." in small.lines()


@pytest.mark.parametrize(
    ("card", "gpus", "changes", "words"),
    [
        ("a100", 1, {}, "Unknown card 'a100'. Did you mean 'a100-"),
        ("v100-16gb", 1, {}, "does not compute in bf16; set precision to fp16"),
        ("a100-80gb", 7, {}, "cannot be shared by 7 GPUs in 4 turns"),
        ("a100-80gb", 0, {}, "1 GPU or more, not 0"),
    ],
)
def test_what_cannot_be_planned_is_said(card: str, gpus: int, changes: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Plan(sd14(**changes), card, gpus)


def test_the_command_plans_and_measures_and_writes_nothing(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import tomli_w

    (tmp_path / "config.toml").write_text(tomli_w.dumps(config(place)))
    before = sorted(place.rglob("*"))
    assert main([str(tmp_path / "config.toml"), "--plan", "--measure", "--card", "rtx-4090"]) == 0
    said = capsys.readouterr().out
    assert "times the 40 of" in said
    assert "times the seconds and" in said
    assert sorted(place.rglob("*")) == before
    for wrong in (["--out", "x", "--plan"], [], ["--out", "x", "--measure"]):
        with pytest.raises(SystemExit):
            main([str(tmp_path / "config.toml"), *wrong])


def test_measured_rows_have_the_flops_of_the_plan(place: Path) -> None:
    plan = Plan(Program.from_dict(config(place)))
    rows = {row.name: row for row in measure(plan, samples=1, repeats=1)}
    assert list(rows) == [ADAPTER, NEEDED, WHOLE]
    assert rows[ADAPTER].flops == cost_of(lambda: plan.turn.forward(1), backward=True).flops
    assert all(row.seconds > 0 for row in rows.values())
