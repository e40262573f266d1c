"""`--plan`: what a training will take, printed; nothing is loaded, written or begun."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from radl_model.train.measure import measured_lines
from radl_model.train.plan import Plan
from radl_model.train.program import Program

DEFAULT_CARD = "a100-80gb"


@dataclass(frozen=True)
class DryRun:
    """What a plan is made for.

    Attributes:
        card: see `plan.CARDS`; gpus: how many.
        measure: time one image at full size on this machine too; needs the memory of a turn.
    """

    card: str = DEFAULT_CARD
    gpus: int = 1
    measure: bool = False

    def lines(self, settings: Mapping[str, object]) -> Iterator[str]:
        """The plan of a configuration as read from TOML; errors as `Program.from_dict` and `Plan`."""
        plan = Plan(Program.from_dict(settings), self.card, self.gpus)
        yield from plan.lines()
        if self.measure:
            yield ""
            yield from measured_lines(plan)
