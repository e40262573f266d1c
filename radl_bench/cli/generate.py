"""`radl-bench generate`: make the images of a benchmark with a method."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from radl_bench.cli import completing
from radl_bench.cli.runs_folder import DEFAULT, Runs
from radl_bench.cli.signals import terminate_as_interrupt
from radl_bench.cli.workers import Address, Engine
from radl_bench.errors import GenerationFailed, UsageError
from radl_bench.hints import command, paper_judges
from radl_bench.text import safe
from radl_bench.types import PaperRun

_STEPS = "num_inference_steps"
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="A setting (`ls methods METHOD`); may be repeated."),
]


def generate(
    benchmark: Annotated[
        str,
        typer.Argument(
            help="A benchmark (`ls benchmarks`), its folder, or a file of samples.", autocompletion=completing.benchmark
        ),
    ],
    level: Annotated[int | None, typer.Option(help="Only samples with this many instances.")] = None,
    levels: Annotated[str | None, typer.Option(help="Only these levels, e.g. 2-6 or 2,4.")] = None,
    method: Annotated[
        str,
        typer.Option(
            help="A method (`radl-bench ls methods`) or path/to/file.py:Class.",
            autocompletion=completing.part("generators"),
        ),
    ] = "radl",
    model: Annotated[str | None, typer.Option(help="mini (embedded), sd14, or the path of a model.")] = None,
    settings: Set = None,
    limit: Annotated[int | None, typer.Option(help="Only this many samples, spread evenly over the levels.")] = None,
    images_per_sample: Annotated[
        int | None, typer.Option(help="Images per sample; the benchmark's own number by default.")
    ] = None,
    paper_scale: Annotated[
        bool,
        typer.Option(
            "--paper-scale", help="As the papers ran it: images per sample, steps and seeds of the benchmark."
        ),
    ] = False,
    shard: Annotated[str, typer.Option(metavar="I/N", help="Generate the I-th of N parts, e.g. 1/3.")] = "1/1",
    batch_size: Annotated[
        int | None, typer.Option(help="Images generated at once; the method's largest batch by default.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Base of all seeds.")] = 0,
    seed_policy: Annotated[
        str, typer.Option(help="hashed (one seed per image) or fixed (the same for all samples).")
    ] = "hashed",
    workers: Annotated[int, typer.Option(help="Workers that make images side by side, each with a model.")] = 1,
    engine: Engine = "local",
    address: Address = None,
    root: Runs = DEFAULT,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps; the best one found by default.")] = None,
) -> None:
    """Generate the images of BENCHMARK with a method. Re-running resumes; finished images are kept."""
    from radl_bench.api.making import generate as make
    from radl_bench.benchmarks.loading import load_benchmark
    from radl_bench.benchmarks.paper import paper_of
    from radl_bench.runs.generate import has_mini
    from radl_bench.runs.writer import Shard

    place, part = root.absolute(), Shard.parse(shard)  # now: the method may change the folder it works in
    given = parse_settings(settings or [])
    if paper_scale:
        _refuse_beside({"--images-per-sample": images_per_sample, "--seed": seed, "--seed-policy": seed_policy})
        preset = paper_of(load_benchmark(benchmark, level=level, levels=levels, limit=limit))
        images_per_sample, seed, seed_policy = preset.images_per_sample, preset.seed, preset.seed_policy
        given |= paper_steps(method, "mini" if model is None and has_mini(method) else model, given, preset)

    def started(chosen: str | None) -> None:
        if model is None and chosen == "mini":
            print(_which(method), file=sys.stderr)
        terminate_as_interrupt()

    outcome = make(
        benchmark,
        method,
        model=model,
        settings=given,
        level=level,
        levels=levels,
        limit=limit,
        images_per_sample=images_per_sample,
        shard=shard,
        batch_size=batch_size,
        seed=seed,
        seed_policy=seed_policy,
        runs=place,
        device=device,
        argv=sys.argv,
        started=started,
        workers=workers,
        engine=engine,
        address=address,
    )
    print(
        f"{outcome.made} made, {outcome.resumed} resumed, {outcome.failed} failed of {outcome.planned} images:", end=" "
    )
    run = root / outcome.run.relative_to(place)
    judges = _judges_of(outcome.run, benchmark, method)
    print(f"{run}\nNext: {command('score', run, runs=root, **judges, device=device)}")
    for note in outcome.notes:
        print(f"Note: {safe(note)}", file=sys.stderr)
    if outcome.failed:
        rows = run / f"generations-{part.name}.jsonl"
        raise GenerationFailed(
            f"{outcome.failed} of {outcome.planned} images failed; the reasons are in {rows}. "
            "Run the same command again to retry them."
        )


def _judges_of(run: Path, benchmark: str, method: str) -> dict[str, object]:
    """Return the judges that go with the images of a run; the default ones know the sprite world alone."""
    from radl_bench.benchmarks.loading import load_benchmark
    from radl_bench.cli.plan import weights_of
    from radl_bench.runs.manifest import read_manifest
    from radl_bench.runs.scale import scale_of_manifest

    if scale_of_manifest(read_manifest(run / "manifest.json")) != "paper":
        return {}
    return paper_judges({item.name for item in weights_of(load_benchmark(benchmark), method)})


def paper_steps(method: str, model: str | None, given: Mapping[str, object], preset: PaperRun) -> dict[str, object]:
    """Return the setting of the preset's steps; {} for a method that has none.

    The mini model and `recipe=official` have steps of their own. Raises `UsageError` where the steps are given by hand.
    """
    from radl_bench.runs.generate import accepts

    if _STEPS in given:
        raise UsageError(f"--paper-scale sets the steps. Leave out one of --paper-scale and --set {_STEPS}.")
    own = model == "mini" or given.get("recipe") == "official" or not accepts(method, _STEPS)
    return {} if own else {_STEPS: preset.steps}


def _refuse_beside(options: Mapping[str, object]) -> None:
    usual = {"--images-per-sample": None, "--seed": 0, "--seed-policy": "hashed"}
    for name, value in options.items():
        if value != usual[name]:
            raise UsageError(f"--paper-scale sets what {name} sets. Leave out one of them.")


def parse_settings(pairs: list[str]) -> dict[str, object]:
    """Return the settings of `["steps=20", "name=x"]`; a value that is JSON (number, true, null) is read as such.

    Raises:
        UsageError: a pair without "=", a key that is no identifier or comes twice.
    """
    settings: dict[str, object] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        key = key.strip().replace("-", "_")
        if not equals or not key.isidentifier():
            raise UsageError(f"'{pair}' is not a setting. Write --set key=value.")
        if key in settings:
            raise UsageError(f"The setting '{key}' is given twice.")
        settings[key] = _value(text)
    return settings


def _value(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _which(method: str) -> str:
    line = f"Method {method} with the embedded model mini (128 x 128 pixels, sprite world)."
    return line if method == "sprites" else f"{line} For the scale of the paper: --model sd14."
