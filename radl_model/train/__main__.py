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
    parser.add_argument("--out", type=Path, required=True, help="folder of checkpoint, log and adapter")
    parser.add_argument("--minutes", type=float, default=None, help="stop after this long; the next call goes on")
    given = parser.parse_args(arguments)
    try:
        from radl_model.train.config import load_config
        from radl_model.train.program import Program, Training

        training = Training(Program.from_dict(load_config(given.config)), given.out)
        if training.run(given.minutes):
            return 0
    except RadlError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return error.exit_code
    if training.loop.first:
        print(f"Stopped at step {training.loop.step}. Run the same command again to go on from there.")
    return UNFINISHED


if __name__ == "__main__":
    raise SystemExit(main())
