"""`radl-train all`: order, checks before the start, slices, a kill and what may not change."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from radl_bench.errors import UsageError
from radl_bench.mini.train import cli
from radl_bench.mini.train.all_stages import run_all
from radl_bench.mini.train.plan import PRODUCTS, check_inputs, read_plan
from radl_model.train.loop import Loop, LoopConfig

LOOP = '[loop]\nsteps = 4\nbatch_size = 2\nlr = 1e-2\nprecision = "no"\nlog_every = 1\n'
STAGES = ("text", "encoder", "cache", "recipe", "adapter")


class Killed(Exception):
    """What stands for the end of the process."""


class Toys:
    """Stages that fit a line; `kill` names an (out, step) at which the process dies."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.kill: tuple[str, int] | None = None

    def stage_of(self, name: str):
        return self.cache if name == "cache" else lambda *call: self.loop(name, *call)

    def cache(self, settings, out: Path, minutes) -> None:
        self.ran.append(out.name)
        out.mkdir(exist_ok=True)
        for n in range(settings["shards"]):
            shard = out / f"latents-{n:03d}.safetensors"
            if not shard.exists():
                shard.touch()
                if minutes is not None:
                    return

    def loop(self, name: str, settings, out: Path, minutes) -> None:
        self.ran.append(out.name)

        def batch(step: int) -> torch.Tensor:
            if (out.name, step) == self.kill:
                raise Killed
            return torch.full((2, 1), step / 4)

        def loss(module: nn.Module, x: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
            return (module(x) - 3 * x).square().mean()

        torch.manual_seed(0)
        config = LoopConfig(**{**settings["loop"], "checkpoint_every": 0.0})
        loop = Loop(nn.Linear(1, 1), batch, loss, config, out, lambda module, step: self.export(name, out, module))
        loop.resume()
        loop.run(minutes)

    def export(self, name: str, out: Path, module: nn.Module) -> None:
        product = out / PRODUCTS[name]
        product.mkdir(exist_ok=True)
        (product / "weights.json").write_text(json.dumps([p.tolist() for p in module.parameters()]))


@pytest.fixture
def folder(tmp_path) -> Path:
    """A plan of five stages with an autoencoder at hand."""
    (tmp_path / "vae").mkdir()
    (tmp_path / "vae" / "config.json").write_text("{}")
    w, vae = tmp_path / "work", f'vae_folder = "{tmp_path}/vae"\n'
    texts = {
        "text": LOOP,
        "encoder": LOOP,
        "cache": f'shards = 2\n{vae}encoder_folder = "{w}/encoder/encoder"\n',
        "recipe": f'{vae}text = "{w}/text/text_encoder"\nlessons = [{{latents = ["{w}/cache"]}}]\n{LOOP}',
        "adapter": f'base = "{w}/recipe/base"\nlatents = ["{w}/cache"]\n{LOOP}',
        "all": "\n".join(f'[[stages]]\nstage = "{s}"\nout = "{w}/{s}"\n' for s in STAGES),
    }
    for name, text in texts.items():
        (tmp_path / f"{name}.toml").write_text(text)
    return tmp_path


def results(folder: Path) -> dict[str, str]:
    return {str(f.relative_to(folder)): f.read_text() for f in sorted(folder.rglob("weights.json"))}


def test_stages_run_in_order_and_are_not_run_again(folder):
    toys = Toys()
    assert run_all(folder, None, toys.stage_of)
    assert toys.ran == list(STAGES)
    assert run_all(folder, None, toys.stage_of)
    assert toys.ran == list(STAGES)


def test_slices_and_a_kill_end_where_an_undisturbed_run_does(folder, tmp_path_factory):
    whole = Toys()
    run_all(folder, None, whole.stage_of)
    expected = results(folder)
    (folder / "work").rename(tmp_path_factory.mktemp("aside") / "work")

    toys = Toys()
    toys.kill = ("recipe", 2)
    calls = 0
    while calls < 40:
        calls += 1
        try:
            if run_all(folder, 1e-4, toys.stage_of):
                break
        except Killed:
            toys.kill = None
    assert 1 < calls < 40
    assert toys.kill is None
    assert results(folder) == expected
    steps = [json.loads(line)["step"] for line in (folder / "work/recipe/log.jsonl").read_text().splitlines()]
    assert sorted(set(steps)) == [1, 2, 3, 4]


def test_a_misspelt_setting_of_a_late_stage_is_told_before_anything_starts(folder):
    late = folder / "recipe.toml"
    late.write_text("nosy = 0.1\n" + late.read_text())
    with pytest.raises(UsageError) as raised:
        run_all(folder, None, cli.stage_of)
    assert "recipe.toml: Unknown setting of the recipe stage 'nosy'" in str(raised.value)
    assert "adapter.toml: The config of the adapter stage lacks 'loss'" in str(raised.value)
    assert not (folder / "work").exists()


def test_every_fault_is_told_before_anything_starts(folder):
    (folder / "vae" / "config.json").unlink()
    plan = (folder / "all.toml").read_text().split("\n\n")
    (folder / "all.toml").write_text("\n\n".join([plan[0], plan[2], plan[1], plan[3], plan[4]]))
    adapter = (folder / "adapter.toml").read_text()
    (folder / "adapter.toml").write_text(adapter.replace("recipe/base", "encoder/encoder"))
    toys = Toys()
    with pytest.raises(UsageError) as raised:
        run_all(folder, None, toys.stage_of)
    text = str(raised.value)
    assert text.startswith("Nothing was started; 4 fault(s)")
    assert text.count("vae is not there (no config.json)") == 2
    assert "is made later, by encoder.toml" in text
    assert "is made by the stage encoder, and has to come from base or recipe" in text
    assert (toys.ran, (folder / "work").exists()) == ([], False)


def test_latents_that_do_not_fit_the_recipe_are_told(folder):
    (folder / "other").mkdir()
    (folder / "other" / "config.json").write_text("{}")
    (folder / "cache.toml").write_text(f'shards = 2\nvae_folder = "{folder}/other"\n')
    with pytest.raises(UsageError, match=r"(?s)no features.*are of .*other"):
        check_inputs(read_plan(folder))


@pytest.mark.parametrize(
    ("file", "old", "new", "told"),
    [
        ("all", 'stage = "text"', 'stage = "txt"', "Did you mean 'text'"),
        ("all", "out", "folder", "has no 'folder'"),
        ("text", "steps", "stps", "Unknown key of .loop. 'stps'. Did you mean 'steps'"),
        ("all", "work/encoder", "work/text", "Two stages have the folder"),
    ],
)
def test_faults_of_the_plan_itself(folder, file, old, new, told):
    path = folder / f"{file}.toml"
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(UsageError, match=told):
        read_plan(folder)


def test_a_changed_config_is_refused_down_to_what_was_made_of_it(folder):
    toys = Toys()
    run_all(folder, None, toys.stage_of)
    path = folder / "encoder.toml"
    path.write_text(path.read_text().replace("lr = 1e-2", "lr = 2e-2"))
    with pytest.raises(UsageError) as raised:
        run_all(folder, None, toys.stage_of)
    lines = str(raised.value).splitlines()[1:-1]
    assert "loop.lr was 0.01, is 0.02" in lines[0]
    assert [line.partition(" was begun")[0].rpartition("/")[2] for line in lines] == [
        "encoder",
        "cache",
        "recipe",
        "adapter",
    ]
    assert all("a stage it reads has changed" in line for line in lines[1:])


def test_a_training_that_the_plan_did_not_start_is_refused(folder):
    (folder / "work" / "text").mkdir(parents=True)
    (folder / "work" / "text" / "checkpoint.pt").touch()
    with pytest.raises(UsageError, match="holds a training that this plan did not start"):
        run_all(folder, None, Toys().stage_of)


def test_the_shipped_plan_is_whole_but_for_its_autoencoder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    entries = read_plan(cli.CONFIGS)
    with pytest.raises(UsageError) as raised:
        check_inputs(entries)
    faults = str(raised.value).splitlines()[1:]
    assert faults
    assert all("vae-frozen is not there" in fault for fault in faults)
    (tmp_path / "work" / "vae-frozen").mkdir(parents=True)
    (tmp_path / "work" / "vae-frozen" / "config.json").write_text("{}")
    check_inputs(entries)
    assert {"gligen", "radl", "migc", "layout-diffusion", "radl-no-relation"} <= {entry.out.name for entry in entries}


def test_the_command(folder, monkeypatch):
    toys = Toys()
    monkeypatch.setattr(cli, "stage_of", toys.stage_of)
    cli.train("all", config=folder)
    assert toys.ran == list(STAGES)
    with pytest.raises(UsageError, match="takes no --out"):
        cli.train("all", out=folder, config=folder)
    with pytest.raises(UsageError, match="--out FOLDER"):
        cli.train("text")
