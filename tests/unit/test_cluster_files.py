"""The configurations and scripts in docs/cluster: they parse, and call commands with options that there are."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest
import typer
import yaml

from radl_bench.cli import build_app
from radl_bench.runs.writer import Shard

FOLDER = Path(__file__).parents[2] / "docs" / "cluster"
SCRIPTS = sorted(FOLDER.glob("*.sh"))
OPTIONS = {name for p in typer.main.get_command(build_app()).commands["generate"].params for name in p.opts}


def _check(command: str) -> None:
    words = shlex.split(command)
    assert words[:2] == ["radl-bench", "generate"]
    assert {word for word in words if word.startswith("--")} <= OPTIONS


def test_the_job_of_kuberay_is_one():
    job = yaml.safe_load((FOLDER / "kuberay.yaml").read_text())
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    cluster = job["spec"]["rayClusterSpec"]
    (group,) = cluster["workerGroupSpecs"]
    command = job["spec"]["entrypoint"]
    _check(command)
    assert f"--workers {group['replicas']}" in command  # one a GPU
    assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
    pods = [cluster["headGroupSpec"]["template"], group["template"]]
    images = {container["image"] for pod in pods for container in pod["spec"]["containers"]}
    assert len(images) == 1  # the same versions everywhere
    assert group["template"]["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_a_script_parses_and_calls_what_there_is(script):
    assert subprocess.run(["bash", "-n", script], capture_output=True).stderr == b""
    text = script.read_text().replace("\\\n", " ")
    (command,) = re.findall(r"radl-bench generate [^'\n]*", text)
    _check(re.sub(r"\$\(\(.*?\)\)|\$\{?\w+\}?", "1", command))


def test_a_part_of_torchrun_is_a_shard(tmp_path):
    """The words that the script hands to torchrun, as each of its processes would expand them."""
    inner = re.search(r"'(radl-bench .*)'", (FOLDER / "torchrun.sh").read_text())[1]
    said = []
    for rank in range(4):
        env = {"RANK": str(rank), "WORLD_SIZE": "4", "LOCAL_RANK": str(rank), "PATH": "/usr/bin:/bin"}
        said.append(subprocess.run(["bash", "-c", f"echo {inner}"], env=env, capture_output=True, text=True).stdout)
    assert [Shard.parse(re.search(r"--shard (\S+)", line)[1]) for line in said] == [Shard(n, 4) for n in range(4)]
    assert [re.search(r"cuda:\d", line)[0] for line in said] == [f"cuda:{n}" for n in range(4)]


def test_docs_name_every_file():
    text = FOLDER.with_suffix(".md").read_text()
    for file in FOLDER.iterdir():
        assert f"cluster/{file.name}" in text
