"""What a method of the user's own is: another setting, source, import or declared file is another run."""

import json
import sys
from importlib import metadata

import pytest

from radl_bench.benchmarks.loading import load_benchmark
from radl_bench.errors import UsageError
from radl_bench.runs.generate import build_generator, generate_run
from radl_bench.runs.identity import identity_of

PLAIN = """
from PIL import Image

class Plain:
    name, revision, max_batch = "plain", "1", 4
    def __init__(self, strength=1):
        self.strength = strength
    def generate(self, samples, seeds):
        return [Image.new("RGB", (8, 8), (self.strength, i, 200)) for i, s in enumerate(seeds)]
"""

HELPED = """
from PIL import Image
import shade
from deep import inner

class Plain:
    name, revision, max_batch = "plain", "1", 1
    files = ["worker.sh", "weights"]
    def generate(self, samples, seeds):
        import late
        return [Image.new("RGB", (8, 8), (shade.RED, inner.GREEN, late.BLUE)) for s in seeds]
"""


@pytest.fixture
def make(tmp_path, tiny_benchmark):
    """Return a function that runs the method of the command line and says (run folder, images made)."""
    benchmark = load_benchmark(tiny_benchmark, limit=2)

    def run(spec, **settings):
        generator = build_generator(spec, settings=settings)
        facts = identity_of(spec, generator, settings)
        done = generate_run(benchmark, generator, out=tmp_path / "runs", description=facts)
        return done.run, done.made

    return run


@pytest.fixture
def helped(tmp_path):
    """A method with neighbours: imported at the top, from a folder, inside a function, and two declared files."""
    home = tmp_path / "method"
    (home / "deep").mkdir(parents=True)
    (home / "weights").mkdir()
    (home / "helped.py").write_text(HELPED)
    (home / "shade.py").write_text("from constants import RED\n")
    (home / "constants.py").write_text("RED = 1\n")
    (home / "deep" / "__init__.py").write_text("")
    (home / "deep" / "inner.py").write_text("from . import more\nGREEN = 2\n")
    (home / "deep" / "more.py").write_text("")
    (home / "late.py").write_text("BLUE = 3\n")
    (home / "stranger.py").write_text("not even Python (")
    (home / "worker.sh").write_text("echo 1\n")
    (home / "weights" / "a.bin").write_bytes(b"a")
    yield home
    for name in ("shade", "constants", "deep", "deep.inner", "deep.more", "late"):
        sys.modules.pop(name, None)
    sys.path.remove(str(home))


def test_a_setting_of_a_class_without_params_is_another_run(make, tmp_path):
    spec = f"{tmp_path / 'plain.py'}:Plain"
    (tmp_path / "plain.py").write_text(PLAIN)
    first, made = make(spec, strength=1)
    assert (made, make(spec, strength=1)) == (2, (first, 0))
    other, made = make(spec, strength=9)
    assert made == 2
    assert other != first
    assert json.loads((other / "manifest.json").read_text())["generator"]["settings"] == {"strength": 9}
    assert make(spec)[0] not in (first, other)


def test_a_setting_that_params_state_is_not_said_twice(toy_method):
    generator = build_generator(toy_method, settings={"size": 8, "delay": 0.0})
    assert identity_of(toy_method, generator, {"size": 8, "delay": 0.0})["settings"] == {"delay": 0.0}


def test_a_built_in_method_says_everything_itself():
    generator = build_generator("sprites", model="mini")
    assert identity_of("sprites", generator, {"size": 64}) == {}


def test_all_that_makes_the_image_is_in_the_manifest(make, helped):
    run, _ = make(f"{helped / 'helped.py'}:Plain")
    facts = json.loads((run / "manifest.json").read_text())["generator"]
    own = ["constants.py", "deep/__init__.py", "deep/inner.py", "deep/more.py", "late.py", "shade.py"]
    assert sorted(facts["imports"]) == own
    assert sorted(facts["files"]) == ["weights/a.bin", "worker.sh"]
    assert {len(facts["source_sha256"]), *map(len, facts["imports"].values())} == {64}


@pytest.mark.parametrize(
    "name", ["helped.py", "constants.py", "deep/more.py", "late.py", "worker.sh", "weights/a.bin", "weights/new.bin"]
)
def test_an_edit_of_any_of_them_is_another_run_and_of_others_is_not(make, helped, name):
    spec = f"{helped / 'helped.py'}:Plain"
    first, _ = make(spec)
    (helped / "stranger.py").write_text("changed")
    assert make(spec) == (first, 0)
    with open(helped / name, "a") as stream:
        stream.write("# changed\n")
    other, made = make(spec)
    assert made == 2
    assert other != first


def test_an_edited_neighbour_is_read_again_in_the_same_process(make, helped):
    from PIL import Image

    spec = f"{helped / 'helped.py'}:Plain"
    make(spec)
    (helped / "constants.py").write_text("RED = 250\n")
    run, _ = make(spec)
    assert Image.open(next(run.glob("images/*.png"))).getpixel((0, 0)) == (250, 2, 3)


def test_a_declared_file_that_is_not_there_and_a_wrong_declaration_are_named(helped):
    spec = f"{helped / 'helped.py'}:Plain"
    generator = build_generator(spec)
    generator.files = ["gone.bin"]
    with pytest.raises(UsageError, match=r"declares the file gone.bin, but there is none at .*method/gone.bin"):
        identity_of(spec, generator)
    generator.files = "worker.sh"
    with pytest.raises(UsageError, match="'files' must be a list of paths"):
        identity_of(spec, generator)


def test_an_entry_point_is_its_package_and_its_settings(tmp_path, monkeypatch):
    package = tmp_path / "plug"
    (package / "inner").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "inner" / "__init__.py").write_text("")
    (package / "inner" / "method.py").write_text("from ..helper import X\n" + PLAIN)
    (package / "helper.py").write_text("X = 1\n")
    (tmp_path / "beside.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    points = [metadata.EntryPoint("plug", "plug.inner.method:Plain", "radl_bench.generators")]
    monkeypatch.setattr(metadata, "entry_points", lambda group: points)
    facts = identity_of("plug", build_generator("plug", settings={"strength": 3}), {"strength": 3})
    assert facts["settings"] == {"strength": 3}
    assert sorted(facts["imports"]) == ["__init__.py", "helper.py", "inner/__init__.py"]
    (package / "helper.py").write_text("X = 2\n")
    assert identity_of("plug", build_generator("plug"))["imports"] != facts["imports"]
