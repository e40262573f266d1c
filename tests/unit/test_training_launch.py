"""The files for `accelerate launch` and SLURM: accelerate reads them, the script runs against a stand-in of SLURM."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import tomli_w
from accelerate.commands.config.config_args import load_config_from_file

from radl_model.train import program
from tests.layout_training import config, losses, make_place, trained

LAUNCH = Path(program.__file__).parent / "launch"


@pytest.mark.parametrize(
    ("name", "kind", "processes", "machines"),
    [
        ("cpu-2", "MULTI_CPU", 2, 1),
        ("gpu-1", "NO", 1, 1),
        ("gpu-4", "MULTI_GPU", 4, 1),
        ("gpu-8", "MULTI_GPU", 8, 1),
        ("gpu-2x8", "MULTI_GPU", 16, 2),
    ],
)
def test_accelerate_reads_the_files(name: str, kind: str, processes: int, machines: int) -> None:
    made = load_config_from_file(str(LAUNCH / f"{name}.yaml"))
    assert made.distributed_type == kind
    assert (made.num_processes, made.num_machines) == (processes, machines)
    assert made.use_cpu == name.startswith("cpu")
    assert 320 % (4 * processes) == 0  # the batch of the shipped configurations


def test_there_are_no_others() -> None:
    assert {file.name for file in LAUNCH.iterdir()} == {
        "cpu-2.yaml", "gpu-1.yaml", "gpu-4.yaml", "gpu-8.yaml", "gpu-2x8.yaml", "slurm.sh",
    }  # fmt: skip


def test_the_script_asks_slurm_for_what_it_says() -> None:
    text = (LAUNCH / "slurm.sh").read_text()
    asked = dict(re.findall(r"^#SBATCH --([\w-]+)=?(\S*)$", text, re.M))
    assert asked["signal"] == "USR1@300"
    assert asked["requeue"] == ""
    assert int(asked["nodes"]) * int(asked["ntasks-per-node"]) == 16
    assert asked["ntasks-per-node"] == asked["gpus-per-node"]


SRUN = """#!/bin/bash
shift  # --kill-on-bad-exit
pids=()
for rank in 0 1; do
  SLURM_PROCID=$rank SLURM_LOCALID=$rank "$@" & pids+=($!)
done
if [ -e "$TOOLS/signal" ]; then
  until grep -qs loss "$TOOLS/../out/log.jsonl"; do sleep 0.2; done
  for pid in "${pids[@]}"; do kill -USR1 $pid; done
fi
worst=0
for pid in "${pids[@]}"; do wait $pid; code=$?; [ $code -gt $worst ] && worst=$code; done
exit $worst
"""
SCONTROL = """#!/bin/bash
[ "$1" = show ] && echo localhost
[ "$1" = requeue ] && echo "$2" >> "$TOOLS/requeued"
exit 0
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt" or shutil.which("bash") is None, reason="there is no bash")
def test_the_script_is_put_back_into_the_queue_and_goes_on(tmp_path: Path) -> None:
    """Two tasks; SIGUSR1 reaches them after the first steps, as from SLURM before the end of the time."""
    place, tools = make_place(tmp_path / "place"), tmp_path / "tools"
    tools.mkdir()
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL)):
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    (tools / "signal").touch()
    (tmp_path / "config.toml").write_text(tomli_w.dumps(config(place, steps=20)))
    environment = {
        **os.environ,
        "PATH": os.pathsep.join([str(tools), str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": os.pathsep.join(sys.path),
        "TOOLS": str(tools),
        "OMP_NUM_THREADS": "1",
        "SLURM_JOB_ID": str(os.getpid()),
        "SLURM_JOB_NODELIST": "localhost",
        "SLURM_NTASKS": "2",
    }
    command = ["bash", str(LAUNCH / "slurm.sh"), str(tmp_path / "config.toml"), str(tmp_path / "out")]
    first = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280)
    assert first.returncode == 0, first.stderr[-2000:]
    assert (tools / "requeued").read_text().split() == [str(os.getpid())]
    assert 1 <= len(losses(tmp_path / "out")) < 20
    (tools / "signal").unlink()
    second = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280)
    assert second.returncode == 0, second.stderr[-2000:]
    assert len((tools / "requeued").read_text().split()) == 1
    trained(place, tmp_path / "one", steps=20)
    assert losses(tmp_path / "out") == pytest.approx(losses(tmp_path / "one"), rel=1e-3)
