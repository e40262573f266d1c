"""Workers as processes of this machine, one a GPU where there are several."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from radl_bench.errors import RadlBenchError, UsageError
from radl_bench.registry import describe_error
from radl_bench.runs.dealing import Answer, Crew, Done, Failed, Job, Lost, Ready

_PATIENCE = 5.0  # seconds that a worker has to end when it is asked to
_LEAVE = 2.0  # seconds in which those without a batch end by themselves, and give back their locks
_GPUS = Path("/proc/driver/nvidia/gpus")


class LocalCrew(Crew):
    """`size` fresh processes (not forked), each with its share of the cores.

    Args:
        job: what each sets up; can be pickled.
        size: number of workers.
        spread: give each worker one GPU, in turn, where this machine has several.
    """

    def __init__(self, job: Job, size: int, spread: bool = True) -> None:
        self._job, self.size = job, size
        self._gpus = gpus() if spread else []
        self._workers: dict[int, tuple[BaseProcess, Connection]] = {}

    def hire(self, place: int) -> None:
        """Start a process."""
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_work, args=(theirs, self._job), name=f"radl-bench worker {place}")
        with _environment(self._share(place)):
            process.start()
        theirs.close()  # so that the end of the process ends the pipe
        self._workers[place] = process, ours

    def hand(self, place: int, batch: Any) -> None:
        """Send a batch; a worker that is lost meanwhile is told by `wait`."""
        with contextlib.suppress(OSError):
            self._workers[place][1].send(batch)

    def wait(self) -> Iterable[tuple[int, Answer]]:
        """Wait for the pipes of all workers."""
        places = {connection: place for place, (_, connection) in self._workers.items()}
        return [(places[ready], self._answer(places[ready])) for ready in wait(list(places))]  # type: ignore[index]

    def dismiss(self) -> None:
        """Ask all to end, and end those that do not."""
        for _, connection in self._workers.values():
            connection.close()
        end = time.monotonic() + _LEAVE
        for process, _ in self._workers.values():
            process.join(max(0.0, end - time.monotonic()))
        for process, _ in self._workers.values():
            process.terminate()
        for process, _ in self._workers.values():
            process.join(_PATIENCE)
            if process.is_alive():
                process.kill()
                process.join()
        self._workers.clear()

    def _answer(self, place: int) -> Answer:
        process, connection = self._workers[place]
        try:
            answer: Answer = connection.recv()
            return answer
        except (EOFError, OSError):
            connection.close()
            del self._workers[place]
            process.join(_PATIENCE)
            return Lost(_how(process.exitcode))

    def _share(self, place: int) -> dict[str, str]:
        share = {} if "OMP_NUM_THREADS" in os.environ else {"OMP_NUM_THREADS": str(max(1, cores() // self.size))}
        if len(self._gpus) > 1:
            share["CUDA_VISIBLE_DEVICES"] = self._gpus[place % len(self._gpus)]
        return share


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def gpus() -> list[str]:
    """Return the names of the GPUs that this process may use, as `CUDA_VISIBLE_DEVICES` has them; loads nothing."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return [name.strip() for name in chosen.split(",") if name.strip()]
    return [str(n) for n in range(len(list(_GPUS.iterdir())))] if _GPUS.is_dir() else []


def attempt(work: Callable[..., Any], *arguments: object) -> Done | Failed:
    """Return what a worker's step came to; an error that no user should meet becomes one that says where it was."""
    try:
        return Done(work(*arguments))
    except RadlBenchError as error:
        return Failed(error)
    except Exception as error:
        return Failed(UsageError(f"A worker failed: {describe_error(error)}."))


def _work(connection: Connection, job: Job) -> None:
    """Set up the job, then do one batch after the other until the pipe ends; runs in a process of its own."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that deals
    with contextlib.suppress(EOFError, OSError):  # that process has ended
        made = attempt(job.open)
        if isinstance(made, Failed):
            connection.send(made)
            return
        connection.send(Ready(made.result.facts))
        while True:
            connection.send(attempt(made.result.make, connection.recv()))


def _how(code: int | None) -> str:
    if code is not None and code < 0:
        with contextlib.suppress(ValueError):
            return f"was ended by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"


@contextlib.contextmanager
def _environment(more: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in more}
    os.environ.update(more)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name)
            else:
                os.environ[name] = value
