"""The generation loop: what is made, what is skipped, what a failure costs."""

from __future__ import annotations

import io
import time
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from radl_bench.benchmarks.loading import load_benchmark
from radl_bench.benchmarks.samples import sample_from_dict
from radl_bench.errors import BadInput, Interrupted, MissingWeights, UsageError
from radl_bench.progress import PlainStage, duration
from radl_bench.runs.generate import build_generator, generate_run, plan
from radl_bench.runs.seeds import image_seed
from radl_bench.runs.store import RunFolder
from radl_bench.runs.writer import Shard
from radl_bench.types import Generator
from tests.conftest import tiny_row


class Method:
    """Noise by seed; counts its calls, and raises what it is told to for one sample."""

    name = "method"
    revision = "1"
    max_batch = 4

    def __init__(self, bad: str = "", error: BaseException | None = None) -> None:
        self.bad, self.error = bad, error
        self.calls: list[list[str]] = []

    def generate(self, samples, seeds):
        self.calls.append([s.id for s in samples])
        if self.error and self.bad in self.calls[-1]:
            raise self.error
        pixels = [np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8) for seed in seeds]
        return [Image.fromarray(p) for p in pixels]


@pytest.fixture
def benchmark(tiny_benchmark):
    return load_benchmark(tiny_benchmark)


@pytest.fixture
def out(tmp_path):
    return tmp_path / "runs"


def _bytes(run):
    return {file.name: file.read_bytes() for file in (run / "images").iterdir()}


def test_every_sample_gets_its_images_with_its_seeds(benchmark, out):
    outcome = generate_run(benchmark, Method(), out=out, images_per_sample=2)
    rows = RunFolder.open(outcome.run).rows()
    assert [(r["sample_id"], r["k"]) for r in rows] == [(s.id, k) for s in benchmark.samples for k in (0, 1)]
    assert all(r["seed"] == image_seed("tiny", r["sample_id"], r["k"]) for r in rows)
    assert (outcome.planned, outcome.made, outcome.resumed, outcome.failed) == (18, 18, 0, 0)
    assert RunFolder.open(outcome.run).manifest["status"] == "complete"


def test_images_do_not_depend_on_batch_size_or_order(benchmark, tmp_path):
    backwards = replace(benchmark, samples=benchmark.samples[::-1])
    runs = [
        generate_run(benchmark, Method(), out=tmp_path / "a").run,
        generate_run(benchmark, Method(), out=tmp_path / "b", batch_size=1).run,
        generate_run(backwards, Method(), out=tmp_path / "c", batch_size=3).run,
    ]
    assert _bytes(runs[0]) == _bytes(runs[1]) == _bytes(runs[2])


def test_a_second_call_makes_nothing_and_a_larger_one_makes_the_rest(tiny_benchmark, out):
    generate_run(load_benchmark(tiny_benchmark, limit=4), Method(), out=out)
    second, third = Method(), Method()
    assert generate_run(load_benchmark(tiny_benchmark, limit=4), second, out=out).resumed == 4
    outcome = generate_run(load_benchmark(tiny_benchmark), third, out=out, images_per_sample=2)
    assert second.calls == []
    assert (outcome.resumed, outcome.made, sum(map(len, third.calls))) == (4, 14, 14)


def test_a_batch_is_never_larger_than_the_method_or_the_user_wants(benchmark, out, tmp_path):
    wide, narrow = Method(), Method()
    generate_run(benchmark, wide, out=out, batch_size=100)
    generate_run(benchmark, narrow, out=tmp_path / "other", batch_size=2)
    assert [len(call) for call in wide.calls] == [1, 4, 4]  # the first alone, so that progress shows at once
    assert [len(call) for call in narrow.calls] == [1, 2, 2, 2, 2]


@pytest.mark.parametrize("error", [ValueError("cannot draw\nthis"), BadInput("cannot draw this")])
def test_only_the_guilty_image_fails_and_is_tried_again_later(benchmark, out, error):
    outcome = generate_run(benchmark, Method("tiny-003", error), out=out)
    rows = {row["sample_id"]: row for row in RunFolder.open(outcome.run).rows()}
    assert Counter(row["status"] for row in rows.values()) == {"ok": 8, "error": 1}
    assert "cannot draw this" in rows["tiny-003"]["error"]
    assert rows["tiny-003"]["file"] is None
    assert (outcome.failed, outcome.made, RunFolder.open(outcome.run).manifest["status"]) == (1, 8, "failed")
    healed = Method()
    assert generate_run(benchmark, healed, out=out).failed == 0
    assert healed.calls == [["tiny-003"]]


def test_missing_weights_end_the_run(benchmark, out):
    with pytest.raises(MissingWeights):
        generate_run(benchmark, Method("tiny-003", MissingWeights("fetch them")), out=out)
    (run,) = out.glob("*/*/*")
    assert RunFolder.open(run).manifest["status"] == "interrupted"
    assert {row["status"] for row in RunFolder.open(run).rows()} <= {"ok"}


def test_ctrl_c_keeps_what_is_made_and_says_how_to_go_on(benchmark, out):
    with pytest.raises(Interrupted, match=r"7 of 9 images are in .*\. Run the same command again"):
        generate_run(benchmark, Method("tiny-005", KeyboardInterrupt()), out=out, batch_size=2)
    (run,) = out.glob("*/*/*")
    assert RunFolder.open(run).manifest["status"] == "interrupted"
    assert generate_run(benchmark, Method(), out=out).resumed == 7


@pytest.mark.parametrize(
    ("made", "words"),
    [
        ([], "returned 0 images for 1 samples"),
        ([np.zeros((8, 8, 3), np.uint8)], "ndarray instead of a PIL image"),
        (None, "the generator returned NoneType instead of a list of images"),
    ],
)
def test_what_is_no_image_is_a_failed_row(benchmark, out, made, words):
    method = Method()
    method.generate = lambda samples, seeds: made  # type: ignore[method-assign]
    outcome = generate_run(benchmark, method, out=out, batch_size=1)
    assert outcome.failed == 9
    assert all(words in row["error"] for row in RunFolder.open(outcome.run).rows())


@pytest.mark.parametrize("wrong", [{"images_per_sample": 0}, {"batch_size": 0}, {"seed_policy": "random"}])
def test_numbers_out_of_range_are_sentences(benchmark, out, wrong):
    with pytest.raises(UsageError):
        generate_run(benchmark, Method(), out=out, **wrong)
    assert not out.exists()


def test_shards_share_out_every_image_once_and_every_level_evenly():
    benchmark = load_benchmark("coco-mig")
    parts = [plan(benchmark, 2, shard=Shard(i, 5)) for i in range(5)]
    names = [(task.sample.id, task.k, task.seed) for part in parts for task in part]
    assert sorted(names) == sorted((t.sample.id, t.k, t.seed) for t in plan(benchmark, 2))
    for part in parts:
        assert Counter(task.sample.level for task in part) == dict.fromkeys(range(2, 7), 64)


def test_planning_and_resuming_grow_in_proportion(make_benchmark, tmp_path):
    """The harness' own time for 8,000 images is about eight times that for 1,000; a quadratic scan would take 64."""

    def seconds(count):
        # The rows are there, the images are not hashed: done() would only add time that is linear by nature.
        samples = tuple(sample_from_dict(tiny_row(n, 2 + n % 5)) for n in range(count))
        benchmark = replace(load_benchmark(make_benchmark()), samples=samples)
        run = RunFolder.create(tmp_path / str(count), benchmark, {"name": "m"})
        line = '{"sample_id": "tiny-%03d", "k": 0, "status": "error", "at": "%d"}\n'
        (run.path / "generations-0of1.jsonl").write_text("".join(line % (n, n) for n in range(count)))
        start = time.process_time()
        tasks, done = plan(benchmark, 1), run.done()
        assert len([task for task in tasks if (task.sample.id, task.k) not in done]) == len(run.rows()) == count
        return time.process_time() - start

    seconds(100)
    assert min(seconds(8000) for _ in range(2)) < 24 * min(seconds(1000) for _ in range(2))


def test_the_harness_adds_little_to_each_image(make_benchmark, out):
    benchmark = load_benchmark(make_benchmark([tiny_row(n, 2) for n in range(100)]))
    start = time.process_time()
    outcome = generate_run(benchmark, Method(), out=out)
    # 3 % of the second and more that an image of the mini model takes, in CPU time: a busy disk is not our own.
    assert (time.process_time() - start - outcome.generator_seconds) / 100 < 0.03


def test_a_method_of_ones_own_gets_the_arguments_it_takes(toy_method):
    toy = build_generator(toy_method, device="cpu", settings={"size": 4, "batch": 2})
    assert isinstance(toy, Generator)
    assert (toy.max_batch, toy.params) == (2, {"size": 4})  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"settings": {"sise": 4}}, "Unknown setting of .* Did you mean 'size'"),
        ({"model": "sd14"}, "takes no --model"),
        ({"settings": {"batch": 0}}, "max_batch >= 1"),
        ({"settings": {"batch": "x"}}, r"needs the attribute 'max_batch' \(int\)"),
    ],
)
def test_arguments_that_a_method_does_not_take_are_sentences(toy_method, arguments, words):
    with pytest.raises(UsageError, match=words):
        build_generator(toy_method, **arguments)


def test_a_method_that_cannot_be_set_up_is_a_sentence(tmp_path):
    file = tmp_path / "broken.py"
    file.write_text(
        "class A:\n    def __init__(self):\n        raise KeyError('weights')\n\nclass B:\n    name = 'b'\n"
    )
    with pytest.raises(UsageError, match=r"could not be set up: KeyError: 'weights' \(broken\.py, line 3\)"):
        build_generator(f"{file}:A")
    with pytest.raises(UsageError, match="needs the attribute 'revision'"):
        build_generator(f"{file}:B")
    with pytest.raises(UsageError, match="has no settings"):
        build_generator(f"{file}:A", settings={"x": 1})


def test_the_rendered_row_is_drawn_and_refuses_other_models(benchmark, out):
    sprites = build_generator("sprites", model="mini", settings={"size": 64})
    outcome = generate_run(replace(benchmark, samples=benchmark.samples[:2]), sprites, out=out, model="mini")
    images = [np.asarray(Image.open(file)) for file in sorted((outcome.run / "images").iterdir())]
    assert [image.shape for image in images] == [(64, 64, 3)] * 2
    assert all(image.std() > 5 for image in images)
    assert not np.array_equal(*images)
    with pytest.raises(UsageError, match="has no model 'sd14'"):
        build_generator("sprites", model="sd14")
    with pytest.raises(UsageError, match="16 to 1024"):
        build_generator("sprites", settings={"size": "big"})


def test_piped_progress_is_a_line_at_the_first_image_and_now_and_then():
    now, text = [0.0], io.StringIO()
    bar = PlainStage("generate", 800, resumed=388, stream=text, clock=lambda: now[0])
    for seconds, failed in ((1, 0), (31, 2), (40, 1), (62, 0)):
        now[0] = seconds
        bar.advance(31, failed=failed)
    bar.close()
    assert text.getvalue().splitlines() == [
        "generate: 419/800 images, 388 resumed, 31 images/s, ETA 0:12",
        "generate: 450/800 images, 388 resumed, 2 failed, 2 images/s, ETA 2:55",
        "generate: 512/800 images, 388 resumed, 3 failed, 2 images/s, ETA 2:24",
        "generate: 512/800 images, 388 resumed, 3 failed, 2 images/s, ETA 2:24",
    ]
    assert duration(3725) == "1:02:05"
