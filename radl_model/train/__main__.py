"""`python -m radl_model.train CONFIG --out DIR`, or `accelerate launch -m radl_model.train` for several processes."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from radl_model.errors import RadlError

UNFINISHED = 75
"""Exit code of a training that was stopped before its end (EX_TEMPFAIL): run the same command again."""


def main(arguments: list[str] | None = None) -> int:
    """Entry point; errors are printed without a traceback."""
    parser = argparse.ArgumentParser(prog="radl_model.train", description=__doc__)
    parser.add_argument("config", type=Path, help="TOML file")
    parser.add_argument("--out", type=Path, default=None, help="folder of checkpoint, log and adapter")
    parser.add_argument("--minutes", type=float, default=None, help="stop after this long; the next call goes on")
    parser.add_argument("--plan", action="store_true", help="print what the training will take, and start nothing")
    parser.add_argument("--card", default=None, help="with --plan: kind of GPU, a100-80gb by default")
    parser.add_argument("--gpus", type=int, default=None, help="with --plan: how many, 1 by default")
    parser.add_argument("--measure", action="store_true", help="with --plan: time one image at full size here too")
    given = parser.parse_args(arguments)
    if (given.out is None) != given.plan:
        parser.error("give either --out DIR or --plan")
    if not given.plan and (given.card or given.gpus is not None or given.measure):
        parser.error("--card, --gpus and --measure go with --plan")
    try:
        if given.plan:
            return _plan(given)
        from radl_model.train.config import load_config
        from radl_model.train.program import Program
        from radl_model.train.training import Training

        training = Training(Program.from_dict(load_config(given.config)), given.out)
        if training.run(given.minutes):
            return 0
    except RadlError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return error.exit_code
    if training.loop.first:
        print(f"Stopped at step {training.loop.step}. Run the same command again to go on from there.")
    return UNFINISHED


def _plan(given: argparse.Namespace) -> int:
    from radl_model.train.config import load_config
    from radl_model.train.dry_run import DEFAULT_CARD, DryRun

    dry = DryRun(given.card or DEFAULT_CARD, 1 if given.gpus is None else given.gpus, given.measure)
    for line in dry.lines(load_config(given.config)):
        print(line, flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
