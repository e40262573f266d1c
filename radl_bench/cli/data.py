"""`radl-bench data`: benchmark files made elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from radl_bench.errors import UsageError, did_you_mean

data = typer.Typer(help="Bring in benchmark files made elsewhere.", no_args_is_help=True)
IMPORTS = ("coco-mig",)


@data.callback()
def _group() -> None:
    """Bring in benchmark files made elsewhere."""


@data.command("import")
def import_(
    name: Annotated[str, typer.Argument(metavar="BENCHMARK", help="coco-mig.")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="For coco-mig: the public mig_bench_anno.yaml.")],
) -> None:
    """Keep a public benchmark file in the user's data folder; coco-mig becomes the benchmark coco-mig-public."""
    from radl_bench.importers.coco_mig import import_coco_mig, is_public_file

    if name not in IMPORTS:
        raise UsageError(did_you_mean(name, IMPORTS, "benchmark to import"))
    folder, samples = import_coco_mig(file)
    instances = sum(sample.level for sample in samples)
    kind = "the public file, byte by byte" if is_public_file(file) else "not the public file: a set of its own"
    typer.echo(f"Imported {len(samples)} samples with {instances:,} instances ({kind}) into {folder}.")
    typer.echo("Use it: radl-bench generate coco-mig-public --level 6")
