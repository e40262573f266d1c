"""`radl-bench data fid-reference`: statistics of real images for FID and KID."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from radl_bench.errors import BadInput
from radl_bench.hints import command

if TYPE_CHECKING:
    from radl_bench.judges.contracts import FeatureExtractor


def fid_reference(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Real images (png, jpg, webp, bmp).")],
    out: Annotated[Path, typer.Option(help="The file to write, e.g. coco-val2014.npz.")],
    ids: Annotated[
        Path | None,
        typer.Option(help="A text file with one image name (without its ending) a line: use only these images."),
    ] = None,
    features: Annotated[str, typer.Option(help="inception, mini, or path/to/file.py:Class.")] = "inception",
    device: Annotated[str | None, typer.Option(help="Device of the judge, e.g. cuda.")] = None,
) -> None:
    """Measure a folder of real images once, for `score --fid-reference`; names and checksums are recorded."""
    from radl_bench.judges.kinds.features import FEATURES
    from radl_bench.runs.image_folder import read_folder
    from radl_bench.scoring.fid_reference import build_reference, folder_images, write_reference
    from radl_bench.scoring.judging import make_judge
    from radl_bench.scoring.metrics.fid import few_images

    found = read_folder(folder)
    judge = cast("FeatureExtractor", make_judge(FEATURES.role, features, device))
    reference = build_reference(out.stem, folder_images(folder, _read_ids(ids)), judge)
    write_reference(reference, out)
    for note in filter(None, (*found.notes(), few_images(reference))):
        typer.echo(f"Note: {note}", err=True)
    typer.echo(f"{reference.moments.n} images of {folder} are the reference {out} ({reference.setting}).")
    typer.echo(f"Use it: {command('score', features=features, fid_reference=out, device=device)}")


def _read_ids(file: Path | None) -> list[str] | None:
    if file is None:
        return None
    try:
        lines = file.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{file} is not a list of ids ({error}).") from error
    return list(dict.fromkeys(line.strip() for line in lines if line.strip()))
