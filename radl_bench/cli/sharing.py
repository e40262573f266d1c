"""`radl-bench pack`, `verify`, `push`, `pull` and `runs merge`: runs on their way from one machine to another."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from radl_bench.cli.runs_folder import DEFAULT, Runs, RunsHere, fetched, run_at
from radl_bench.hints import command
from radl_bench.text import safe

Images = Annotated[bool, typer.Option("--images", help="Take the images along.")]
Run = Annotated[Path, typer.Argument(metavar="RUN", help="A scored run folder, by its path or its path below --runs.")]


def pack(
    run: Run,
    out: Annotated[
        Path | None, typer.Option("--out", help="File to write; <benchmark>-<method>-<hash>.radl.zip when not given.")
    ] = None,
    images: Images = False,
    root: Runs = DEFAULT,
) -> None:
    """Pack a scored run into one file: rows, evidence, scores, benchmark, sums, and images if wanted."""
    from radl_bench.sharing.bundle import pack as write

    file = write(run_at(run, fetched(root, images)), out, images)
    typer.echo(f"{file} ({file.stat().st_size:,} bytes)\nCheck it: {command('verify', file)}")


def verify(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="A file written by pack.")],
    share: Annotated[float, typer.Option(help="Part of the samples to score again.")] = 0.02,
    seed: Annotated[int | None, typer.Option(help="Seed of the draw; another one each time when not given.")] = None,
    device: Annotated[str | None, typer.Option(help="Device of the judges, e.g. cuda.")] = None,
) -> None:
    """Check a bundle: sums, means, and a random part of its samples scored again; exit code 2 for a mismatch."""
    from radl_bench.sharing.check import verify_bundle

    done = verify_bundle(bundle, share, seed, device)
    for note in done.notes:
        typer.echo(f"Note: {safe(note)}", err=True)
    judged = f", {done.judged} rows by judging images again" if done.judged else ""
    typer.echo(f"{bundle} holds: {done.means} means, {done.rows} rows of {done.samples} samples{judged}.")


def push(
    run: Run,
    repo: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="A data set of the Hugging Face Hub.")],
    images: Images = False,
    public: Annotated[
        bool, typer.Option("--public", help="Make a new data set public; it is private otherwise.")
    ] = False,
    root: Runs = DEFAULT,
) -> None:
    """Upload the bundle of a scored run to the Hugging Face Hub, with a card."""
    from radl_bench.sharing.hub import push as upload

    typer.echo(upload(run_at(run, fetched(root, images)), repo, images=images, private=not public))


def pull(
    repo: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="A data set of the Hugging Face Hub.")],
    revision: Annotated[str | None, typer.Option(help="Commit, branch or tag.")] = None,
    root: RunsHere = DEFAULT,
) -> None:
    """Download a run from the Hugging Face Hub into --runs."""
    from radl_bench.sharing.hub import pull as download

    run = download(repo, root, revision)
    typer.echo(f"{run}\nNext: {command('report', runs=root)}")
