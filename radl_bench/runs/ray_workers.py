"""Workers as actors of a Ray cluster: one that is there already, or a new one on this machine."""

from __future__ import annotations

import logging
import signal
import socket
import threading
from collections.abc import Iterable
from typing import Any

from radl_bench.errors import MissingExtra, UsageError
from radl_bench.runs.dealing import Answer, Crew, Job, Lost, Ready
from radl_bench.runs.local_workers import attempt

_PATIENCE = 5.0  # seconds in which the head of a cluster has to answer


class RayCrew(Crew):
    """`size` actors, one a GPU where the cluster has any, otherwise one a core.

    Args:
        job: what each sets up; can be pickled.
        size: number of workers.
        address: "auto" or `host:port` of a cluster; None starts one on this machine, which ends with the work.
        spread: ask for a GPU a worker where the cluster has some.

    Raises:
        MissingExtra: Ray is not installed.
        UsageError: there is no such cluster, it has other versions, or no room for so many workers.
    """

    def __init__(self, job: Job, size: int, address: str | None = None, spread: bool = True) -> None:
        self._job, self.size = job, size
        self._ray = _start(address, size)
        try:
            self._needs = _needs(self._ray.cluster_resources(), size, spread)
        except BaseException:
            self._ray.shutdown()
            raise
        self._actors: dict[int, Any] = {}
        self._asked: dict[Any, int] = {}

    def hire(self, place: int) -> None:
        """Start an actor."""
        actor = self._ray.remote(**self._needs)(_Actor).remote(self._job)
        self._actors[place] = actor
        self._asked[actor.set_up.remote()] = place

    def hand(self, place: int, batch: Any) -> None:
        """Send a batch."""
        self._asked[self._actors[place].make.remote(batch)] = place

    def wait(self) -> Iterable[tuple[int, Answer]]:
        """Wait for the calls of all workers."""
        ready, _ = self._ray.wait(list(self._asked), num_returns=1)
        return [self._answer(call) for call in ready]

    def dismiss(self) -> None:
        """End all actors and leave the cluster."""
        for actor in self._actors.values():
            self._ray.kill(actor)
        self._actors.clear()
        self._asked.clear()
        self._ray.shutdown()

    def _answer(self, call: Any) -> tuple[int, Answer]:
        place = self._asked.pop(call)
        try:
            answer = self._ray.get(call)
        except self._ray.exceptions.RayActorError as error:
            return place, Lost(_first_line(error))
        except self._ray.exceptions.RayError as error:
            return place, self._dropped(place, error)
        return place, answer

    def _dropped(self, place: int, error: Exception) -> Lost:
        """Let go of an actor whose call was lost though it may live."""
        self._ray.kill(self._actors[place])
        return Lost(_first_line(error))


class _Actor:
    """What runs on the cluster: a job, opened there."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._made: Any = None

    def set_up(self) -> Answer:
        made = attempt(self._job.open)
        self._made = getattr(made, "result", None)
        return made if self._made is None else Ready(self._made.facts)  # type: ignore[return-value]

    def make(self, batch: Any) -> Answer:
        return attempt(self._made.make, batch)


def _start(address: str | None, size: int) -> Any:
    """Return the module of Ray, connected; a new cluster has one core a worker, whatever the machine has."""
    try:
        import ray
    except ImportError:
        raise MissingExtra("--engine ray needs Ray. Install it: pip install 'radl-bench[ray]'") from None
    if address is not None:
        _check_address(address)
    room = {"address": address} if address else {"num_cpus": size, "include_dashboard": False}
    handler = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(**room, logging_level=logging.ERROR, log_to_driver=False)
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        ray.shutdown()
        raise UsageError(_no_cluster(address, error)) from None
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)  # Ray puts its own there
    return ray


def _check_address(address: str) -> None:
    """Raise `UsageError` where nobody listens at `host:port`; Ray itself would try for two minutes."""
    if address == "auto" or "://" in address:
        return
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), _PATIENCE).close()
    except (OSError, ValueError, OverflowError) as error:
        raise UsageError(_no_cluster(address, error)) from None


def _no_cluster(address: str | None, error: BaseException) -> str:
    where = f"the Ray cluster at '{address}'" if address else "a Ray cluster on this machine"
    return (
        f"There is no connection to {where} ({_first_line(error)}). "
        "Start it with `ray start --head`, or leave --address out for a cluster of this machine."
    )


def _needs(cluster: dict[str, float], size: int, spread: bool) -> dict[str, Any]:
    """Return what an actor asks for; raises `UsageError` where the cluster has less than that for all."""
    kind = "GPU" if spread and cluster.get("GPU", 0) >= 1 else "CPU"
    there = int(cluster.get(kind, 0))
    if there < size:
        raise UsageError(f"The cluster has {there} {kind}s, too few for --workers {size} of one {kind} each.")
    return {"num_gpus": 1, "num_cpus": 0} if kind == "GPU" else {"num_cpus": 1}


def _first_line(error: BaseException) -> str:
    return next((line.strip().rstrip(".") for line in str(error).splitlines() if line.strip()), type(error).__name__)
