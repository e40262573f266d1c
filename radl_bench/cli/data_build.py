"""`radl-bench data build`: a benchmark at full size, from COCO's annotations."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from radl_bench.cli.data_layouts import layouts
from radl_bench.errors import UsageError
from radl_bench.hints import command

NEEDED = {"annotations": "coco-annotations", "images": "coco-val2014"}

build = typer.Typer(help="Build a benchmark at full size, or a training set, from COCO.", no_args_is_help=True)
build.command("layouts")(layouts)


def _command(name: str) -> Callable[..., None]:
    """The command that builds a benchmark; both benchmarks take the same options."""

    def command(
        coco: Annotated[Path | None, typer.Option(help="Folder with COCO's annotation files.")] = None,
        download: Annotated[
            bool, typer.Option("--download", help="Download the annotations (253 MB) where they are missing.")
        ] = False,
        images: Annotated[
            bool, typer.Option("--images", help="With --download: download the photographs behind FID too (6.6 GB).")
        ] = False,
        offline: Annotated[
            bool, typer.Option("--offline", help="With --download: say what is missing instead.")
        ] = False,
        split: Annotated[str, typer.Option(help="Split of COCO; the papers use val2014.")] = "val2014",
        seed: Annotated[int | None, typer.Option(help="Base of all draws; the benchmark has its own.")] = None,
        count: Annotated[
            int | None, typer.Option(min=1, help="Layouts (coco-mig: a level); default 800 and 160.")
        ] = None,
    ) -> None:
        _build(name, _source(coco, download, images, offline, split), split, seed, count)

    command.__doc__ = f"Build {name} at full size into the user's data folder, as the benchmark {name}-full."
    return command


for _name in ("coco-position", "coco-mig"):
    build.command(_name)(_command(_name))


def _source(coco: Path | None, download: bool, images: bool, offline: bool, split: str) -> Path:
    if (coco is None) == (not download):
        raise UsageError("Say where COCO's annotations are: --coco DIR, or --download to download them.")
    return coco.expanduser() if coco else _downloaded(split, images, offline)


def _build(name: str, folder: Path, split: str, seed: int | None, count: int | None) -> None:
    from radl_bench.benchmarks import builders

    built = builders.build(name, builders.Options(folder, split, seed, count))
    target = builders.write_full(built)
    for reason, number in built.counts.items():
        typer.echo(f"{number:>8,} {reason}")
    full = built.fields["name"]
    typer.echo(f"Built {full} {built.fields['version']} with {len(built.samples)} samples in {target}.")
    typer.echo(f"Use it: {command('generate', full, model='sd14')}")
    if "fid" in built.metrics:
        ids, statistics = target / "fid_reference.txt", target.parents[1] / "fid" / f"{full}.npz"
        photographs = _photographs(folder, split)
        typer.echo(f"For FID: {command('data', 'fid-reference', photographs, ids=ids, out=statistics)}")


def _downloaded(split: str, images: bool, offline: bool) -> Path:
    from radl_bench.downloads.fetch import fetch, find, require

    if split != "val2014":
        raise UsageError(f"--download gets val2014 alone; for {split} give --coco DIR.")
    items = [find(NEEDED["annotations"]), *([find(NEEDED["images"])] if images else [])]
    require(items, offline)
    folders = [fetch(item) for item in items]
    return folders[0]


def _photographs(coco: Path, split: str) -> Path:
    from radl_bench.downloads.fetch import find

    fetched = find(NEEDED["images"]).folder / split
    return fetched if fetched.is_dir() or coco == find(NEEDED["annotations"]).folder else coco / split
