"""Reading images of any origin, and the files of a folder: the right pixels and names, a remark, or a refusal."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from radl_bench.benchmarks.loading import load_benchmark
from radl_bench.cli import build_app
from radl_bench.errors import BadInput, MissingData
from radl_bench.runs.image_checks import checked
from radl_bench.runs.image_import import Imported, import_images
from radl_bench.runs.image_reading import MAX_PIXELS, BadImage, as_rgb, open_image, read_image
from radl_bench.runs.store import RunFolder
from tests.unit.test_foreign_pictures import paint

NOISE = np.random.default_rng(0).integers(0, 256, (12, 20, 4), dtype=np.uint8)
COLOUR = Image.fromarray(NOISE[..., :3])


def data_of(image: Image.Image, kind: str, **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def remarks_of(source) -> list[str]:
    return [str(remark) for remark in read_image(source)[1]]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_an_image_is_turned_as_its_camera_held_it(orientation, kind) -> None:
    """The eight ways of EXIF, written out as turns and flips of the pixels."""
    upright = np.asarray(COLOUR)
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    lossless = {"lossless": True} if kind == "WEBP" else {}
    rgb, remarks = read_image(data_of(Image.fromarray(np.ascontiguousarray(stored)), kind, exif=exif, **lossless))
    assert (np.asarray(rgb) == upright).all()
    assert [remark.what for remark in remarks] == (["turned by the orientation in EXIF"] if orientation > 1 else [])


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "RGB", "L"])
def test_transparent_pixels_are_laid_on_white(mode) -> None:
    """Every way a PNG can say that its first pixel does not show."""
    if mode in ("RGBA", "LA"):
        pixels = NOISE.copy()
        pixels[..., 3] = 255
        pixels[0, 0, 3] = 0
        data = data_of(Image.fromarray(pixels).convert(mode), "PNG")
    else:
        image = COLOUR.convert(mode)
        data = data_of(image, "PNG", transparency=image.getpixel((0, 0)))
    rgb, remarks = read_image(data)
    assert rgb.getpixel((0, 0)) == (255, 255, 255)
    assert "transparent in places, laid on white" in [remark.what for remark in remarks]
    assert rgb.getpixel((5, 5)) == Image.open(io.BytesIO(data)).convert("RGB").getpixel((5, 5))


def test_half_transparent_is_half_white_and_an_invisible_image_is_of_one_colour() -> None:
    half = Image.new("RGBA", (4, 4), (200, 0, 0, 128))
    assert as_rgb(half)[0].getpixel((0, 0)) == (227, 127, 127)
    pixels = NOISE.copy()
    pixels[..., 3] = 0
    assert "of one colour throughout" in remarks_of(data_of(Image.fromarray(pixels), "PNG"))


def test_sixteen_bits_become_eight() -> None:
    levels = np.arange(256, dtype=np.uint16).reshape(16, 16)
    rgb, remarks = read_image(data_of(Image.fromarray(levels * 257), "PNG"))
    assert (np.asarray(rgb)[..., 0] == levels).all()
    assert [remark.what for remark in remarks] == ["of 16 bits a channel, read as 8"]


@pytest.mark.parametrize(
    ("data", "remark"),
    [
        (data_of(COLOUR, "JPEG"), "JPEG, whose losses are part of the scores"),
        (data_of(COLOUR, "WEBP"), "lossy WebP, whose losses are part of the scores"),
        (data_of(Image.fromarray(NOISE), "WEBP"), "lossy WebP, whose losses are part of the scores"),
        (data_of(COLOUR.convert("L"), "PNG"), "of another mode than RGB, converted (L)"),
        (data_of(COLOUR.convert("P"), "PNG"), "of another mode than RGB, converted (P)"),
        (data_of(COLOUR.convert("CMYK"), "JPEG"), "of another mode than RGB, converted (CMYK)"),
        (
            data_of(COLOUR, "PNG", save_all=True, append_images=[COLOUR.rotate(180)]),
            "of several frames, the first is taken",
        ),
        (
            data_of(COLOUR, "WEBP", save_all=True, append_images=[COLOUR.rotate(180)]),
            "lossy WebP, whose losses are part of the scores",
        ),
        (data_of(Image.new("RGB", (9, 9)), "PNG"), "all black (a safety checker?)"),
        (data_of(Image.new("RGB", (9, 9), (1, 0, 2)), "PNG"), "all black (a safety checker?)"),
        (data_of(Image.new("RGB", (9, 9), (90, 30, 20)), "JPEG"), "of one colour throughout"),
    ],
)
def test_what_is_odd_is_said(data, remark) -> None:
    assert remark in remarks_of(data)


@pytest.mark.parametrize(
    ("kind", "options"), [("PNG", {}), ("WEBP", {"lossless": True}), ("BMP", {}), ("PNG", {"optimize": True})]
)
def test_plain_images_keep_every_pixel_and_need_no_word(kind, options) -> None:
    rgb, remarks = read_image(data_of(COLOUR, kind, **options))
    assert (np.asarray(rgb) == np.asarray(COLOUR)).all()
    assert remarks == ()


def test_another_colour_space_is_named() -> None:
    from PIL import ImageCms

    for space, said in (("sRGB", False), ("LAB", True)):
        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile(space)).tobytes()
        assert any("another colour space" in r for r in remarks_of(data_of(COLOUR, "PNG", icc_profile=profile))) is said
    assert any("another colour space" in r for r in remarks_of(data_of(COLOUR, "PNG", icc_profile=b"nonsense")))


def closed() -> Image.Image:
    image = COLOUR.copy()
    image.close()
    return image


@pytest.mark.parametrize(
    ("image", "why"),
    [
        (Image.new("RGB", (0, 0)), "0 x 0 pixels"),
        (Image.new("RGB", (5, 0)), "5 x 0 pixels"),
        (closed(), "cannot be read"),
        (COLOUR.convert("LA").convert("La"), "mode La"),
        (Image.fromarray(NOISE).convert("RGBa"), "mode RGBa"),
        (Image.fromarray(np.full((4, 4), np.nan, np.float32)), "NaN or infinity"),
        (Image.fromarray(np.full((4, 4), np.inf, np.float32)), "NaN or infinity"),
        (Image.fromarray(np.full((4, 4), 0.5, np.float32)), "no stated range"),
        (Image.fromarray(np.full((4, 4), 7, np.int32)), "no stated range"),
        (Image.new("1", (13_000, 13_000)), "13000 x 13000 pixels, more than"),
        ("a string", "str instead of a PIL image"),
    ],
)
def test_what_is_no_image_is_refused(image, why) -> None:
    with pytest.raises(BadImage, match=why):
        checked(image)


def test_files_are_bounded_and_of_known_formats(tmp_path) -> None:
    """An EPS that is called .png would start Ghostscript; a large image fills the memory before it is seen."""
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"
    for name, data in {
        "eps.png": eps,
        "gif.png": data_of(COLOUR, "GIF"),
        "tiff.png": data_of(COLOUR, "TIFF"),
        "ppm.png": data_of(COLOUR, "PPM"),
        "empty.png": b"",
    }.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(BadImage, match="not an image in a known format"):
            read_image(tmp_path / name)
    assert MAX_PIXELS < 13_000**2
    with pytest.raises(BadImage, match="more than"):
        open_image(data_of(Image.new("1", (13_000, 13_000)), "PNG"))
    whole = data_of(COLOUR, "PNG")
    with pytest.raises(BadImage, match="cannot be read"):
        read_image(whole[: len(whole) // 2])


# folders ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def bring(tmp_path, make_benchmark):
    """Return a function that saves painted images of samples under the given names and imports them."""

    def bring(names: dict[str, str], table: str | None = None, ids: list[str] | None = None, **filters) -> Imported:
        rows = [json.loads(line) for line in (make_benchmark() / "samples.jsonl").read_text().splitlines()]
        for n, new in enumerate(ids or []):
            rows[n]["id"] = new
        source = make_benchmark(rows[: len(ids)] if ids else rows)
        benchmark = load_benchmark(source)
        samples = {sample.id: sample for sample in benchmark.samples}
        folder = tmp_path / "theirs"
        for name, sample in names.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            paint(samples[sample]).save(folder / name)
        file = None
        if table is not None:
            file = tmp_path / "map.csv"
            file.write_text(table)
        part = load_benchmark(source, **filters)
        return import_images(folder, part, table=file, out=tmp_path / "runs", source=str(source))

    return bring


def made(done: Imported) -> dict[str, int]:
    """Return how many images each sample has, and fail where an image is not that of its sample."""
    counts: dict[str, int] = {}
    for row in RunFolder.open(done.run).rows():
        counts[row["sample_id"]] = counts.get(row["sample_id"], 0) + (row["status"] == "ok")
    return counts


TWO = ["tiny-000", "tiny-001"]


@pytest.mark.parametrize(
    ("numbers", "note"),
    [
        ([0], None),
        ([0, 1, 2], None),
        ([1], "numbered 1 (from 1, or by seed?); they are read as image 0 of each sample"),
        ([1, 2, 3], "numbered 1, 2, 3 (from 1, or by seed?); they are read as images 0 to 2 of each sample"),
        ([42], "numbered 42 (from 1, or by seed?)"),
        ([9999], "numbered 9999"),
        ([7, 1234567890], "numbered 7, 1234567890"),
        ([0, 9999], "numbered 0, 9999"),
    ],
)
def test_numbers_count_from_0_from_1_or_are_seeds(bring, numbers, note) -> None:
    done = bring({f"{sample}_{n}.png": sample for sample in TWO for n in numbers}, ids=TWO)
    assert made(done) == dict.fromkeys(TWO, len(numbers))
    assert len(RunFolder.open(done.run).rows()) == 2 * len(numbers)
    assert [n for n in done.notes if "numbered" in n] == [n for n in done.notes if note and note in n]
    assert bool(note) == any("numbered" in n for n in done.notes)


def test_a_seed_of_its_own_for_each_sample(bring) -> None:
    done = bring({f"{sample}_{n}.png": sample for n, sample in zip((31, 77), TWO, strict=True)}, ids=TWO)
    assert (made(done), len(RunFolder.open(done.run).rows())) == (dict.fromkeys(TWO, 1), 2)


def test_a_missing_image_stays_missing(bring) -> None:
    done = bring({f"tiny-000_{n}.png": "tiny-000" for n in range(4)} | {"tiny-001_3.png": "tiny-001"}, ids=TWO)
    assert made(done) == {"tiny-000": 4, "tiny-001": 1}
    assert any(note.startswith("3 files (tiny-001_0, tiny-001_1, tiny-001_2) missing") for note in done.notes)


def test_a_table_of_large_numbers_makes_no_images_up(bring) -> None:
    table = "file,sample_id,k\na.png,tiny-000,9999\nb.png,tiny-001,9999\n"
    done = bring({"a.png": "tiny-000", "b.png": "tiny-001"}, table, ids=TWO)
    assert len(RunFolder.open(done.run).rows()) == 2
    assert any("numbered 9999" in note for note in done.notes)


@pytest.mark.parametrize("name", ["s_1.png", "sub/s_1.png", "s_01.png"])
def test_a_name_that_is_two_images_is_refused(bring, name) -> None:
    ids = ["s", Path(name).stem]
    with pytest.raises(BadInput, match=r"image 1 of 's' and as image 0 of 's_0?1'.*--map"):
        bring({name: ids[1], "s.png": "s"}, ids=ids)
    done = bring({}, f"file,sample_id\n{name},{ids[1]}\ns.png,s\n", ids=ids)
    assert made(done) == dict.fromkeys(ids, 1)


@pytest.mark.parametrize("other", ["tiny-000.bmp", "tiny-000_0.png", "sub/tiny-000.png", "tiny-000_00.png"])
def test_two_files_of_one_image_are_refused(bring, other) -> None:
    with pytest.raises(BadInput, match=r"1 image has .* several files"):
        bring({"tiny-000.png": "tiny-000", other: "tiny-000"}, ids=TWO)


def test_subfolders_and_bmp_are_read_hidden_files_are_not(bring) -> None:
    done = bring({"a/tiny-000.png": "tiny-000", "b/c/tiny-001.bmp": "tiny-001", ".cache/tiny-000.png": "tiny-001"})
    assert (done.pictures, made(done)["tiny-000"]) == (2, 1)
    folder = done.run.parents[3] / "theirs"
    (folder / "._tiny-002.png").write_bytes(b"a fork of its resources")
    (folder / "tiny-003.gif").write_bytes(data_of(COLOUR, "GIF"))
    notes = bring({}).notes
    assert not any("._tiny" in note or ".cache" in note for note in notes)
    assert "1 file (tiny-003.gif) in a format that is not read; convert to PNG." in notes


def test_a_part_can_be_imported_as_a_part(bring) -> None:
    names = {f"tiny-{n:03d}.png": f"tiny-{n:03d}" for n in range(9)}
    done = bring(names, limit=3)
    assert len(RunFolder.open(done.run).rows()) == 3
    (note,) = done.notes
    assert note.startswith("6 files (")
    assert "not asked for" in note
    table = "file,sample_id\n" + "".join(f"{name},{sample}\n" for name, sample in names.items())
    assert len(RunFolder.open(bring({}, table, ids=None, level=2).run).rows()) == 3


@pytest.mark.parametrize("name", [r"00000\samples\0000.png", "00000/samples/0000.png", "./00000//samples/0000.png"])
def test_a_table_may_have_either_slash(bring, name) -> None:
    done = bring({"00000/samples/0000.png": "tiny-000"}, f"file,sample_id\n{name},tiny-000\n", ids=TWO)
    assert made(done)["tiny-000"] == 1
    record = json.loads((done.run / "import.json").read_text())
    assert record["sources"] == {"tiny-000_0": "00000/samples/0000.png"}


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("", "columns file,sample_id"),
        ("\n\n", "columns file,sample_id"),
        ("file,sample_id\n", "lists no image"),
        ("file,sample_id,file\na.png,tiny-000,b.png\n", "'file' is given twice"),
        ("file,sample_id\na\0b.png,tiny-000\n", "map.csv"),
        ("file,sample_id,k\na.png,tiny-000,99999999999\n", "k must be a number"),
    ],
)
def test_a_table_that_says_nothing_or_too_much_is_refused(bring, table, said) -> None:
    with pytest.raises(BadInput, match=said):
        bring({"a.png": "tiny-000"}, table, ids=TWO)


def test_a_name_no_file_system_takes_is_an_absent_file(bring, tmp_path, tiny_benchmark) -> None:
    name = "x" * 300 + ".png"
    done = bring({"a.png": "tiny-000"}, f"file,sample_id\n{name},tiny-001\na.png,tiny-000\n", ids=TWO)
    assert any(note.startswith("1 file (xxx") and "but not in" in note for note in done.notes)
    for odd in ("x" * 300, "a\0b"):
        with pytest.raises(MissingData, match="There is no folder"):
            import_images(tmp_path / odd, load_benchmark(tiny_benchmark), out=tmp_path)


def test_the_command_takes_level_limit_and_ids(bring, tmp_path) -> None:
    bring({f"tiny-{n:03d}.png": f"tiny-{n:03d}" for n in range(9)})
    words = ["score", "--images", str(tmp_path / "theirs"), "--benchmark", str(tmp_path / "benchmarks" / "tiny")]
    words += ["--runs", str(tmp_path / "parts"), "--detector", "oracle", "--encoder", "none"]
    for n, (part, expected) in enumerate(
        [(["--limit", "2"], 2), (["--level", "3"], 3), (["--levels", "2-3"], 6), (["--ids", "tiny-004,tiny-001"], 2)]
    ):
        result = CliRunner().invoke(build_app(), [*words, "--name", f"m{n}", *part])
        assert result.exit_code == 0, result.output
        (file,) = (tmp_path / "parts").glob(f"tiny/m{n}/*/scores/*/scores.json")
        assert json.loads(file.read_text())["images"] == {"n": expected, "n_missing": 0}
