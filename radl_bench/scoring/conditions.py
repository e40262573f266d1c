"""What a number was measured under, and the signature that says so under every number."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from radl_bench import __version__
from radl_bench.scoring.metrics.spec import ScoreSpec
from radl_bench.scoring.protocol import Protocol


@dataclass(frozen=True)
class Conditions:
    """What the numbers of a metric were measured under.

    Attributes:
        benchmark: name, version and sha256 as the manifest records them.
        seeds: policy and base, as recorded.
        protocol: the rules with the metric's thresholds.
        detector, segmenter, encoder, features: signatures of the judges, "none" without one.
        phrase: how the encoder reads a phrase, see `judges.templates`.
        colors: name of the table of colours (`judges.color.table_name`); the common one when empty.
        sizes: sizes of the images where they are not as expected, see `runs.notes.sizes_of`.
        own: the metric's own thresholds.
        more: parts of the kinds of measurement, by key; a score that names such a key in its settings has that part.
        pool: what the metric's pool adds, by key; the values are parts of the signature.
    """

    benchmark: Mapping[str, object]
    levels: tuple[int, ...]
    images_per_sample: int
    seeds: Mapping[str, object]
    protocol: Protocol
    detector: str
    segmenter: str
    encoder: str
    features: str = "none"
    phrase: str = "plain"
    sizes: str = ""
    colors: str = ""
    own: Mapping[str, float] = field(default_factory=dict)
    more: Mapping[str, str] = field(default_factory=dict)
    pool: Mapping[str, str] = field(default_factory=dict)

    def signature(self, spec: ScoreSpec, level: int | None, n: int, ci: str) -> str:
        """Return e.g. `success_inst|bench:coco-mig@1:<sha8>|level:6|n:960|img:1|protocol:strict|det:...|v:0.1.0`.

        Args:
            level: None for all levels.
            n: units asked for.
            ci: how the interval was made.
        """
        bench = f"{self.benchmark['name']}@{self.benchmark['version']}:{str(self.benchmark['sha256'])[:8]}"
        parts = [spec.name, f"bench:{bench}", f"level:{level if level is not None else _span(self.levels)}"]
        parts += [f"n:{n}", f"img:{self.images_per_sample}"] + [f"size:{self.sizes}"] * bool(self.sizes)
        parts += [f"protocol:{self.protocol.name}"]
        parts += [self._part(s) if isinstance(s, str) else s(self) for s in spec.settings]
        parts += [f"{key}:{short(value)}" for key, value in self.own.items()]
        parts += self.pool.values()
        return "|".join([*filter(None, parts), f"seed:{_seed(self.seeds)}", f"ci:{ci}", f"v:{__version__}"])

    def _part(self, setting: str) -> str:
        return SHARED[setting](self) if setting in SHARED else self.more[setting]


def short(value: float) -> str:
    """Return a fraction as in a signature: `.5`, `.05`, `1`."""
    return f"{value:g}".removeprefix("0") or "0"


def seen(c: Conditions, bgr: bool) -> str:
    """How images are shown, where that is not as they are: channels swapped, stretched to a square."""
    return ":bgr" * bgr + (f":{c.protocol.squash}" if c.protocol.squash else "")


def color(c: Conditions) -> str:
    """Which table of colours, and the least share of a mask in the right one."""
    from radl_bench.judges.color import table_name

    return f"color:{c.colors or table_name()}@{short(c.protocol.coverage)}"


def mask(c: Conditions) -> str:
    """Which segmenter, prompted by what."""
    return f"mask:{c.segmenter}@{c.protocol.mask_prompt}"


SHARED: dict[str, Callable[[Conditions], str]] = {
    "det": lambda c: f"det:{c.detector}{seen(c, c.protocol.detector_bgr)}",
    "score": lambda c: f"score:{short(c.protocol.score)}",
    "nms": lambda c: f"nms:{short(c.protocol.nms)}",
    "iou": lambda c: f"iou:{short(c.protocol.iou)}",
    "match": lambda c: "match:one-to-one" if c.protocol.one_to_one else "match:best",
    "color": color,
    "mask": mask,
    "enc": lambda c: f"enc:{c.encoder}{'' if c.protocol.clip_bgr else ':rgb'}{seen(c, c.protocol.clip_bgr)}",
    "features": lambda c: f"features:{c.features}",
}
"""Settings that several metrics name; one that a single metric has is a function in that metric's file."""


def _span(levels: Sequence[int]) -> str:
    if len(levels) > 1 and list(levels) == list(range(levels[0], levels[-1] + 1)):
        return f"{levels[0]}-{levels[-1]}"
    return ",".join(map(str, levels))


def _seed(seeds: Mapping[str, object]) -> str:
    base = seeds.get("base", 0)
    return f"{seeds.get('policy', 'unknown')}" + (f"+{base}" if base else "")
