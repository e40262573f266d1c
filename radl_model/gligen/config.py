"""Settings of GLIGEN's layers and of the share of the steps that they act in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields

from radl_model.engine.settings import check_share
from radl_model.errors import UsageError


@dataclass(frozen=True)
class GligenConfig:
    """What is not said by the base.

    Attributes:
        slots: instances an image can have; empty slots hold learned null features.
        n_freqs: Fourier frequencies of a coordinate.
        position_hidden: width of the MLP that joins text and box.
        active_fraction: share of the steps with the layers on, counted from the first; the published scripts have 0.3.
        ramp: share of the steps after those, in which the layers fade out linearly.

    Raises:
        UsageError: a number out of its range.
    """

    slots: int = 30
    n_freqs: int = 8
    position_hidden: int = 512
    active_fraction: float = 0.3
    ramp: float = 0.0

    def __post_init__(self) -> None:
        for name in ("slots", "n_freqs", "position_hidden"):
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise UsageError(f"{name}={value!r} must be a whole number and at least 1.")
        for name in ("active_fraction", "ramp"):
            if getattr(self, name) is None:
                raise UsageError(f"{name} must lie in [0, 1].")
            check_share(name, getattr(self, name))

    def strengths(self, steps: int, fraction: float | None = None) -> list[float]:
        """Return how strongly the layers act in each of `steps` steps, 1 to 0.

        Shares are cut down to whole steps, as in the published sampler: 15 of 50 for 0.3. A ramp of n steps falls from
        1 - 1/n to 0.

        Args:
            fraction: in the place of `active_fraction`.
        """
        full = _steps(self.active_fraction if fraction is None else fraction, steps)
        fading = min(_steps(self.ramp, steps), steps - full)
        return [1.0] * full + [1 - (i + 1) / fading for i in range(fading)] + [0.0] * (steps - full - fading)

    @classmethod
    def from_dict(cls, values: Mapping[str, object]) -> GligenConfig:
        """Build from a parsed `config.json` or TOML table; an unknown key raises `UsageError`."""
        known = sorted(f.name for f in fields(cls))
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise UsageError(f"Unknown setting of GLIGEN {unknown[0]!r}. Known: {', '.join(known)}.")
        return cls(**values)  # type: ignore[arg-type]

    def to_dict(self) -> dict[str, object]:
        """Return the settings as plain JSON values."""
        return asdict(self)


def _steps(fraction: float, total: int) -> int:
    """Whole steps in a share; the margin keeps 0.57 * 100 = 56.99999999999999 from losing one."""
    return min(total, int(fraction * total + 1e-6))
