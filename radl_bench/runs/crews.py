"""Crews by the name of their engine: processes of this machine, or actors of a Ray cluster."""

from __future__ import annotations

from radl_bench.errors import UsageError, did_you_mean
from radl_bench.runs.dealing import Crew, Job, check_number
from radl_bench.runs.local_workers import LocalCrew
from radl_bench.runs.ray_workers import RayCrew

ENGINES = ("local", "ray")


def check_crew(workers: int, engine: str, address: str | None) -> None:
    """Raise `UsageError` for an unknown engine, a number of workers out of range, or an address of no cluster."""
    check_number(workers)
    if engine not in ENGINES:
        raise UsageError(did_you_mean(engine, ENGINES, "engine"))
    if address is not None and engine != "ray":
        raise UsageError("--address belongs to --engine ray.")


def crew_of(job: Job, workers: int, engine: str, address: str | None, spread: bool = True) -> Crew:
    """Return the crew of an engine, not hired yet; `spread` gives each worker a GPU of its own, in turn."""
    return RayCrew(job, workers, address, spread) if engine == "ray" else LocalCrew(job, workers, spread)
