"""Scored runs for tests of the report: their numbers follow from names alone, so that golden files hold."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd

from radl_bench.scoring.metrics.ap_parts import ApParts

LEVELS = (2, 3, 4, 5, 6)
ABOUT_AP = {"form": np.array("boxes"), "scores": np.array(["ap", "ap50", "ap75"])}
METHODS = {"sprites": 0.97, "stable-diffusion": 0.2, "radl": 0.7}


def hit(*words: object) -> float:
    """A number from 0 to 1 that depends on the words alone."""
    return int(sha256(" ".join(map(str, words)).encode()).hexdigest()[:8], 16) / 2**32


def _rows(method: str, rate: float, levels: tuple[int, ...], samples: int) -> pd.DataFrame:
    rows = []
    for level in levels:
        for sample in (f"mig-{level}{n:03d}" for n in range(samples)):
            hits = [float(hit(method, sample, i) < rate) for i in range(level)]
            rows += [(sample, 0, i, level, "success_inst", 100 * h, "") for i, h in enumerate(hits)]
            rows += [(sample, 0, i, level, "miou", 90 * h, "") for i, h in enumerate(hits)]
            rows.append((sample, 0, -1, level, "success_img", 100 * min(hits), ""))
            rows.append((sample, 0, -1, level, "clip", 20 + 10 * rate + hit(sample), ""))
    return pd.DataFrame(rows, columns=["sample_id", "k", "instance", "level", "metric", "value", "reason"])


def _scores(rows: pd.DataFrame, rate: float, signature: str) -> list[dict]:
    scores = []
    for metric in ("success_inst", "success_img", "miou", "clip"):
        for level in (*sorted(set(rows["level"])), None):
            of = rows[(rows["metric"] == metric) & (True if level is None else rows["level"] == level)]["value"]
            scores.append(_score(metric, level, of.mean(), len(of), signature))
    return [*scores, _score("ap", None, 50 * rate, len(rows), signature)]


def _score(metric: str, level: int | None, value: float, n: int, signature: str) -> dict:
    return {
        "metric": metric,
        "level": level,
        "value": round(value, 6),
        "ci_low": round(value - 2, 6),
        "ci_high": round(value + 2.5, 6),
        "n": n,
        "n_missing": 0,
        "signature": f"{metric}|bench:coco-mig@1:abcd1234|n:{n}|img:1|{signature}|v:0.1.0",
    }


def _ap_parts(method: str, rate: float, levels: tuple[int, ...], samples: int) -> dict[str, np.ndarray]:
    """What AP keeps: a box each sample, found as often as the rate says."""
    at = [(f"mig-{level}{n:03d}", level) for level in levels for n in range(samples)]
    found = [n for n, (sample, _) in enumerate(at) if hit(method, sample, "ap") < rate]
    boxes, size = np.array([[n, 0, n] for n in range(len(at))], int), len(found)
    bits = np.full(size, 0b1111111111, np.uint16)
    parts = ApParts(tuple(s for s, _ in at), ("cat",), boxes[:, :2], boxes[found], np.full(size, 0.9), bits)
    return parts.arrays() | {"levels": np.array([level for _, level in at])} | ABOUT_AP


def _write_parts(path: Path, parts: dict[str, np.ndarray]) -> None:
    np.savez(path / "scores" / "parts.npz", **{f"average_precision/{name}": part for name, part in parts.items()})


def make_run(root: Path, method: str, rate: float, **changes) -> Path:
    """Write a scored run; changes: model, levels, samples, filter, status, signature, judges, name, hash, about
    (more facts of the generator)."""
    levels, samples = changes.get("levels", LEVELS), changes.get("samples", 8)
    path = root / "runs" / "coco-mig" / method / changes.get("hash", sha256(method.encode()).hexdigest()[:8])
    (path / "scores").mkdir(parents=True)
    (path / "manifest.json").write_text("{}")
    rows = _rows(method, rate, levels, samples)
    rows.to_parquet(path / "scores" / "rows.parquet")
    _write_parts(path, _ap_parts(method, rate, levels, samples))
    data = {
        "schema_version": 1,
        "protocol": "strict",
        "benchmark": {
            "name": "coco-mig",
            "version": "1",
            "sha256": "abcd1234" * 8,
            "filter": changes.get("filter", {}),
        },
        "generator": {"name": changes.get("name", method), "revision": "1", "model": changes.get("model", "mini")}
        | changes.get("about", {}),
        "status": changes.get("status", "complete"),
        "judges": changes.get("judges", {"detector": {"name": "mini", "signature": "mini-detector@1"}}),
        "scores": _scores(rows, rate, changes.get("signature", "det:mini-detector@1|seed:hashed")),
    }
    (path / "scores" / "scores.json").write_text(json.dumps(data))
    return path


def _rows_around(numbers: dict[str, tuple], samples: int) -> pd.DataFrame:
    """Rows whose mean is the value of each metric; `samples` is even."""
    around = [(n, (-1) ** n * hit(n // 2)) for n in range(samples)]
    rows = [(f"s{n}", 0, -1, 2, m, value + by, "") for m, (value, *_) in numbers.items() for n, by in around]
    return pd.DataFrame(rows, columns=["sample_id", "k", "instance", "level", "metric", "value", "reason"])


def bare_run(root: Path, benchmark: str, method: str, numbers: dict[str, tuple], **changes) -> Path:
    """Write a scored run; `numbers`: metric -> (value, low, high); changes: n, note, parts, filter, rows (None: none).

    `rows` is how many samples have a row of each metric, around its value.
    """
    path = root / "runs" / benchmark / method / sha256(method.encode()).hexdigest()[:8]
    (path / "scores").mkdir(parents=True)
    (path / "manifest.json").write_text("{}")
    n, scores = changes.get("n", 100), []
    for metric, (value, low, high) in numbers.items():
        ends = {"value": value, "ci_low": low, "ci_high": high, "n": n, "n_missing": 0}
        signature = f"{metric}|bench:{benchmark}@1:abcd1234|level:2-6|n:{n}|img:1|protocol:strict|seed:hashed|v:0.1.0"
        scores.append({"metric": metric, "level": None, **ends, "signature": signature})
        if metric in changes.get("note", {}):
            scores[-1]["note"] = changes["note"][metric]
    if changes.get("rows"):
        _rows_around(numbers, changes["rows"]).to_parquet(path / "scores" / "rows.parquet")
    if "parts" in changes:
        _write_parts(path, changes["parts"])
    about = {"name": benchmark, "version": "1", "sha256": "abcd1234" * 8, "filter": changes.get("filter", {})}
    data = {
        "schema_version": 1,
        "protocol": "strict",
        "benchmark": about,
        "generator": {"name": method, "revision": "1", "model": changes.get("model", "sd14")},
        "status": "complete",
        "judges": {"detector": {"name": "grounding-dino", "signature": "grounding-dino"}},
        "scores": scores,
    }
    (path / "scores" / "scores.json").write_text(json.dumps(data))
    return path
