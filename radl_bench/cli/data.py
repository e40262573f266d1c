"""`radl-bench data`: building benchmarks, bringing in those made elsewhere, checking what is here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from radl_bench.cli.data_build import build
from radl_bench.cli.data_new import new
from radl_bench.cli.data_verify import verify
from radl_bench.cli.fid_reference import fid_reference
from radl_bench.errors import UsageError, did_you_mean
from radl_bench.hints import command
from radl_bench.text import safe
from radl_bench.types import Sample

data = typer.Typer(help="Build, import and check benchmarks.", no_args_is_help=True)
IMPORTS = ("coco-mig", "coco-position", "drawbench")


data.command("fid-reference")(fid_reference)


@data.callback()
def _group() -> None:
    """Build, import and check benchmarks."""


data.command("new")(new)
data.add_typer(build, name="build")
data.command("verify")(verify)


@data.command("import")
def import_(
    name: Annotated[str, typer.Argument(metavar="BENCHMARK", help="coco-mig, coco-position or drawbench.")],
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE...",
            help="For coco-mig: the public mig_bench_anno.yaml, or re-sampled layouts in JSON. For coco-position: "
            "re-sampled layouts in JSON. For drawbench: imagen.csv and a YAML of boxes.",
        ),
    ],
    skip: Annotated[bool, typer.Option("--skip", help="Leave out prompts that have a problem, and name them.")] = False,
) -> None:
    """Keep public benchmark files in the user's data folder, as the benchmark BENCHMARK-public."""
    if name not in IMPORTS:
        raise UsageError(did_you_mean(name, IMPORTS, "benchmark to import"))
    if name == "drawbench":
        _drawbench(files, skip)
    elif len(files) == 1:
        (_coco_mig if name == "coco-mig" else _coco_position)(files[0], skip)
    else:
        example = "mig_bench_anno.yaml" if name == "coco-mig" else "coco_position.jsonl"
        raise UsageError(f"This benchmark is imported from one file: {command('data', 'import', name, example)}")


def _drawbench(files: list[Path], skip: bool) -> None:
    from radl_bench.benchmarks.importers.drawbench import import_drawbench

    done = import_drawbench(files, skip=skip)
    boxes = sum(sample.level for sample in done.samples)
    typer.echo(f"Imported {len(done.samples)} prompts with {boxes} boxes into {done.folder}.")
    for note in done.notes:
        typer.echo(f"Note: {safe(note)}", err=True)
    typer.echo(f"Use it: {command('generate', 'drawbench-public')}")


def _coco_mig(file: Path, skip: bool) -> None:
    from radl_bench.benchmarks.importers.coco_mig import import_coco_mig, is_public_file

    skipped: list[str] | None = [] if skip else None
    folder, samples = import_coco_mig(file, skipped=skipped)
    kind = "the public file, byte by byte" if is_public_file(file) else "not the public file: a set of its own"
    _say(folder, samples, skipped, f" ({kind})")
    typer.echo(f"Use it: {command('generate', 'coco-mig-public', level=6)}")


def _coco_position(file: Path, skip: bool) -> None:
    from radl_bench.benchmarks.importers.resampled import import_coco_position

    skipped: list[str] | None = [] if skip else None
    folder, samples = import_coco_position(file, skipped=skipped)
    _say(folder, samples, skipped)
    typer.echo(f"Use it: {command('generate', 'coco-position-public', model='sd14')}")
    typer.echo(f"Score it as its authors do: {command('score', protocol='consistcompose_v1')}")


def _say(folder: Path, samples: Sequence[Sample], skipped: list[str] | None, kind: str = "") -> None:
    for problem in skipped or ():
        typer.echo(f"Note: left out: {safe(problem)}", err=True)
    instances = sum(sample.level for sample in samples)
    typer.echo(f"Imported {len(samples)} samples with {instances:,} instances{kind} into {folder}.")
