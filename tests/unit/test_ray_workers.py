"""Generating on a Ray cluster: two actors on this machine, one of them killed; and what is said when there is none."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

import pytest
from test_workers import _bytes, _generate, _rows, _written, benchmark, method  # noqa: F401  (fixtures)

from radl_bench.errors import MissingExtra, UsageError
from radl_bench.runs.generate import generate_run
from radl_bench.runs.ray_workers import _needs
from radl_bench.runs.workers import Recipe, opened


def test_two_actors_of_which_one_is_killed_leave_what_one_process_leaves(benchmark, method, tmp_path):  # noqa: F811
    pytest.importorskip("ray")
    one = _generate(benchmark, tmp_path / "one", Recipe(method), 1, images_per_sample=20)
    log = tmp_path / "log"

    def kill() -> None:
        while len(begun := log.read_text().split() if log.exists() else []) < 10:
            time.sleep(0.01)
        os.kill(int(begun[-1]), signal.SIGKILL)

    threading.Thread(target=kill, daemon=True).start()
    with opened(Recipe(method, settings={"log": str(log), "delay": 0.05}), 2, "ray") as maker:
        two = generate_run(benchmark, maker, out=tmp_path / "two", images_per_sample=20)
        assert maker.remark() == "2 workers, 1 lost"
    assert (_bytes(two.run), _rows(two.run)) == (_bytes(one.run), _rows(one.run))
    assert (two.made, two.failed, _written(two.run)) == (180, 0, 180)
    assert len(set(log.read_text().split())) == 3
    with (
        pytest.raises(UsageError, match="Unknown setting"),
        opened(Recipe(method, settings={"mising": True}), 1, "ray"),
    ):
        pass


def test_a_wrong_address_is_a_clear_error(method):  # noqa: F811
    pytest.importorskip("ray")
    for address in ("auto", "nobody here", "127.0.0.1:1"):
        with (
            pytest.raises(UsageError, match=f"no connection to the Ray cluster at '{address}'"),
            opened(Recipe(method), 2, "ray", address),
        ):
            pass


def test_without_ray_it_says_what_to_install(method, monkeypatch):  # noqa: F811
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtra, match=r"pip install 'radl-bench\[ray\]'"), opened(Recipe(method), 2, "ray"):
        pass


def test_a_worker_asks_for_a_gpu_where_there_are_some():
    assert _needs({"CPU": 8.0, "GPU": 2.0}, 2, True) == {"num_gpus": 1, "num_cpus": 0}
    assert _needs({"CPU": 8.0, "GPU": 2.0}, 2, False) == _needs({"CPU": 8.0}, 2, True) == {"num_cpus": 1}
    with pytest.raises(UsageError, match="The cluster has 2 GPUs, too few for --workers 3"):
        _needs({"CPU": 8.0, "GPU": 2.0}, 3, True)
