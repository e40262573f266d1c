"""Options that say where workers run, shared by the commands that have some."""

from __future__ import annotations

from typing import Annotated

import typer

Engine = Annotated[str, typer.Option(help="Where workers run: local (processes of this machine, one a GPU) or ray.")]
Address = Annotated[
    str | None, typer.Option(help="With --engine ray: auto or host:port of a cluster; a new one here by default.")
]
