"""A stage that was stopped: what it left is not taken for its result by the stages and measures after it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from radl_bench.errors import MissingData, UsageError
from radl_bench.mini.train import autoencoder, cache, classifier, cli, encoder, stages, top1
from radl_bench.mini.train.config import CLASSIFIER, ENCODER, VAE, trained
from radl_model.checkpoints.places import resolve_base
from radl_model.errors import BadInput

LOOP = {"steps": 2, "batch_size": 4, "lr": 1e-3, "precision": "no"}


@pytest.fixture(autouse=True)
def few_figures(monkeypatch):
    """What a stage measures at its end, on fewer scenes."""
    monkeypatch.setattr(classifier, "accuracy", lambda module: {"whole class": 0.5})
    monkeypatch.setattr(encoder, "accuracy", lambda module: {"class": 0.5})


@pytest.mark.parametrize(
    ("train", "settings", "kind"),
    [
        (classifier.train, {"width": 4, "data_seed": 1}, CLASSIFIER),
        (encoder.train, {"width": 4, "data_seed": 1}, ENCODER),
        (stages.autoencoder, {"model": {"width": 8}}, VAE),
    ],
)
def test_a_result_is_refused_until_its_training_has_ended(tmp_path, train, settings, kind) -> None:
    folder = tmp_path / {"autoencoder": "vae"}.get(kind[1], kind[2])
    train({**settings, "loop": LOOP}, tmp_path, 0)
    with pytest.raises(MissingData, match=rf"The {kind[1]} at \S+ is not finished: step 1 of 2\. Repeat the command"):
        trained(folder, *kind)
    train({**settings, "loop": LOOP}, tmp_path, None)
    assert trained(folder, *kind) == folder


def test_a_training_can_be_ended_early_by_its_config(tmp_path) -> None:
    settings = {"width": 4, "data_seed": 1}
    classifier.train({**settings, "loop": LOOP}, tmp_path, 0)
    classifier.train({**settings, "loop": {**LOOP, "steps": 1}}, tmp_path, None)
    assert trained(tmp_path / "classifier", *CLASSIFIER).is_dir()


def test_a_damaged_checkpoint_beside_a_result_is_named(tmp_path) -> None:
    classifier.train({"width": 4, "data_seed": 1, "loop": LOOP}, tmp_path, None)
    (tmp_path / "checkpoint.pt").write_bytes(b"none")
    with pytest.raises(BadInput, match=r"checkpoint\.pt cannot be read"):
        trained(tmp_path / "classifier", *CLASSIFIER)


def test_top1_refuses_an_unfinished_classifier_before_it_draws(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(top1, "draw", lambda *_: pytest.fail("drawn"))
    classifier.train({"width": 4, "data_seed": 1, "loop": LOOP}, tmp_path, 0)
    with pytest.raises(SystemExit, match="not finished: step 1 of 2"):
        top1.main(tmp_path, tmp_path / "classifier")


def test_top1_says_how_good_its_classifier_is_and_how_far_the_base(tmp_path, capsys) -> None:
    classifier.train({"width": 4, "data_seed": 1, "loop": LOOP}, tmp_path, None)
    top1.main(Path(resolve_base("mini")), tmp_path / "classifier", count=2, steps=1)
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["classifier"] == {"whole class": 0.5}
    assert "base" not in told
    other = tmp_path / "other"
    encoder.train({"width": 4, "data_seed": 1, "loop": LOOP}, other, 0)
    (other / "base").symlink_to(Path(resolve_base("mini")).absolute())
    top1.main(other / "base", tmp_path / "classifier", count=2, steps=1)
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["base"] == "step 1 of 2"


def pool(folder: Path, vae: Path, **changed: object) -> None:
    settings = {"vae_folder": vae, "shards": 2, "size": 2, "seed": 3, "workers": 1, "level_weights": (1,)}
    cache.write_shards(folder, **{**settings, **changed})


@pytest.fixture
def vae(tmp_path) -> Path:
    autoencoder.build(width=8).save_pretrained(tmp_path / "vae")
    return tmp_path / "vae"


def test_a_pool_is_refused_until_all_its_shards_are_there(tmp_path, vae) -> None:
    pool(tmp_path / "pool", vae, minutes=0)
    with pytest.raises(MissingData, match="are not finished: 1 of 2"):
        cache.LatentPool(tmp_path / "pool")
    pool(tmp_path / "pool", vae, shards=1)
    assert len(cache.LatentPool(tmp_path / "pool").samples) == 2
    pool(tmp_path / "pool", vae)
    assert len(cache.LatentPool(tmp_path / "pool").samples) == 4


def test_a_pool_does_not_take_scenes_of_other_settings(tmp_path, vae) -> None:
    pool(tmp_path / "pool", vae, shards=1)
    with pytest.raises(UsageError, match=r"other settings: crowded was None, is 0\.5, seed was 3, is 4\. Give another"):
        pool(tmp_path / "pool", vae, seed=4, crowded=0.5)
    (tmp_path / "pool" / "pool.json").unlink()  # one made before there were records
    assert len(cache.LatentPool(tmp_path / "pool").samples) == 2


@pytest.mark.parametrize("damage", ["{", "[]", '{"shards": 1}'])
def test_a_damaged_record_of_a_pool_is_named(tmp_path, damage) -> None:
    (tmp_path / "latents-000.safetensors").touch()
    (tmp_path / "pool.json").write_text(damage)
    with pytest.raises(BadInput, match=r"pool\.json is no record of a pool"):
        cache.LatentPool(tmp_path)


def test_the_command_says_so_in_one_line(tmp_path, capsys, monkeypatch) -> None:
    classifier.train({"width": 4, "data_seed": 1, "loop": LOOP}, tmp_path / "ruler", 0)
    (tmp_path / "bench.toml").write_text(
        f'seeds = 1\nbudget = 0.0\ncount = 2\njudge = "{tmp_path / "ruler" / "classifier"}"\n[shared]\n[variants]\n'
    )
    monkeypatch.setattr("sys.argv", ["radl-train", "bench", "--config", str(tmp_path / "bench.toml"), "--out", "x"])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        cli.main()
    assert "not finished: step 1 of 2" in " ".join(capsys.readouterr().err.split())
