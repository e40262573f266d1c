"""Sums, atomic writing, locks, boxes and the writing of TOML: the one place of each."""

import hashlib
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from radl_bench.errors import UsageError
from radl_bench.files import file_sha256, known_sha256, locked, remove_leftovers, replace_file, replacing
from radl_model.boxes import four_numbers, fraction_box
from radl_model.files import _machine, temporary_name

ROOT = Path(__file__).parents[2]


def test_the_sum_of_a_file_larger_than_a_piece_is_that_of_its_bytes(tmp_path):
    content = bytes(range(256)) * (1 << 15)  # 8 MiB
    (tmp_path / "a").write_bytes(content)
    assert file_sha256(tmp_path / "a") == hashlib.sha256(content).hexdigest()
    assert known_sha256(tmp_path / "a") == hashlib.sha256(content).hexdigest()


def test_a_file_of_the_hubs_cache_is_known_by_its_name(tmp_path):
    blob = tmp_path / "blobs" / ("ab" * 32)
    blob.parent.mkdir()
    blob.write_bytes(b"not of this sum")
    (tmp_path / "model.safetensors").symlink_to(blob)
    assert known_sha256(tmp_path / "model.safetensors") == "ab" * 32
    assert file_sha256(tmp_path / "model.safetensors") == hashlib.sha256(b"not of this sum").hexdigest()


def test_an_error_in_the_middle_leaves_the_old_content_and_nothing_else(tmp_path):
    file = tmp_path / "a"
    replace_file(file, b"old")
    with pytest.raises(TypeError), replacing(file) as part:
        assert part.write_bytes(b"half of the") + part
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
    assert file.read_bytes() == b"old"


def test_what_a_killed_writer_left_is_removed_by_the_next_and_by_nobody_while_it_runs(tmp_path):
    code = "import os, sys, time\nfrom pathlib import Path\nfrom radl_bench.files import replacing\n"
    code += "with replacing(Path(sys.argv[1])) as part:\n part.write_bytes(b'half')\n print('here', flush=True)\n"
    code += " time.sleep(60)"
    writer = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "a")],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
    )
    writer.stdout.readline()
    replace_file(tmp_path / "a", b"another's")
    left = [p.name for p in tmp_path.glob(".*.part")]
    writer.kill()
    writer.wait()
    assert left == [f".a.{_machine()}-{writer.pid}.part"]
    replace_file(tmp_path / "b", b"")  # another file's leftovers are not its business
    assert list(tmp_path.glob(".*.part"))
    replace_file(tmp_path / "a", b"new")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b"]


def test_leftovers_of_other_machines_and_of_a_shard_stay(tmp_path):
    for tag in ("elsewhere-1", "0of3"):
        temporary_name(tmp_path / "a", tag).write_bytes(b"")
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    temporary_name(tmp_path / "a", f"{_machine()}-{dead.pid}").mkdir()
    remove_leftovers(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [".a.0of3.part", ".a.elsewhere-1.part"]


def test_a_lock_is_for_one_process_and_ends_with_it(tmp_path):
    code = "import sys, time\nfrom pathlib import Path\nfrom radl_bench.files import locked\n"
    code += "with locked(Path(sys.argv[1])):\n print('here', flush=True)\n time.sleep(60)"
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / ".lock")],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
    )
    holder.stdout.readline()
    with (
        pytest.raises(UsageError, match="Another process is writing the thing"),
        locked(tmp_path / ".lock", "the thing"),
    ):
        pass
    holder.kill()
    holder.wait()
    with locked(tmp_path / ".lock", "the thing"):
        pass


@pytest.mark.parametrize(
    "values",
    [None, 7, "0123", [], {}, [0, 0, 1], [[0], 0, 1, 1], [0, 0, None, 1], [0, 0, "1", 1], [0, 0, True, 1]]
    + [[0, 0, bad, 1] for bad in (math.nan, math.inf, 10**400)],
)
def test_what_is_no_four_numbers(values):
    assert four_numbers(values) is None
    assert fraction_box(values) is None


@pytest.mark.parametrize("values", [[0.5, 0, 0.5, 1], [0, 1, 1, 0], [-0.1, 0, 1, 1], [0, 0, 1.1, 1], [0, 0, 0, 0]])
def test_what_is_no_box(values):
    assert fraction_box(values) is None
    assert four_numbers(values) == tuple(map(float, values))


def test_what_is_a_box():
    assert fraction_box((0, 0.25, 0.5, 1)) == (0.0, 0.25, 0.5, 1.0)
