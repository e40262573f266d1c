"""`radl-bench score`: from images to numbers."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from radl_bench.cli import completing
from radl_bench.cli.runs_folder import DEFAULT, Runs, is_store, no_runs
from radl_bench.cli.signals import interruptible
from radl_bench.cli.workers import Address, Engine
from radl_bench.devices import check_device
from radl_bench.errors import GenerationFailed, MissingData, UsageError, did_you_mean
from radl_bench.hints import command
from radl_bench.parsing import is_file
from radl_bench.text import safe
from radl_bench.types import SCALES

if TYPE_CHECKING:
    from radl_bench.stores.working_copy import WorkingCopy


def score(
    runs: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[RUN]...", help="Run folders; every run under --runs when not given."),
    ] = None,
    detector: Annotated[
        str,
        typer.Option(
            help="mini, grounding-dino, groundingdino-py, oracle, blind, or file.py:Class.",
            autocompletion=completing.part("detectors"),
        ),
    ] = "mini",
    segmenter: Annotated[
        str | None,
        typer.Option(
            help="mini, grabcut, sam, box, or file.py:Class; goes with the detector.",
            autocompletion=completing.part("segmenters"),
        ),
    ] = None,
    encoder: Annotated[
        str,
        typer.Option(
            help="mini, open-clip, none, or path/to/file.py:Class.", autocompletion=completing.part("encoders", "none")
        ),
    ] = "mini",
    features: Annotated[
        str | None,
        typer.Option(
            help="mini, inception, none, or path/to/file.py:Class; goes with the encoder.",
            autocompletion=completing.part("features", "none"),
        ),
    ] = None,
    protocol: Annotated[
        str,
        typer.Option(
            help="strict, mig_bench_v1 or consistcompose_v1.",
            autocompletion=completing.one_of("strict", "mig_bench_v1", "consistcompose_v1"),
        ),
    ] = "strict",
    iou: Annotated[float | None, typer.Option(help="Least IoU of a correct position, 0 to 1.")] = None,
    score_threshold: Annotated[float | None, typer.Option(help="Least score of a detection, 0 to 1.")] = None,
    coverage: Annotated[float | None, typer.Option(help="Least share of a mask that has the right colour.")] = None,
    nms: Annotated[float | None, typer.Option(help="IoU above which the weaker of two boxes is dropped.")] = None,
    fid_reference: Annotated[
        Path | None, typer.Option(help="Statistics of real images (.npz); the benchmark's when not given.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="Device of the judges, e.g. cuda.")] = None,
    detections: Annotated[
        Path | None, typer.Option(help="COCO results (JSON) of a detector run elsewhere, instead of --detector.")
    ] = None,
    masks: Annotated[Path | None, typer.Option(help="COCO results with segmentations, instead of --segmenter.")] = None,
    images: Annotated[Path | None, typer.Option(help="A folder of images made elsewhere; needs --benchmark.")] = None,
    box_format: Annotated[
        str, typer.Option(help="Boxes of --detections and --masks: auto, xywh, xyxy or cxcywh[-fraction][@WxH].")
    ] = "auto",
    benchmark: Annotated[
        str | None,
        typer.Option(help="The benchmark the images were made for.", autocompletion=completing.benchmark),
    ] = None,
    level: Annotated[int | None, typer.Option(help="With --images: only samples with this many instances.")] = None,
    levels: Annotated[str | None, typer.Option(help="With --images: only these levels, e.g. 2-6 or 2,4.")] = None,
    limit: Annotated[
        int | None, typer.Option(help="With --images: only this many samples, spread evenly over the levels.")
    ] = None,
    ids: Annotated[list[str] | None, typer.Option(help="With --images: only these samples, e.g. a,b.")] = None,
    table: Annotated[
        Path | None, typer.Option("--map", help="With --images: a CSV with the columns file,sample_id,k.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="With --images: name of the method in reports.")] = None,
    scale: Annotated[
        str | None,
        typer.Option(help="With --images: their scale, paper or mini; images without one get tables of their own."),
    ] = None,
    judge: Annotated[
        list[str] | None,
        typer.Option(metavar="ROLE=NAME", help="A judge for a role that is not built in; may be repeated."),
    ] = None,
    workers: Annotated[int, typer.Option(help="Workers that judge side by side, each with judges of its own.")] = 1,
    engine: Engine = "local",
    address: Address = None,
    root: Runs = DEFAULT,
) -> None:
    """Score the images of runs. What the judges saw is kept, so scoring again is quick."""
    from radl_bench.scoring.score import score_each

    part = {"level": level, "levels": levels, "limit": limit, "ids": _split(ids)}
    _check_options(runs, images, benchmark, part, table, name, scale, root)
    _check_reference(fid_reference, features or ("mini" if encoder == "mini" else None), device)
    check_device(device)
    judges = _judges(judge or [])
    with interruptible("What the judges saw so far is kept. Run the same command again to continue."):
        scored = score_each(
            _folders(runs, images, benchmark, part, table, name, scale, root),  # looked for when all options are right
            detector=detector if detections is None else f"file:{detections}",
            segmenter=segmenter if masks is None else f"file:{masks}",
            box_format=box_format,
            encoder=encoder,
            features=features,
            protocol=protocol,
            iou=iou,
            score_threshold=score_threshold,
            coverage=coverage,
            nms=nms,
            fid_reference=fid_reference,
            device=device,
            judges=judges,
            workers=workers,
            engine=engine,
            address=address,
        )
    for outcome in scored:
        print(outcome.file)
        for note in outcome.notes:
            print(f"Note: {safe(note)}", file=sys.stderr)
    bad = [outcome for outcome in scored if outcome.problems]
    print(f"Next: {command('report', *(runs or ()), runs=root)}")
    if bad:
        raise GenerationFailed(" ".join(_lacking(o.run, o.problems, o.images) for o in bad))


def _check_options(
    runs: list[Path] | None,
    images: Path | None,
    benchmark: str | None,
    part: dict[str, Any],
    table: Path | None,
    name: str | None,
    scale: str | None,
    root: Path,
) -> None:
    if images is not None and is_store(root):
        raise UsageError("Images made elsewhere become a run in a folder, so --runs cannot be the address of a store.")
    if images is not None and (benchmark is None or runs):
        raise UsageError("--images needs --benchmark NAME, and no RUN beside it.")
    if images is None and any(option is not None for option in (benchmark, *part.values(), table, name, scale)):
        raise UsageError(
            "--benchmark, --level, --levels, --limit, --ids, --map, --name and --scale belong to --images DIR."
        )
    if scale is not None and scale not in SCALES:
        raise UsageError(did_you_mean(scale, SCALES, "scale"))


def _check_reference(fid_reference: Path | None, features: str | None, device: str | None) -> None:
    if fid_reference is not None and not is_file(fid_reference):
        raise MissingData(
            f"There is no reference {fid_reference}. Build it: "
            + command("data", "fid-reference", "FOLDER", features=features, device=device, out=fid_reference)
        )


def _folders(
    runs: list[Path] | None,
    images: Path | None,
    benchmark: str | None,
    part: dict[str, Any],
    table: Path | None,
    name: str | None,
    scale: str | None,
    root: Path,
) -> Iterator[Path]:
    """Yield the run folders, importing the images first where there are some to import."""
    from radl_bench.runs.store import find_runs
    from radl_bench.stores.roots import copy_of

    if images is not None and benchmark is not None:
        yield _import(images, benchmark, part, table, name, scale, root)
        return
    copy = copy_of(root)
    if copy is not None:
        yield from _stored(copy, runs, root)
        return
    folders = runs or find_runs(root)
    if not folders:
        raise MissingData(no_runs(root))
    yield from folders


def _stored(copy: WorkingCopy, runs: list[Path] | None, root: Path) -> Iterator[Path]:
    """Yield the folders of runs in a store, each fetched before it is scored, and what was found copied back after."""
    from radl_bench.runs.store import find_runs

    copy.store.check()
    if runs is None:
        copy.fetch()
    folders = [run if run.is_absolute() else root / run for run in runs or find_runs(root)]
    if not folders:
        raise MissingData(no_runs(root))
    for folder in folders:
        copy.fetch(folder, images=True)
        try:
            yield folder
        finally:
            copy.push(folder)


def _split(ids: list[str] | None) -> list[str] | None:
    return None if ids is None else [one.strip() for text in ids for one in text.split(",") if one.strip()]


def _judges(pairs: list[str]) -> dict[str, str]:
    judges = {}
    for pair in pairs:
        role, equals, name = pair.partition("=")
        if not (role and equals and name):
            raise UsageError(f"'{pair}' names no judge. Write --judge ROLE=NAME.")
        judges[role] = name
    return judges


def _import(
    images: Path,
    benchmark: str,
    part: dict[str, Any],
    table: Path | None,
    name: str | None,
    scale: str | None,
    root: Path,
) -> Path:
    from radl_bench.benchmarks.loading import load_benchmark, source_of
    from radl_bench.runs.image_import import import_images

    chosen = load_benchmark(benchmark, **part)
    done = import_images(images, chosen, name=name, table=table, out=root, source=source_of(benchmark), scale=scale)
    print(f"{done.pictures} images of {safe(images)} are now the run {done.run}.")
    return done.run


def _lacking(run: Path, problems: tuple[str, ...], images: int) -> str:
    more = f" and {len(problems) - 1} more" if len(problems) > 1 else ""
    return (
        f"{len(problems)} of {images} images of {run} could not be judged ({problems[0]}{more}); "
        "they count as failures in the scores."
    )
