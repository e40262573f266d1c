"""The wheel: what it carries, and the three commands out of it, outside the checkout."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WEIGHTS = (
    ROOT / "radl_model/weights/mini/base",
    ROOT / "radl_model/weights/mini/radl",
    ROOT / "radl_bench/mini/judges/weights/detector",
    ROOT / "radl_bench/mini/judges/weights/clip",
)
ABSENT = [str(folder.relative_to(ROOT)) for folder in WEIGHTS if not folder.is_dir()]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    pytest.importorskip("hatchling", reason="hatchling builds the wheel: pip install -e '.[dev]'")
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)]
    built = subprocess.run(command, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    return next(out.glob("*.whl"))


@pytest.fixture(scope="module")
def command(wheel, tmp_path_factory) -> Path:
    """`radl-bench` in a venv that holds the wheel alone and borrows the dependencies of this environment."""
    home = tmp_path_factory.mktemp("install") / "venv"
    venv.create(home, with_pip=False)
    binaries = home / ("Scripts" if os.name == "nt" else "bin")
    site = Path(sysconfig.get_path("purelib", vars={"base": str(home), "platbase": str(home)}))
    # A path in a .pth file is searched last, and .pth files inside it are not read: the checkout stays out of reach.
    borrowed = dict.fromkeys(sysconfig.get_path(kind) for kind in ("purelib", "platlib"))
    (site / "dependencies.pth").write_text("\n".join(borrowed) + "\n")
    python = str(binaries / "python")
    install = [sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index"]
    install += ["--ignore-installed", str(wheel)]  # an installation of this environment is none of its business
    installed = subprocess.run(install, capture_output=True, text=True)
    assert installed.returncode == 0, installed.stdout + installed.stderr
    return binaries / "radl-bench"


def _run(command: Path, *words: str, cwd: Path) -> subprocess.CompletedProcess:
    hidden = ("PYTHONPATH", "RADL_BENCH_SHARED")
    env = {key: value for key, value in os.environ.items() if key not in hidden}
    env |= {"RADL_BENCH_HOME": str(cwd / "home"), "HF_HUB_OFFLINE": "1"}
    return subprocess.run([str(command), *words], cwd=cwd, env=env, capture_output=True, text=True, timeout=600)


def test_the_wheel_carries_everything_that_is_tracked_in_the_packages(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    listed = subprocess.run(
        ["git", "ls-files", "radl_bench", "radl_model", "benchmarks"], cwd=ROOT, capture_output=True, text=True
    )
    tracked = {re.sub("^benchmarks/", "radl_bench/_benchmarks/", name) for name in listed.stdout.split()}
    if listed.returncode or not tracked:
        pytest.skip("this is no git checkout: nothing says what the wheel should hold")
    missing = {
        name for name in tracked - names if (ROOT / name.replace("radl_bench/_benchmarks", "benchmarks")).exists()
    }
    assert not missing
    assert "radl_bench/_benchmarks/coco_mig/samples.jsonl" in names
    assert {name.rsplit("/", 1)[1] for name in names if "/licenses/" in name} == {"LICENSE", "NOTICE"}
    assert not [name for name in names if "__pycache__" in name or name.startswith("tests/")]


def test_the_installed_package_is_the_wheel_and_knows_its_benchmark(command, tmp_path):
    where = [str(command.parent / "python"), "-c", "import radl_bench; print(radl_bench.__file__)"]
    file = subprocess.run(where, cwd=tmp_path, capture_output=True, text=True).stdout.strip()
    assert str(ROOT) not in file
    assert str(command.parent.parent) in file
    listed = _run(command, "ls", "benchmarks", cwd=tmp_path)
    assert listed.returncode == 0, listed.stderr
    assert "coco-mig" in listed.stdout


def test_rendered_scenes_need_no_weights(command, tmp_path):
    made = _run(command, "generate", "coco-mig", "--level", "6", "--method", "sprites", "--limit", "2", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    assert len(list(tmp_path.glob("runs/coco-mig/sprites/*/images/*.png"))) == 2


@pytest.mark.skipif(bool(ABSENT), reason=f"the embedded weights are not there: {', '.join(ABSENT)}")
def test_the_three_commands(command, tmp_path):
    for words in ("generate coco-mig --level 6 --limit 2", "score", "report --format markdown"):
        done = _run(command, *words.split(), cwd=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
    assert len(list(tmp_path.glob("runs/coco-mig/radl/*/images/*.png"))) == 2
    assert "RaDL" in done.stdout
    assert "R_inst" in (tmp_path / "reports" / "report.md").read_text("utf-8")
