"""LayoutDiffusion: sizes of the published models, properties of the network on random weights, the solver, labels."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
import torch

from radl_bench.generators.layout_diffusion import LayoutDiffusionGenerator, find
from radl_bench.types import Instance, Sample
from radl_model.errors import BadInput, MissingWeights, UsageError
from radl_model.layout_diffusion import pipeline
from radl_model.layout_diffusion.blocks import patch_boxes
from radl_model.layout_diffusion.config import COCO_128, COCO_256, LayoutDiffusionConfig
from radl_model.layout_diffusion.labels import CLASSES, class_of, empty, encode
from radl_model.layout_diffusion.network import LayoutDiffusionUNet, sinusoid
from radl_model.layout_diffusion.solver import half_log_snr, log_alpha, orders, sigma, solve, time_of

TINY = LayoutDiffusionConfig(
    image_size=32, channels=32, multipliers=(1, 2, 2), attention=(2, 4), res_blocks=1, head_channels=16,
    encoder_width=32, encoder_layers=2, encoder_heads=4,
)  # fmt: skip
BOXES = [(0.1, 0.1, 0.5, 0.6), (0.4, 0.3, 0.9, 0.9)]


def randomised(config: LayoutDiffusionConfig = TINY) -> LayoutDiffusionUNet:
    """A network whose every weight is noise; a fresh one has zeroed blocks and gives zeros."""
    torch.manual_seed(0)
    network = LayoutDiffusionUNet(config).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        network.out[2].weight.mul_(0.05)  # else small differences grow from step to step
    return network


@pytest.fixture(scope="module")
def network() -> LayoutDiffusionUNet:
    return randomised()


@pytest.fixture(scope="module")
def precise() -> LayoutDiffusionUNet:
    """In float64, where a random network's amplification of rounding stays small."""
    return randomised().double()


def run(network: LayoutDiffusionUNet, classes: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
    x = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return network(x, torch.tensor([321.5]), classes[None], boxes[None])


@pytest.mark.parametrize(
    ("config", "parameters", "keys"),
    [
        (COCO_256, 568_586_758, 805),
        (COCO_128, 435_286_278, 731),
        (replace(COCO_256, slots=12, classes=180, padding=179), 568_585_478, 805),
        (replace(COCO_256, channels=128, head_channels=32, encoder_width=128, encoder_layers=4), 141_880_326, 781),
    ],
)
def test_sizes_are_those_of_the_published_models(config, parameters, keys):
    """Counted on the original code by the authors of this project's notes; VG and "small" share the code."""
    with torch.device("meta"):
        network = LayoutDiffusionUNet(config)
    assert sum(p.numel() for p in network.parameters()) == parameters
    assert len(network.state_dict()) == keys


def test_published_keys():
    with torch.device("meta"):
        keys = set(LayoutDiffusionUNet(COCO_256).state_dict())
    blocks = {key.rsplit(".qkv_projector.weight")[0] for key in keys if key.endswith("qkv_projector.weight")}
    inputs = {f"input_blocks.{i}.1" for i in (10, 11, 13, 14, 16, 17)}
    assert blocks == inputs | {"middle_block.1"} | {f"output_blocks.{i}.1" for i in range(9)}
    assert {"time_embed.2.weight", "out.2.bias", "layout_encoder.transform.resblocks.5.mlp.c_proj.bias"} <= keys


def test_a_fresh_network_gives_zeros():
    layout = encode(["car"], BOXES[:1], TINY)
    assert not run(LayoutDiffusionUNet(TINY).eval(), layout.classes, layout.boxes).any()


def test_order_of_instances_means_nothing_but_slot_0_does(network):
    layout = encode(["car", "dog"], BOXES, TINY)
    plain = run(network, layout.classes, layout.boxes)
    order = [0, *torch.randperm(9, generator=torch.Generator().manual_seed(2)).add(1).tolist()]
    assert torch.allclose(run(network, layout.classes[order], layout.boxes[order]), plain, atol=1e-4)
    swapped = [1, 0, *range(2, 10)]
    assert not torch.allclose(run(network, layout.classes[swapped], layout.boxes[swapped]), plain, atol=1e-2)


def test_class_and_box_are_read(network):
    plain = run(network, *encode(["car"], BOXES[:1], TINY)[:2])
    assert (run(network, *encode(["dog"], BOXES[:1], TINY)[:2]) - plain).abs().max() > 1e-2
    assert (run(network, *encode(["car"], BOXES[1:], TINY)[:2]) - plain).abs().max() > 1e-2


def test_an_eleventh_empty_slot_changes_the_output(network):
    """Group norms run over the slots, padding included: their number is part of the model."""
    layout = encode(["car", "dog"], BOXES, TINY)
    longer = encode(["car", "dog"], BOXES, replace(TINY, slots=11))
    assert (run(network, *longer[:2]) - run(network, *layout[:2])).abs().max() > 1e-4


def test_batched_equals_single(precise):
    layouts = [encode(["car"], BOXES[:1], TINY), encode(["dog", "cat"], BOXES, TINY), empty(TINY)]

    def rngs():
        return [torch.Generator().manual_seed(n) for n in range(3)]

    batch = pipeline.sample(precise, layouts, rngs(), evaluations=4)
    singles = [
        pipeline.sample(precise, [entry], [rng], evaluations=4) for entry, rng in zip(layouts, rngs(), strict=True)
    ]
    assert torch.allclose(batch, torch.cat(singles), atol=1e-8)


def test_guidance(precise):
    layout, none = encode(["car"], BOXES[:1], TINY), empty(TINY)
    made = [
        pipeline.sample(precise, [entry], [torch.Generator().manual_seed(5)], 3, scale)
        for entry, scale in ((layout, 0.0), (layout, 1.0), (none, 0.0), (none, 1.0), (none, 5.0))
    ]
    assert not torch.allclose(made[0], made[1], atol=1e-3)
    assert torch.allclose(made[2], made[3], atol=1e-5)
    assert torch.allclose(made[2], made[4], atol=1e-4)


def test_without_guidance_the_layout_alone_is_read(precise):
    """s = 0 is the plain loop over the conditional network, of one pass an evaluation; s > 0 makes two."""
    layout, rows = encode(["car"], BOXES[:1], TINY), []
    hook = precise.register_forward_pre_hook(lambda _, args: rows.append(len(args[0])))
    made = [pipeline.sample(precise, [layout], [torch.Generator().manual_seed(5)], 25, scale) for scale in (0.0, 1.0)]
    hook.remove()
    assert rows == [1] * 25 + [2] * 25

    @torch.no_grad()
    def conditional(x, t):
        times = torch.tensor([1000 * max(t - 0.001, 0.0)])
        return precise(x, times, layout.classes[None], layout.boxes[None])[:, :3]

    noise = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(5)).double()
    assert torch.allclose(made[0], solve(conditional, noise, 25).clamp(-1, 1), atol=1e-9)


def test_time_embedding_has_cosines_first():
    """diffusers' `get_timestep_embedding` with flip_sin_to_cos is an independent implementation."""
    from diffusers.models.embeddings import get_timestep_embedding

    times = torch.tensor([0.0, 17.25, 999.0])
    assert torch.allclose(sinusoid(times, 256), get_timestep_embedding(times, 256, True, 0), atol=1e-4)


def test_patches_go_row_by_row():
    assert patch_boxes(2).tolist() == [[0, 0, 0.5, 0.5], [0.5, 0, 1, 0.5], [0, 0.5, 0.5, 1], [0.5, 0.5, 1, 1]]


@pytest.mark.parametrize(("n", "wanted"), [(25, (3,) * 8 + (1,)), (24, (3,) * 7 + (2, 1)), (26, (3,) * 8 + (2,))])
def test_orders(n, wanted):
    assert orders(n) == wanted
    assert sum(wanted) == n


def test_schedule():
    """The two ends as the published code has them, and lambda's inverse."""
    assert half_log_snr(1.0) == pytest.approx(-5.025, abs=1e-3)
    assert half_log_snr(1e-4) == pytest.approx(5.752, abs=1e-3)
    for t in (1e-4, 0.01, 0.3, 0.999, 1.0):
        assert time_of(half_log_snr(t)) == pytest.approx(t, rel=1e-9)
        assert math.exp(2 * log_alpha(t)) + sigma(t) ** 2 == pytest.approx(1.0)


@pytest.mark.parametrize("evaluations", [24, 25, 26])
def test_solver_on_normal_data_stands_still(evaluations):
    """For data from N(0, 1) the noise seen is sigma x, and the flow is the identity."""
    x = torch.randn(1000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    calls: list[float] = []

    def noise(x: torch.Tensor, t: float) -> torch.Tensor:
        calls.append(t)
        return sigma(t) * x

    assert (solve(noise, x, evaluations) / x - 1).abs().max() < 5e-3
    assert len(calls) == evaluations
    fine = [abs(float(solve(noise, torch.ones(1, dtype=torch.float64), n)) - 1) for n in (49, 97, 193)]
    assert fine[0] > 7 * fine[1] > 49 * fine[2]  # third order: half the step, an eighth of the error


def test_solver_of_order_three_converges_like_one():
    """Data from N(0, .25): x(t) = x(1) * s(t) / s(1) with s^2 = alpha^2 / 4 + sigma^2; error falls with NFE^-3."""

    def spread(t: float) -> float:
        return math.sqrt(math.exp(2 * log_alpha(t)) / 4 + sigma(t) ** 2)

    def error(evaluations: int) -> float:
        x = torch.ones(1, dtype=torch.float64)
        end = solve(lambda x, t: sigma(t) * x / spread(t) ** 2, x, evaluations)
        return abs(float(end) - spread(1e-4) / spread(1.0))

    assert error(25) < 5e-3
    assert error(97) < error(25) / 20


def test_half_precision_is_close(network):
    layout = encode(["car", "dog"], BOXES, TINY)
    wanted = run(network, *layout[:2])
    half = run(randomised().bfloat16(), *layout[:2]).float()
    assert (half - wanted).abs().max() < 0.05 * wanted.abs().max()


def test_labels():
    assert len(CLASSES) == 171
    assert (class_of("carrot"), class_of("A Person"), class_of("sofa"), class_of("wood")) == (57, 1, 63, 182)
    assert class_of("unicorn") is None


def test_what_the_model_does_not_see_is_said():
    big, small = (0.0, 0.0, 0.9, 0.9), (0.1, 0.1, 0.2, 0.2)
    layout = encode(["dog"] * 9 + ["unicorn"], [big] * 4 + [small] + [big] * 5, COCO_256)
    assert (
        layout.note
        == "No guidance for 2 of 10 instances: no class for 'unicorn'; 1 smaller instances beyond the slots."
    )
    assert layout.boxes[1:9].tolist() == [pytest.approx(big)] * 8
    assert layout.classes.tolist() == [0, *[18] * 8, 184]
    assert empty(COCO_256).note == ""


def test_a_folder_and_a_published_file_round_trip(network, tmp_path, monkeypatch):
    pipeline.save(network, tmp_path / "own")
    again = pipeline.load(tmp_path / "own")
    layout = encode(["car"], BOXES[:1], TINY)
    assert torch.allclose(run(again, *layout[:2]), run(network, *layout[:2]), atol=0.05)
    monkeypatch.setattr(pipeline, "PUBLISHED", {"tiny": TINY})
    torch.save(network.state_dict(), tmp_path / "published.pt")
    assert torch.equal(run(pipeline.load(tmp_path / "published.pt"), *layout[:2]), run(network, *layout[:2]))


@pytest.mark.parametrize("spoil", ["half", "other", "shape", "extra"])
def test_a_checkpoint_that_does_not_fit_is_refused(network, tmp_path, monkeypatch, spoil):
    monkeypatch.setattr(pipeline, "PUBLISHED", {"tiny": TINY})
    state = dict(network.state_dict())
    if spoil == "half":
        state = dict(list(state.items())[: len(state) // 2])
    elif spoil == "other":
        state = {"model.diffusion_model.weight": torch.zeros(1)}
    elif spoil == "extra":
        state["one.more"] = torch.zeros(1)
    else:
        state["out.2.weight"] = torch.zeros(6, 7, 3, 3)
    torch.save(state, tmp_path / "file.pt")
    with pytest.raises(BadInput, match=r"file\.pt"):
        pipeline.load(tmp_path / "file.pt")


def test_a_config_is_checked(tmp_path):
    with pytest.raises(UsageError, match="multiple of 32"):
        LayoutDiffusionConfig(channels=48)
    (tmp_path / "config.json").write_text(json.dumps({"slot": 3}))
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(BadInput):
        pipeline.load(tmp_path)
    with pytest.raises(MissingWeights):
        pipeline.load(tmp_path / "nowhere")


def test_missing_weights_say_where_they_go(tmp_path, monkeypatch):
    monkeypatch.setenv("RADL_BENCH_HOME", str(tmp_path))
    with pytest.raises(MissingWeights, match=r"256 pixels in .*layout-diffusion.*--model PATH"):
        find("sd14")
    (tmp_path / "weights" / "layout-diffusion").mkdir(parents=True)
    file = tmp_path / "weights" / "layout-diffusion" / "COCO-stuff_128x128_LayoutDiffusion_large_ema.pt"
    file.write_bytes(b"")
    assert find("coco-128") == file


def test_the_method_makes_images_that_depend_on_their_seed_alone(network, tmp_path):
    pipeline.save(network, tmp_path / "own")
    method = LayoutDiffusionGenerator(str(tmp_path / "own"), steps=2)
    thing = Instance("a red unicorn", "unicorn", "red", (0.1, 0.1, 0.9, 0.9))
    samples = [Sample("a", "a dog", (Instance("a dog", "dog", None, BOXES[0]),)), Sample("b", "b", (thing,))]
    one, other = method.generate(samples, [1, 2])
    assert one.size == (64, 64)
    assert method.generate(samples[:1], [1])[0].tobytes() == one.tobytes()
    assert "note" not in one.info
    assert other.info["note"] == "No guidance for 1 of 1 instances: no class for 'unicorn'."
