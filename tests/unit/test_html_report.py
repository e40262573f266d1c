"""The folder of the HTML report: what lies in it, how it is written, and that nobody's text becomes markup."""

from __future__ import annotations

import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from gallery_runs import HOSTILE, hostile_rows, hostile_runs, make_run, scored_runs
from PIL import Image
from scores import rows as rows_of

from radl_bench.benchmarks.loading import load_benchmark
from radl_bench.errors import UsageError
from radl_bench.report import build_report, write_report
from radl_bench.report import html as module
from radl_bench.report.gallery import outcome
from radl_bench.report.html_folder import MARK, replaced_folder
from radl_bench.report.html_pages import ASSETS, LIVE_ASSETS
from radl_bench.runs.in_hand import InHand
from radl_bench.runs.store import RunFolder
from radl_bench.scoring.compare import compare_runs
from radl_bench.scoring.metrics.known import known_spec
from radl_bench.scoring.metrics.spec import ScoreSpec
from radl_bench.scoring.score import score_runs


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> list[Path]:
    return scored_runs(tmp_path_factory.mktemp("html") / "runs")


@pytest.fixture(scope="module")
def folder(runs, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("report") / "html"
    _, first = write_report(build_report(runs), "html", out)
    assert first == out / "index.html"
    return out


def taken(file: Path):
    """Return what a data file hands to the page."""
    text = file.read_text("ascii")
    name, content = re.fullmatch(r'RADL\.take\("([\d\w-]+)",(.*)\);\n', text).groups()
    assert name == file.stem
    return json.loads(content)


def details(folder: Path, index: dict) -> list:
    """Return the lines of all blocks of section 0, after checking that each holds as many as the index says."""
    blocks = [taken(folder / "data" / f"0-{n}.js") for n in range(-(-len(index["rows"]) // index["block"]))]
    assert all(len(block) == index["block"] for block in blocks[:-1])
    return [line for block in blocks for line in block]


class Links(HTMLParser):
    """Gathers the addresses and the scripts of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.inline = 0

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.found += [given[key] for key in ("href", "src") if given.get(key)]
        self.inline += (tag == "script" and "src" not in given) + any(key.startswith("on") for key in given)


def test_every_address_of_the_pages_is_a_file_of_the_folder(folder):
    for page in ("index.html", "leaderboard.html", "gallery.html", "compare.html"):
        links = Links()
        links.feed((folder / page).read_text("utf-8"))
        targets = {link.partition("#")[0] for link in links.found if not link.startswith(("#", "data:"))}
        assert targets
        assert [target for target in targets if not (folder / target).is_file()] == []
        assert links.inline == 0


def test_nothing_in_the_assets_asks_the_network(folder):
    files = [*folder.glob("*.html"), *folder.glob("assets/*")]
    names = ("http://", "https://", "//cdn", "fetch(", "XMLHttpRequest", "import(", "@import", "innerHTML", "eval(")
    allowed = "http://www.w3.org/2000/svg"  # a namespace, not an address
    found = [(f.name, name) for f in files for name in names if name in f.read_text("utf-8").replace(allowed, "")]
    assert found == []


def test_assets_stay_small_and_plain():
    assets = [Path(module.__file__).with_name("templates") / name for name in (*ASSETS, *LIVE_ASSETS)]
    assert [f.name for f in assets if len(f.read_text("utf-8").splitlines()) > 300] == []


def test_every_row_with_its_reason_is_in_the_blocks(folder, runs):
    index = taken(folder / "data" / "0.js")
    lines = details(folder, index)
    for r, run in enumerate(runs):
        rows = rows_of(run)
        expected = {
            (s, k, i, m, None if v != v else round(v, 2), reason)
            for s, k, i, m, v, reason in rows.drop(columns="level").itertuples(index=False)
        }
        shown = {
            (index["samples"][n]["id"], k, i, index["metrics"][m][0], value, reason)
            for (n, k), line in zip(index["rows"], lines, strict=True)
            for i, m, value, reason in line[r]["rows"]
        }
        assert len(expected) >= 90
        assert shown == expected


def test_outcomes_are_those_of_the_rows(folder, runs):
    index = taken(folder / "data" / "0.js")
    rows = rows_of(runs[1]).fillna(0.0).set_index(["sample_id", "metric"])["value"].sort_index()
    for n, (sample, _) in enumerate(index["rows"]):
        name = index["samples"][sample]["id"]
        assert index["runs"][1]["passed"][n] == str(int((rows.loc[[(name, "success_img")]] == 100.0).all()))
        assert index["runs"][1]["objects"][n] == "".join(
            str(int(v == 100.0)) for v in rows.loc[[(name, "success_inst")]]
        )
    assert {"0", "1"} <= set("".join(index["runs"][1]["objects"]))


def test_detections_are_those_of_the_judge_matched_with_their_objects(folder):
    index = taken(folder / "data" / "0.js")
    for (sample, _), line in zip(index["rows"], details(folder, index), strict=True):
        wanted = index["samples"][sample]["instances"]
        # the oracle sees every object in its own place, and says so of a picture it was asked about
        found = line[0]["found"]
        assert sorted(d[6] for d in found) == list(range(len(wanted)))
        for category, *box, score, instance, iou in found:
            assert category == wanted[instance][1]
            assert [round(1000 * v) for v in box] == pytest.approx(wanted[instance][3:], abs=1)
            assert (score, iou) == (1.0, 1.0)


def test_a_lost_picture_says_why(folder, runs):
    index = taken(folder / "data" / "0.js")
    (line,) = [n for n, name in enumerate(index["runs"][1]["pictures"]) if not name]
    problem = details(folder, index)[line][1]
    assert "generating it failed: out of <memory>" in problem["problem"]
    assert (problem["found"], index["runs"][1]["passed"][line]) == (None, "0")


def test_copies_show_the_pictures_and_are_taken_over_by_the_next_report(folder, runs):
    index = taken(folder / "data" / "0.js")
    sample = index["samples"][0]["id"]
    copy = folder / "images" / f"{index['runs'][0]['pictures'][0]}.webp"
    original = Image.open(RunFolder.open(runs[0]).images()[sample, 0]).convert("RGB")
    shown = Image.open(copy).convert("RGB")
    assert shown.size == original.size
    pairs = zip(shown.tobytes(), original.tobytes(), strict=True)
    assert sum(abs(a - b) for a, b in pairs) / len(original.tobytes()) < 4
    before = {f.name: f.stat().st_mtime_ns for f in (folder / "images").iterdir()}
    write_report(build_report(runs), "html", folder, figures=False)
    assert {f.name: f.stat().st_mtime_ns for f in (folder / "images").iterdir()} == before


def test_links_lead_to_the_originals(runs, tmp_path):
    out = tmp_path / "a folder"
    write_report(build_report(runs[:1]), "html", out, pictures="link", figures=False)
    run = taken(out / "data" / "0.js")["runs"][0]
    assert all((out / name).resolve().is_file() for name in run["pictures"])
    assert not (out / "images").exists()
    assert not (out / "compare.html").exists()  # there is nothing to compare
    assert "compare.html" not in (out / "index.html").read_text("utf-8")


def test_differences_are_those_of_the_compare_command(folder, runs):
    content = taken(folder / "data" / "0-compare.js")
    (pair,) = [p for p in content["pairs"] if (p["a"], p["b"]) == (2, 1)]
    lines = compare_runs(runs[2], runs[1]).lines
    shown = [(metric, *line) for metric, found in pair["scores"].items() for line in found]
    assert shown == [(x.metric, x.level, x.a, x.b, x.difference, x.ci_low, x.ci_high, x.p, x.n) for x in lines]
    assert {"success_inst", "ap"} <= set(pair["scores"])
    assert pair["scores"]["success_inst"][0][3] > 5
    assert pair["problem"] is None


def test_means_by_sample_are_those_of_the_rows(folder, runs):
    content, index = taken(folder / "data" / "0-compare.js"), taken(folder / "data" / "0.js")
    (place,) = [at for name, _, _, _, at in content["metrics"] if name == "success_inst"]
    rows = rows_of(runs[1]).fillna(0.0)
    means = rows[rows["metric"] == "success_inst"].groupby("sample_id")["value"].mean()
    assert content["means"][1][place] == pytest.approx([means[s["id"]] for s in index["samples"]], abs=1e-4)
    assert [at for name, *_, at in content["metrics"] if name == "ap"] == [None]


def test_texts_of_others_never_become_markup(tmp_path, make_benchmark):
    runs = hostile_runs(tmp_path / "runs", make_benchmark(hostile_rows(), name="hostile"))
    write_report(build_report(runs), "html", tmp_path / "html", figures=False)
    for file in [*(tmp_path / "html").glob("*.html"), *(tmp_path / "html" / "data").iterdir()]:
        text = file.read_text("utf-8")
        assert "<script>window" not in text
        assert "<img src=x" not in text
        assert "<svg onload" not in text
    index = taken(tmp_path / "html" / "data" / "0.js")
    assert index["samples"][0]["prompt"] == f"0 {HOSTILE}"  # and yet nothing is lost
    links = Links()
    links.feed((tmp_path / "html" / "index.html").read_text("utf-8"))
    assert links.inline == 0


def test_a_run_that_is_going_is_named_as_such(tmp_path):
    benchmark = load_benchmark("coco-mig", limit=4)
    path = make_run(tmp_path / "runs", benchmark, "radl", 0)
    file = path / "generations-0of1.jsonl"
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:3]))
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps(manifest | {"status": "running"}))
    InHand(path, "0of1")  # a call of this very process, which is alive
    score_runs([path], detector="oracle", encoder="none")
    write_report(build_report([path]), "html", tmp_path / "html", figures=False)
    for page in ("index.html", "gallery.html"):
        assert "RaDL: this run is still going, 3 of 4 images are made." in (tmp_path / "html" / page).read_text("utf-8")
    lines = details(tmp_path / "html", taken(tmp_path / "html" / "data" / "0.js"))
    assert [line[0]["problem"] for line in lines].count("it is not generated yet") == 1


def test_a_run_without_its_benchmark_keeps_its_numbers(tmp_path, make_benchmark):
    folder = make_benchmark(hostile_rows(), name="gone")
    runs = hostile_runs(tmp_path / "runs", folder)
    (folder / "samples.jsonl").unlink()
    write_report(build_report(runs), "html", tmp_path / "html", figures=False)
    text = (tmp_path / "html" / "index.html").read_text("utf-8")
    assert "has no images in this report" in text
    assert "R_inst" in text


def test_a_folder_of_others_is_never_replaced(runs, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UsageError, match="holds files that are no report"):
        write_report(build_report(runs[:1]), "html", tmp_path)
    assert [f.name for f in tmp_path.iterdir() if not f.name.startswith(".")] == ["thesis.tex"]
    with pytest.raises(UsageError, match="is a file or a link"):
        write_report(build_report(runs[:1]), "html", tmp_path / "thesis.tex")


def test_the_old_report_stands_until_the_new_one_is_complete(tmp_path):
    out = tmp_path / "html"

    def write(text: str) -> None:
        with replaced_folder(out) as part:
            (part / "index.html").write_text(text)
            assert not out.exists() or (out / "index.html").read_text() == "first"
            if text == "broken":
                raise OSError("no space left")

    write("first")
    with pytest.raises(OSError, match="no space"):
        write("broken")
    assert (out / "index.html").read_text() == "first"
    write("second")
    assert (out / "index.html").read_text() == "second"
    # a kill between the two renames left the old content aside: it comes back
    out.rename(tmp_path / ".html.old")
    with pytest.raises(OSError, match="no space"):
        write_broken(out)
    assert (out / "index.html").read_text() == "second"
    assert sorted(f.name for f in tmp_path.iterdir()) == [".html.lock", "html"]


def write_broken(out: Path) -> None:
    with replaced_folder(out) as part:
        assert (part / MARK).is_file()
        raise OSError("no space left")


def test_rates_of_a_benchmark_without_success_decide():
    (sample,) = load_benchmark("coco-mig", level=2, limit=1).samples
    rows = [(0, "drawbench_relation", 100.0, ""), (-1, "drawbench_quantity", 0.0, ""), (0, "clip", 0.0, "")]
    specs = {name: known_spec(name) for _, name, _, _ in rows} | {
        n: known_spec(n) for n in ("success_inst", "success_img")
    }
    assert outcome(rows, sample, specs) == ("0", "1-")
    assert outcome(rows[:1], sample, specs) == ("1", "1-")
    assert outcome([], sample, specs) == ("-", "--")
    lost = [(1, "success_inst", float("nan"), ""), (-1, "success_img", float("nan"), "")]
    assert outcome(lost, sample, specs) == ("0", "-0")


def test_success_alone_gives_the_verdict_and_a_rate_of_which_less_is_better_passes_at_zero():
    (sample,) = load_benchmark("coco-mig", level=2, limit=1).samples
    extra = ScoreSpec("extra", "Extra", "rate", "image", missing=100.0, lower_is_better=True)
    kept = ScoreSpec("kept", "Kept", "rate", "image", missing=None)
    specs = {name: known_spec(name) for name in ("success_inst", "success_img", "miou")} | {
        "extra": extra,
        "kept": kept,
    }
    right = [(0, "success_inst", 100.0, ""), (1, "success_inst", 0.0, ""), (-1, "success_img", 100.0, "")]
    assert outcome([*right, (-1, "extra", 100.0, ""), (0, "miou", 0.0, "")], sample, specs) == ("1", "10")
    assert outcome([(-1, "extra", 0.0, "")], sample, specs)[0] == "1"
    assert outcome([(-1, "extra", float("nan"), "")], sample, specs)[0] == "0"  # counts as 100, the worst
    assert outcome([(-1, "kept", float("nan"), "")], sample, specs)[0] == "-"  # left out, as in the score


def test_an_unknown_way_of_showing_pictures_is_named(runs, tmp_path):
    with pytest.raises(UsageError, match="'copy' or 'link', not 'paint'"):
        write_report(build_report(runs[:1]), "html", tmp_path / "html", pictures="paint")


def test_the_report_needs_no_torch():
    import subprocess

    code = "import sys, radl_bench.report.html, radl_bench.report.html_compare; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
