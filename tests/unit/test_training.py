"""The training loop and the first stages, on sizes of a few seconds."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import open_clip
import pytest
import torch
from torch import nn

from radl_bench.errors import MissingData, UsageError
from radl_bench.mini.atlas import CATEGORIES
from radl_bench.mini.train import autoencoder, base, cache, cli, encoder, recipe, stages
from radl_bench.mini.train.config import CONFIGS, load_config
from radl_bench.mini.train.plan import read_plan
from radl_bench.mini.train.text import MAX_LENGTH, build_tokenizer, token_ids
from radl_bench.types import COLORS
from radl_model.train.loop import Loop, LoopConfig, lr_factor

VAE = str(Path(base.__file__).parents[3] / "radl_model" / "weights" / "mini" / "base" / "vae")
CONFIG = LoopConfig(steps=8, batch_size=4, lr=1e-2, warmup=2, decay=3, precision="no", log_every=1)


def line_loop(out: Path, config: LoopConfig = CONFIG) -> Loop:
    """A line fitted to y = 3x, with noise from the loop's own generator."""
    torch.manual_seed(0)

    def make_batch(step: int) -> torch.Tensor:
        return torch.linspace(-1, 1, 4)[:, None] + step / 10

    def loss(module: nn.Module, x: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
        return (module(x) - 3 * x + 0.1 * torch.randn(x.shape, generator=rng)).square().mean()

    return Loop(nn.Linear(1, 1), make_batch, loss, config, out)


def weights(loop: Loop) -> list[torch.Tensor]:
    return [p.detach().clone() for p in loop.parameters] + [p.clone() for p in loop.ema.shadow_params]


@pytest.mark.parametrize("faster", [{}, {"bias": 10.0}])
def test_a_stopped_training_goes_on_as_if_it_had_not_stopped(tmp_path, faster):
    config = replace(CONFIG, faster=faster)
    whole = line_loop(tmp_path / "whole", config)
    whole.run()
    first = line_loop(tmp_path / "parts", config)
    first.run(minutes=0)  # one step, then out of time
    assert first.step == 1
    second = line_loop(tmp_path / "parts", config)
    assert second.resume()
    second.run()
    assert second.step == 8
    assert all(torch.equal(a, b) for a, b in zip(weights(whole), weights(second), strict=True))


def test_chosen_parameters_learn_faster(tmp_path):
    config = replace(CONFIG, steps=1, warmup=0, decay=0, weight_decay=0.0, ema=0.0, clip=1e9, faster={"bias": 10.0})
    loop = line_loop(tmp_path, config)
    start = [p.detach().clone() for p in loop.parameters]
    loop.run()
    weight, bias = ((p - s).abs().item() for p, s in zip(loop.parameters, start, strict=True))
    assert weight == pytest.approx(config.lr, rel=1e-3)  # the first step of Adam has the length of the rate
    assert bias == pytest.approx(10 * config.lr, rel=1e-3)


def test_the_log_has_a_row_a_step_and_the_loss_falls(tmp_path):
    line_loop(
        tmp_path, LoopConfig(steps=300, batch_size=4, lr=1e-1, warmup=5, decay=50, precision="no", log_every=1)
    ).run()
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [r["step"] for r in rows] == list(range(1, 301))
    assert rows[-1]["loss"] < rows[0]["loss"] / 20


def test_a_loss_that_is_no_number_stops_the_training(tmp_path):
    loop = line_loop(tmp_path)
    loop.loss_fn = lambda module, x, rng: module(x).sum() * float("nan")
    with pytest.raises(UsageError, match="step 0"):
        loop.run()


def test_learning_rate_is_constant_after_warm_up_unless_a_decay_is_stated():
    config = LoopConfig(steps=100, batch_size=1, lr=1.0, warmup=10)
    assert [lr_factor(step, config) for step in range(10, 100)] == [1.0] * 90


def test_every_shipped_recipe_states_its_decay():
    from radl_bench.mini.train.config import CONFIGS, load_config

    recipes = {file.name: load_config(file) for file in CONFIGS.glob("*.toml")}
    stated = {name: "decay" in recipe["loop"] for name, recipe in recipes.items() if "loop" in recipe}
    assert len(stated) >= 13
    assert all(stated.values())


@pytest.mark.parametrize(
    ("stage", "settings", "words"),
    [
        ("adapter", {"base": "nowhere/base"}, "There is no base model at nowhere/base"),
        ("adapter", {"base": "nowhere/base"}, "radl-train base --out nowhere"),
        ("cache", {"vae_folder": "nowhere/vae"}, "There is no autoencoder at nowhere/vae"),
        ("autoencoder", {"vae_folder": "nowhere/vae"}, "radl-train autoencoder --out nowhere"),
        ("cache", {"vae_folder": VAE, "encoder_folder": "nowhere/encoder"}, "There is no scene encoder at nowhere"),
        ("recipe", {"text": "nowhere/text"}, "There is no text tower at nowhere/text.*radl-train text --out nowhere"),
        ("recipe", {"init_from": "nowhere/base"}, "There is no base model at nowhere/base"),
        ("detector", {"init_from": "nowhere/detector"}, "There is no detector at nowhere/detector"),
        ("layout-diffusion", {"init_from": "nowhere/ld"}, "radl-train layout-diffusion --out nowhere"),
        ("bench", {"judge": "nowhere/judge"}, "There is no classifier at nowhere/judge"),
    ],
)
def test_a_stage_without_the_one_before_it_says_what_to_train(tmp_path, monkeypatch, capsys, stage, settings, words):
    monkeypatch.chdir(tmp_path)
    config = {**cli.load_config(cli.CONFIGS / f"{stage}.toml"), **settings}
    with pytest.raises(MissingData, match=words):
        cli.stage_of(stage)(config, tmp_path / "out", None)


def test_learning_rate_warms_up_stays_and_decays():
    config = LoopConfig(steps=100, batch_size=1, lr=1.0, warmup=10, decay=20)
    factors = [lr_factor(step, config) for step in range(100)]
    assert factors[0] == pytest.approx(0.1)
    assert all(f == 1 for f in factors[10:80])
    assert factors[-1] == pytest.approx(0.05)
    assert factors == sorted(factors[:10]) + factors[10:80] + sorted(factors[80:], reverse=True)


def test_the_cut_down_tokenizer_splits_the_world_as_clip_does():
    tokenizer, clip = build_tokenizer(), open_clip.SimpleTokenizer()
    for words in [*CATEGORIES, *COLORS, "a photo of a red fire hydrant and a blue wine glass"]:
        assert tokenizer.tokenize(words) == [clip.decoder[i] for i in clip.encode(words)]
    ids = token_ids(tokenizer, ["", "zzyzx, naïve 猫", " ".join(["refrigerator"] * 90)])
    assert ids.shape == (3, MAX_LENGTH)
    assert tokenizer.decode(ids[1], skip_special_tokens=True).replace(" ", "") == "zzyzx,naïve猫"
    assert ids[0, 0] == tokenizer.bos_token_id
    assert ids[2, -1] == tokenizer.eos_token_id


def test_autoencoder_batches_are_fresh_and_repeatable():
    a, b, c = (autoencoder.make_batch(step, 6) for step in (0, 0, 1))
    assert a.shape == (6, 3, 64, 64)
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    assert a.abs().max() <= 1


def test_a_frozen_encoder_gets_no_gradient(tmp_path):
    autoencoder.build(width=8, latent_channels=4).save_pretrained(tmp_path)
    vae = autoencoder.resume_decoder(tmp_path)
    assert not any(p.requires_grad for p in vae.encoder.parameters())
    assert all(p.requires_grad for p in vae.decoder.parameters())


def test_the_perceptual_part_looks_with_an_eye_that_does_not_learn(tmp_path):
    torch.manual_seed(0)
    eye = encoder.SceneEncoder(4)
    encoder.save(eye, {"width": 4}, tmp_path)
    eye = encoder.load(tmp_path)
    images = autoencoder.make_batch(0, 4)
    assert [tuple(layer.shape[2:]) for layer in eye.layers(images)] == [(32, 32), (16, 16), (8, 8), (4, 4)]
    assert torch.equal(eye.layers(images)[-1], eye(images))
    blurred = torch.nn.functional.avg_pool2d(images, 5, 1, 2)
    assert autoencoder.perceptual_distance(eye, images, images) == 0
    assert (
        0
        < autoencoder.perceptual_distance(eye, blurred, images)
        < autoencoder.perceptual_distance(eye, -images, images)
    )
    module = autoencoder.AutoencoderLoss(autoencoder.build(width=8), eye=eye, perceptual=2.0)
    full = autoencoder.loss_fn(module, images, torch.Generator().manual_seed(0))
    full.backward()
    assert all(p.grad is not None for p in module.vae.decoder.parameters())
    assert all(p.grad is None for p in eye.parameters())
    module.perceptual = 0.0
    assert autoencoder.loss_fn(module, images, torch.Generator().manual_seed(0)) < full


@pytest.fixture
def shards(tmp_path) -> Path:
    autoencoder.build(width=8).save_pretrained(tmp_path / "vae")
    folder = tmp_path / "latents"
    folder.mkdir()
    for index in range(2):
        cache.write_shard(index, folder, tmp_path / "vae", size=5, seed=3, level_weights=(1, 1))
    return folder


def test_shards_hold_what_they_show_and_are_written_once(shards, tmp_path):
    pool = cache.LatentPool(shards)
    assert pool.latents.shape == (10, 16, 16, 16)
    assert len({s.id for s in pool.samples}) == 10
    assert sorted(pool.draw(0, 10, seed=1)) == list(range(10))
    stamp = (shards / "latents-000.safetensors").stat().st_mtime_ns
    cache.write_shard(0, shards, tmp_path / "vae", size=5, seed=3, level_weights=(1, 1))
    assert (shards / "latents-000.safetensors").stat().st_mtime_ns == stamp
    with pytest.raises(MissingData, match="radl-train cache"):
        cache.LatentPool(tmp_path / "vae")


def test_things_without_a_colour_word_are_as_many_as_asked(shards, tmp_path):
    plain = tmp_path / "plain"
    plain.mkdir()
    cache.write_shard(0, plain, tmp_path / "vae", size=4, seed=3, level_weights=(1, 1), uncolored=1.0)
    assert {thing.color for sample in cache.LatentPool(plain).samples for thing in sample.instances} == {None}
    assert any(thing.color for sample in cache.LatentPool(shards).samples for thing in sample.instances)


def test_crowds_are_cached_as_asked(tmp_path, shards):
    crowds = tmp_path / "crowds"
    crowds.mkdir()
    cache.write_shard(0, crowds, tmp_path / "vae", size=4, seed=3, level_weights=(0, 0, 1), crowded=1.0, repeat=1.0)
    assert [len({i.category for i in s.instances}) for s in cache.LatentPool(crowds).samples] == [1] * 4


def test_a_config_of_the_cache_is_checked(tmp_path):
    right = {"vae_folder": "vae", "shards": 1, "size": 4, "seed": 1, "workers": 1}
    with pytest.raises(UsageError, match=r"'shard'.*shards"):
        stages.cache({**right, "shard": 1}, tmp_path, None)
    with pytest.raises(UsageError, match="lacks 'size'"):
        stages.cache({key: right[key] for key in right.keys() - {"size"}}, tmp_path, None)


@pytest.mark.parametrize("name", [name for name in cli.STAGES if name != "layouts"])
def test_each_stage_takes_its_shipped_config_and_names_what_it_does_not_know(name, tmp_path):
    stage, shipped = cli.stage_of(name), load_config(CONFIGS / f"{name}.toml")
    assert stage.name == name
    stage.check(shipped)
    with pytest.raises(UsageError, match=f"setting of the {name} stage 'moddel'"):
        stage({**shipped, "moddel": {}}, tmp_path, None)
    needed = sorted(stage.needs)[0]
    with pytest.raises(UsageError, match=f"{name} stage lacks '{needed}'"):
        stage({key: value for key, value in shipped.items() if key != needed}, tmp_path, None)
    assert not list(tmp_path.iterdir())


def test_every_config_of_the_shipped_plan_is_one_that_its_stage_takes():
    for entry in read_plan(CONFIGS):
        cli.stage_of(entry.stage).check(entry.settings)


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("autoencoder", "layout"),
        ("autoencoder", "model"),
        ("detector", "data"),
        ("detector", "model"),
        ("clip", "vision"),
        ("clip", "text"),
        ("base", "loss"),
        ("recipe", "model"),
        ("recipe", "recipe"),
    ],
)
def test_a_misspelt_setting_of_a_table_is_named(name, table, tmp_path):
    stage, shipped = cli.stage_of(name), load_config(CONFIGS / f"{name}.toml")
    with pytest.raises(UsageError, match=rf"setting of \[{table}\] 'widht'"):
        stage({**shipped, table: {"widht": 1}}, tmp_path, None)
    with pytest.raises(UsageError, match=rf"\[{table}\] of the training config is 3, and must be a table"):
        stage({**shipped, table: 3}, tmp_path, None)
    assert not list(tmp_path.iterdir())


def test_a_loop_that_is_no_table_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"\[loop\] of the training config is 3, and must be a table"):
        cli.stage_of("encoder")({**load_config(CONFIGS / "encoder.toml"), "loop": 3}, tmp_path, None)


@pytest.mark.parametrize("name", ["base", "recipe"])
def test_a_model_of_a_base_says_its_channels(name, tmp_path):
    with pytest.raises(UsageError, match=r"\[model\] lacks 'channels'"):
        cli.stage_of(name)({**load_config(CONFIGS / f"{name}.toml"), "model": {}}, tmp_path, None)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"stage": "recipes"}, "stage of variant 'mine' 'recipes'.*recipe"),
        ({"stage": "recipe", "lesson": []}, "setting of variant 'mine' 'lesson'.*lessons"),
        ({"stage": "recipe", "recipe": {"algn": 1.0}}, r"setting of \[recipe\] 'algn'"),
        ({"stage": "recipe", "model": {}}, r"\[model\] lacks 'channels'"),
        ({"stage": "base", "model": {"channels": [8, 8], "widht": 1}}, r"setting of \[model\] 'widht'"),
        ({"stage": "base", "loop": {"bath_size": 1}}, r"Unknown key of \[loop\] 'bath_size'"),
        ({}, "Variant 'mine' lacks 'stage'"),
        (3, "Variant 'mine' of the training config is 3, and must be a table"),
    ],
)
def test_a_variant_of_the_bench_is_checked_before_the_first_trains(changed, words, tmp_path):
    shipped = load_config(CONFIGS / "bench.toml")
    with pytest.raises(UsageError, match=words):
        cli.stage_of("bench")({**shipped, "variants": {**shipped["variants"], "mine": changed}}, tmp_path, None)


def test_a_variant_on_a_text_tower_of_its_own_says_where_that_is(tmp_path):
    shipped = load_config(CONFIGS / "bench.toml")
    shared = {key: value for key, value in shipped["shared"].items() if key != "text"}
    with pytest.raises(UsageError, match="Variant 'text first' lacks 'text'"):
        cli.stage_of("bench")({**shipped, "shared": shared}, tmp_path, None)


@pytest.mark.parametrize("stage", [base.Lesson, recipe.Lesson])
def test_a_misspelt_setting_of_a_lesson_is_named(stage):
    with pytest.raises(UsageError, match=r"'tokns'.*tokens"):
        base.read_lessons(stage, [{"latents": [], "tokns": 16}], None, 4)


@pytest.mark.parametrize("stage", [base.Lesson, recipe.Lesson])
def test_a_lesson_without_latents_is_named(stage):
    with pytest.raises(UsageError, match="lacks 'latents'"):
        base.read_lessons(stage, [{"tokens": 16}], None, 4)


def test_an_adapter_without_the_table_of_its_method_is_named(tmp_path):
    shipped = load_config(CONFIGS / "adapter.toml")
    with pytest.raises(UsageError, match="lacks 'gligen'"):
        stages.adapter({**shipped, "method": "gligen"}, tmp_path, None)


def test_a_recipe_from_nothing_needs_a_model_and_a_text_tower():
    loop = LoopConfig.from_dict({"steps": 1, "batch_size": 1, "lr": 1e-3})
    with pytest.raises(UsageError, match="lacks 'text'"):
        recipe.build({"model": {"channels": [8, 8]}, "lessons": []}, loop)


def test_the_base_loss_reaches_every_parameter_and_the_folder_loads(shards, tmp_path):
    from diffusers import StableDiffusionPipeline

    torch.manual_seed(0)
    module, tokenizer = base.build({"channels": [32, 64]})
    training = base.BaseTraining([base.Lesson(cache.LatentPool(shards), tokenizer, batch_size=4)], tokenizer, seed=0)
    loss = training.loss(module, training.make_batch(0), torch.Generator().manual_seed(0))
    loss.backward()
    assert 0.2 < loss.item() < 5
    assert not [n for n, p in module.named_parameters() if p.grad is None]
    measured = base.on_sample(tmp_path, tokenizer, tmp_path / "vae", training.lessons[0].pool, module, step=1)
    assert set(measured) == {"wrong_class", "wrong_colour"}
    pipe = StableDiffusionPipeline.from_pretrained(tmp_path / "base")
    assert {p.dtype for p in (pipe.unet, pipe.text_encoder, pipe.vae)} == {torch.float32}
    pipe.set_progress_bar_config(disable=True)
    assert pipe("a red car", num_inference_steps=2).images[0].size == (128, 128)
    assert (tmp_path / "sheet-000001.png").exists()


def test_lessons_take_turns_and_can_be_gone_on_with(shards, tmp_path):
    half = tmp_path / "half"
    half.mkdir()
    cache.write_shard(0, half, tmp_path / "vae", size=6, seed=4, level_weights=(1,), whole=1.0, pixels=64)
    tokenizer = base.build_tokenizer()
    lessons = [
        base.Lesson(cache.LatentPool(half), tokenizer, batch_size=3, share=3, tokens=16),
        base.Lesson(cache.LatentPool(shards), tokenizer, batch_size=2, share=1),
    ]
    training = base.BaseTraining(lessons, tokenizer, seed=0, noisy=0.5)
    seen = [training.make_batch(step) for step in range(40)]
    shapes = [(tuple(latents.shape), tuple(ids.shape)) for latents, ids, _ in seen]
    assert set(shapes) == {((3, 16, 8, 8), (3, 16)), ((2, 16, 16, 16), (2, 48))}
    assert 22 <= sum(shape[0][0] == 3 for shape in shapes) <= 38  # three of four turns
    module, _ = base.build({"channels": [32, 64]})
    base.on_sample(tmp_path, tokenizer, tmp_path / "vae", lessons[0].pool, module, step=1)
    again = base.attend_explicitly(base.load(tmp_path / "base"))
    with torch.no_grad():
        losses = [float(training.loss(m, seen[0], torch.Generator().manual_seed(1))) for m in (module, again)]
    assert losses[0] == pytest.approx(losses[1], rel=2e-3)  # the folder holds half precision


def test_noisy_timesteps_are_drawn_as_often_as_asked():
    drawn = base.draw_timesteps(4000, torch.Generator().manual_seed(0), noisy=0.7)
    assert int(drawn.min()) >= 0
    assert int(drawn.max()) <= 999
    # Of the rest, uniform draws give a fifth and the logistic-normal ones about a twelfth.
    assert 0.70 + 0.3 * 0.1 < float((drawn >= 800).float().mean()) < 0.70 + 0.3 * 0.2


def test_bad_stage_and_config_are_sentences(tmp_path):
    with pytest.raises(UsageError, match="Did you mean 'base'"):
        cli.train("bsae", tmp_path)
    with pytest.raises(MissingData, match="No training config"):
        cli.train("base", tmp_path, config=tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("steps = = 3")
    with pytest.raises(UsageError, match="not valid TOML"):
        cli.train("base", tmp_path, config=tmp_path / "bad.toml")
