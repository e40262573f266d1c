"""The recipe of the mini base: Muon, the text tower that reads first, alignment, timesteps, precision."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from radl_bench.errors import MissingData, UsageError
from radl_bench.mini.atlas import CATEGORIES
from radl_bench.mini.train import base, bench, cache, classifier, encoder, recipe, text_tower, top1
from radl_bench.mini.train.autoencoder import build as build_vae
from radl_bench.mini.train.text import build_text_encoder, build_tokenizer
from radl_bench.types import COLORS, Instance, Sample
from radl_model.train import precision
from radl_model.train.loop import Loop, LoopConfig
from radl_model.train.muon import AS_ADAMW, Muon, orthogonalize, split_parameters


def thing(category: str, color: str | None, *box: float) -> Instance:
    phrase = f"a {color} {category}" if color else f"a {category}"
    return Instance(phrase, category, color, box)


@pytest.mark.parametrize("shape", [(48, 300), (300, 48), (64, 64), (1, 9)])
def test_orthogonalize_keeps_the_singular_vectors_and_evens_the_values(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    u, values, v = torch.linalg.svd(matrix, full_matrices=False)
    kept = values > 0.01 * values.max()
    found = u.T @ orthogonalize(matrix) @ v.T
    diagonal = found.diagonal()
    assert torch.allclose(found, torch.diag(diagonal), atol=2e-3)
    assert diagonal[kept].min() > 0.7
    assert diagonal.max() < 1.25


def test_orthogonalize_does_not_depend_on_the_scale():
    matrix = torch.randn(20, 30, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(orthogonalize(matrix), orthogonalize(1e-3 * matrix), atol=1e-3)


def test_muon_takes_matrices_and_leaves_edges_embeddings_and_vectors_to_adamw():
    named = {n: nn.Parameter(torch.zeros(s)) for n, s in {
        "conv_in.weight": (4, 3, 3, 3), "time_embedding.linear.weight": (4, 4), "block.conv.weight": (4, 4, 3, 3),
        "attn.to_q.weight": (4, 4), "norm.weight": (4,), "conv_out.weight": (3, 4, 3, 3)}.items()}  # fmt: skip
    matrices, others = split_parameters(named.items())
    assert {id(p) for p in matrices} == {id(named["block.conv.weight"]), id(named["attn.to_q.weight"])}
    assert len(others) == 4


def test_one_step_of_muon_on_a_matrix_against_an_svd():
    torch.manual_seed(0)
    weight = nn.Parameter(torch.randn(6, 4))
    before, gradient = weight.detach().clone(), torch.randn(6, 4)
    optimizer = Muon([("layer.weight", weight)], lr=1.0, matrix_lr=0.1, matrix_decay=0.5)
    weight.grad = gradient
    optimizer.step()
    u, _, v = torch.linalg.svd(gradient, full_matrices=False)
    moved = (before * (1 - 0.1 * 0.5) - weight.detach()) / (0.1 * AS_ADAMW * 6**0.5)
    # A first step's momentum is a multiple of the gradient, so its direction is the gradient's own polar factor.
    assert torch.linalg.matrix_norm(moved - u @ v, 2) < 0.3


def test_muons_adamw_is_torchs():
    torch.manual_seed(0)
    start = torch.randn(7)
    ours, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    first = Muon([("bias", ours)], lr=0.01, matrix_lr=1.0, betas=(0.9, 0.99), weight_decay=0.1)
    second = torch.optim.AdamW([theirs], 0.01, betas=(0.9, 0.99), weight_decay=0.1)
    for _ in range(5):
        gradient = torch.randn(7)
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        first.step()
        second.step()
    assert torch.allclose(ours, theirs, atol=1e-7)


def linear_loop(out: Path, optimizer: str = "muon") -> Loop:
    torch.manual_seed(0)
    goal = torch.randn(5, 3)
    config = LoopConfig(
        steps=8, batch_size=4, lr=1e-2, matrix_lr=0.1, optimizer=optimizer, warmup=2, decay=3, precision="no"
    )

    def make_batch(step: int) -> torch.Tensor:
        return torch.randn(4, 3, generator=torch.Generator().manual_seed(step))

    def loss(module: nn.Module, x: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
        return (module(x) - x @ goal.T + 0.1 * torch.randn(4, 5, generator=rng)).square().mean()

    return Loop(nn.Linear(3, 5), make_batch, loss, config, out)


def test_muon_goes_on_after_a_stop_as_if_it_had_not_stopped(tmp_path):
    whole = linear_loop(tmp_path / "whole")
    whole.run()
    first = linear_loop(tmp_path / "parts")
    first.run(minutes=0)
    second = linear_loop(tmp_path / "parts")
    assert second.resume()
    second.run()
    assert second.step == 8
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters, second.parameters, strict=True))
    assert second.cpu > 0


def test_an_unknown_optimizer_is_refused(tmp_path):
    with pytest.raises(UsageError, match="muon"):
        linear_loop(tmp_path, "mun")


def test_alignment_loss_in_closed_form():
    goal = torch.zeros(2, 3, 1, 2)
    goal[:, 0] = 5.0
    projected = torch.zeros(2, 3, 1, 2)
    projected[0, 0] = 2.0  # the same direction: 0
    projected[1, 1, 0, 0] = 1.0  # at right angles: 1
    projected[1, 0, 0, 1] = -3.0  # opposite: 2
    assert recipe.alignment_loss(projected, goal).item() == pytest.approx((0 + 0 + 1 + 2) / 4)


def test_stratified_timesteps_fill_every_part_once_and_noisy_ones_lie_high():
    drawn = recipe.stratified_timesteps(50, torch.Generator().manual_seed(0))
    assert sorted((drawn * 50 // 1000).tolist()) == list(range(50))
    noisy = recipe.stratified_timesteps(50, torch.Generator().manual_seed(0), noisy=1.0)
    assert noisy.min() >= 799
    assert noisy.max() <= 999


def test_cells_show_the_smallest_thing_that_holds_their_centre():
    sample = Sample("x", "a red apple and a dog", (
        thing("dog", None, 0.5, 0.5, 1.0, 1.0), thing("apple", "red", 0.0, 0.0, 1.0, 0.75)))  # fmt: skip
    kind, color, place = encoder.cell_targets([sample], 4)
    apple, dog, ground = CATEGORIES.index("apple"), CATEGORIES.index("dog"), encoder.GROUND
    expected = [[apple] * 4, [apple] * 4, [apple, apple, dog, dog], [ground, ground, dog, dog]]
    assert kind[0].tolist() == expected
    red = COLORS.index("red")
    assert color[0, 0].tolist() == [red] * 4
    assert color[0, 3].tolist() == [encoder.UNCOLOURED] * 4
    assert place[0, :, 1, 2].tolist() == pytest.approx([0.625, 0.5])
    assert place[0, :, 2, 2].tolist() == pytest.approx([0.25, 0.25])
    assert place[0, :, 3, 0].tolist() == [0, 0]


def test_phrase_ends_point_at_the_last_token_of_each_phrase():
    tokenizer = build_tokenizer()
    sample = Sample("x", "a photo of a red wine glass and a dog", (
        thing("wine glass", "red", 0, 0, 1, 1), thing("dog", None, 0, 0, 1, 1)))  # fmt: skip
    ids, kind, color, ends = text_tower.answers(tokenizer, [sample])
    words = [tokenizer.convert_ids_to_tokens(int(ids[0, at])) for at in ends[0, :2]]
    assert words == ["glass</w>", "dog</w>"]
    assert kind[0, :3].tolist() == [CATEGORIES.index("wine glass"), CATEGORIES.index("dog"), text_tower.NOTHING]
    assert color[0, :3].tolist() == [COLORS.index("red"), text_tower.UNCOLOURED, text_tower.NOTHING]


def test_the_text_tower_learns_to_read():
    torch.manual_seed(0)
    tokenizer = build_tokenizer()
    module = text_tower.Reading(build_text_encoder(tokenizer, width=32, layers=1))
    module.text_encoder.set_attn_implementation("eager")
    batch = text_tower.make_batch(0, 8, 0, tokenizer)
    optimizer = torch.optim.AdamW(module.parameters(), 3e-3)
    losses = []
    for _ in range(30):
        loss = text_tower.loss_fn(module, batch, torch.Generator(), tokenizer.eos_token_id)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    # Both readings start at the entropy of 79 classes and 8 colours.
    assert losses[0] == pytest.approx(2 * (np.log(79) + np.log(8)), abs=1.5)
    assert losses[-1] < losses[0] / 2


@pytest.fixture
def aligned_pool(tmp_path) -> Path:
    build_vae(width=8).save_pretrained(tmp_path / "vae")
    torch.manual_seed(0)
    encoder.save(encoder.SceneEncoder(4), {"width": 4}, tmp_path / "encoder")
    folder = tmp_path / "latents"
    folder.mkdir()
    cache.write_shard(
        0, folder, tmp_path / "vae", size=6, seed=3, level_weights=(1,), pixels=64, encoder_folder=tmp_path / "encoder"
    )
    return folder


def test_the_pool_holds_the_encoders_features_of_its_scenes(aligned_pool, tmp_path):
    pool = cache.LatentPool(aligned_pool)
    assert pool.features.shape == (6, 24, 4, 4)
    scene = cache.render(pool.samples[2], 3 * 10_000_000 + 2, 64)
    with torch.no_grad():
        goal = encoder.load(tmp_path / "encoder").goal(encoder.to_tensor(scene[None]))
    assert torch.allclose(pool.features[2].float(), goal[0], atol=2e-3)


def test_the_recipe_reaches_the_unet_and_the_projection_and_leaves_the_tower(aligned_pool):
    torch.manual_seed(0)
    tokenizer = build_tokenizer()
    module = recipe.AlignedBase(base.build_unet((32, 64)), build_text_encoder(tokenizer), goal_width=24)
    lesson = recipe.Lesson(cache.LatentPool(aligned_pool), tokenizer, batch_size=4, tokens=16)
    training = recipe.RecipeTraining([lesson], tokenizer, 0, recipe.Recipe(anneal=10))
    training.loss(module, training.make_batch(0), torch.Generator().manual_seed(0)).backward()
    assert not [n for n, p in module.named_parameters() if p.requires_grad and p.grad is None]
    assert all(p.grad is None for p in module.text_encoder.parameters())
    assert not module.train().text_encoder.training
    assert [training.noisy(step) for step in (0, 5, 20)] == pytest.approx([0.6, 0.3, 0.0])


def test_min_snr_weights_for_velocity():
    training = recipe.RecipeTraining([], build_tokenizer(), 0, recipe.Recipe(min_snr=5.0))
    alpha = training.scheduler.alphas_cumprod
    steps = torch.tensor([5, 500, 999])
    snr = alpha[steps] / (1 - alpha[steps])
    assert snr[0] > 5 > snr[1]
    expected = [5 / (float(snr[0]) + 1), float(snr[1] / (snr[1] + 1)), 0.0]
    assert training._snr_weights(steps).flatten().tolist() == pytest.approx(expected, abs=1e-6)


def test_lessons_join_and_leave(aligned_pool):
    tokenizer, pool = build_tokenizer(), cache.LatentPool(aligned_pool)
    early = recipe.Lesson(pool, tokenizer, batch_size=2, last=3)
    late = recipe.Lesson(pool, tokenizer, batch_size=2, first=3)
    training = recipe.RecipeTraining([early, late], tokenizer, 0, recipe.Recipe())
    assert [training.lesson_of(step) is early for step in range(6)] == [True] * 3 + [False] * 3


def test_latents_without_features_are_refused(aligned_pool):
    pool = cache.LatentPool(aligned_pool)
    pool.features = None
    with pytest.raises(MissingData, match="encoder_folder"):
        recipe.Lesson(pool, build_tokenizer(), batch_size=2)


def test_the_faster_precision_wins(monkeypatch):
    cost = {"bf16": 2.0, "no": 1.0}
    monkeypatch.setattr(precision, "step_of", lambda name, device: name)
    monkeypatch.setattr(precision, "seconds_of", lambda name, clock: cost[name])
    precision.faster_precision.cache_clear()
    try:
        assert precision.faster_precision("cpu") == "no"
        precision.faster_precision.cache_clear()
        cost["no"] = 3.0
        assert precision.faster_precision("cpu") == "bf16"
    finally:
        precision.faster_precision.cache_clear()


def test_seconds_are_those_of_the_fastest_call_after_the_first():
    ticks = iter([0.0, 5.0, 10.0, 12.0, 20.0, 23.0])
    calls: list[int] = []
    assert precision.seconds_of(lambda: calls.append(1), clock=lambda: next(ticks)) == 2.0
    assert len(calls) == 4


def test_timing_moves_no_random_number():
    precision.faster_precision.cache_clear()
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    with torch.no_grad():  # figures ask for it from inside
        assert precision.faster_precision("cpu") in ("bf16", "no")
    assert torch.equal(torch.rand(2), expected)


def test_top1_asks_for_every_class_in_every_colour_once():
    asked = top1.wanted(79 * 7)
    assert len(set(asked)) == 79 * 7
    assert {kind for kind, _ in asked[:79]} == set(range(79))
    assert len({color for _, color in asked[:79]}) == 7


def test_the_bench_runs_what_is_missing_at_an_equal_budget(aligned_pool, tmp_path):
    classifier.save(classifier.ThingClassifier(4), {"width": 4}, tmp_path / "judge")
    build_text_encoder(build_tokenizer()).save_pretrained(tmp_path / "text")
    settings = {
        "seeds": 1, "budget": 0.0, "count": 12, "judge": str(tmp_path / "judge"),
        "shared": {"vae_folder": str(tmp_path / "vae"), "text": str(tmp_path / "text"),
            "lessons": [{"latents": [str(aligned_pool)], "tokens": 16}], "model": {"channels": [32, 64]},
            "loop": {"batch_size": 2, "lr": 1e-3, "precision": "no"}},
        "variants": {"today": {"stage": "base"}, "muon": {"stage": "recipe", "loop": {"optimizer": "muon"}}},
    }  # fmt: skip
    bench.train(settings, tmp_path / "bench", None)
    file = tmp_path / "bench" / "results.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert [(r["variant"], r["steps"], r["images"], r["n"]) for r in rows] == [
        ("today", 20, 40, 12),
        ("muon", 20, 40, 12),
    ]
    assert all(0 <= r["top1"] <= r["top5"] <= 100 for r in rows)
    before = file.read_bytes()
    bench.train(settings, tmp_path / "bench", None)
    assert file.read_bytes() == before


def test_the_table_gives_the_mean_and_every_seed():
    rows = [bench.Result("a", seed, 90.0, 10, 480, 0.4, top1=value, top5=50.0, colour=90.0, n=158)
            for seed, value in ((1, 20.0), (0, 10.0))]  # fmt: skip
    assert "| a | 480 | 15.0 | 10.0, 20.0 | 50.0 | 2 x 158 |" in bench.table(rows)
