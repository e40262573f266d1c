"""The open_clip encoder on a tiny model of its own kind: cosines by hand, templates, and what is missing."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from radl_bench.errors import BadInput, MissingWeights, UsageError
from radl_bench.judges.kinds.cosines import ENCODER
from radl_bench.judges.open_clip import OpenClip
from radl_bench.judges.templates import Look, sentences, with_articles
from radl_bench.runs.images import Picture, crop_square
from radl_bench.scoring.evidence import Evidence
from radl_bench.scoring.judging import judge, make_judges
from radl_bench.scoring.metrics import clip_score
from radl_bench.scoring.protocol import PROTOCOLS
from radl_bench.types import Instance, Sample

TINY = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder as `fetch open-clip` leaves it, with a random tiny model."""
    import torch
    from open_clip.model import CLIP
    from safetensors.torch import save_file

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("tiny-clip")
    save_file(CLIP(**TINY).state_dict(), folder / "open_clip_model.safetensors")
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": TINY, "preprocess_cfg": {}}))
    return folder


@pytest.fixture
def picture(tmp_path) -> Picture:
    import hashlib

    pixels = np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "p.png")
    things = (
        Instance("a red orange", "orange", "red", (0.0, 0.0, 0.5, 1.0)),
        Instance("a car", "car", None, (0, 0, 1, 1)),
    )
    sha = hashlib.sha256((tmp_path / "p.png").read_bytes()).hexdigest()
    return Picture(Sample("s", "a photo of a red orange and a car", things), 0, tmp_path / "p.png", sha)


def by_hand(folder: Path, image: Image.Image, texts: list[str]) -> float:
    """Return the mean over texts of 100 * cosine, out of open_clip's plain parts."""
    import open_clip
    import torch

    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    model.eval()
    with torch.no_grad():
        x = model.encode_image(preprocess(image)[None])[0]
        y = model.encode_text(open_clip.tokenize(texts))
        return float((100 * torch.nn.functional.cosine_similarity(x[None], y)).mean())


def rows(folder: Path, picture: Picture, tmp_path: Path, protocol: str) -> list[float]:
    rules = PROTOCOLS[protocol]
    evidence = Evidence(tmp_path / "e", encoder=OpenClip(str(folder)))
    (view,) = judge([picture], evidence, rules, frozenset({"cosines"}))
    return [row.value for row in clip_score.rows(view, rules)]


def test_scores_are_100_cos_by_hand_under_strict(folder, picture, tmp_path) -> None:
    clip, orange, car = rows(folder, picture, tmp_path, "strict")
    image = Image.open(picture.path)
    assert clip == pytest.approx(by_hand(folder, image, [picture.sample.prompt]), abs=1e-4)
    crop = crop_square(image, (0.0, 0.0, 0.5, 1.0))
    from open_clip import OPENAI_IMAGENET_TEMPLATES

    texts = [
        t("red orange").replace("a origami", "an origami").replace("a embr", "an embr")
        for t in OPENAI_IMAGENET_TEMPLATES
    ]
    assert orange == pytest.approx(by_hand(folder, crop, texts), abs=1e-4)
    assert car == pytest.approx(by_hand(folder, image, list(sentences("a car", "articles"))), abs=1e-4)


def test_scores_are_100_cos_of_swapped_channels_and_doubled_articles_under_mig_bench_v1(
    folder, picture, tmp_path
) -> None:
    from open_clip import OPENAI_IMAGENET_TEMPLATES

    clip, orange, _ = rows(folder, picture, tmp_path, "mig_bench_v1")
    swapped = Image.fromarray(np.asarray(Image.open(picture.path))[..., ::-1].copy())
    assert clip == pytest.approx(by_hand(folder, swapped, [picture.sample.prompt]), abs=1e-4)
    texts = [t("a red orange") for t in OPENAI_IMAGENET_TEMPLATES]
    assert "a bad photo of a a red orange." in texts
    assert orange == pytest.approx(by_hand(folder, crop_square(swapped, (0.0, 0.0, 0.5, 1.0)), texts), abs=1e-4)
    assert rows(folder, picture, tmp_path, "strict")[0] != pytest.approx(clip)  # kept apart in one table


def test_eighty_sentences_and_right_articles() -> None:
    assert sentences("a red car", "plain") == ("a red car",)
    strict = sentences("an orange cat", "articles")
    assert len(set(strict)) == len(strict) == 80
    assert {"a bad photo of an orange cat.", "an orange cat in a video game.", "an origami orange cat."} <= set(strict)
    assert not any(" a a" in text or " a o" in text for text in strict)
    assert with_articles("A elephant and an dog, a unicorn, a one, an used car") == (
        "An elephant and a dog, a unicorn, a one, a used car"
    )
    assert Look().key("p", True) == "p"
    assert Look(True, "doubled").key("p", True) == "bgr|80-doubled|p"
    assert Look(True, "doubled").key("p", False) == "bgr|p"


def test_the_signature_follows_the_weights_and_a_record_saves_reading_them(folder, tmp_path) -> None:
    import shutil

    from radl_bench.downloads.fetch import file_sha256

    first = OpenClip(str(folder)).signature
    copy = shutil.copytree(folder, tmp_path / folder.name)
    files = {f.name: {"size": f.stat().st_size, "sha256": file_sha256(f)} for f in copy.iterdir()}
    (copy / "SOURCE.json").write_text(json.dumps({"files": files}))
    assert OpenClip(str(copy)).signature == first
    with open(copy / "open_clip_model.safetensors", "ab") as stream:
        stream.write(b"0")
    assert OpenClip(str(copy)).signature != first


def test_what_is_missing_or_wrong_is_a_sentence(folder, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("RADL_BENCH_HOME", str(tmp_path))
    with pytest.raises(MissingWeights, match=r"radl-bench fetch open-clip.*--encoder none"):
        OpenClip()
    with pytest.raises(UsageError, match="Did you mean 'ViT-B-32'"):
        OpenClip("ViT-B-23:laion2b_s34b_b79k")
    with pytest.raises(MissingWeights, match="neither a file nor a tag"):
        OpenClip("ViT-B-32:/nowhere.pt")
    assert OpenClip("ViT-B-32:laion2b_s34b_b79k").signature == "open-clip:ViT-B-32@laion2b_s34b_b79k"
    script = tmp_path / "ViT-L-14.pt"
    with zipfile.ZipFile(script, "w") as archive:
        archive.writestr("ViT-L-14/code/model.py", "")
    with pytest.raises(UsageError, match="ViT-L-14-quickgelu"):
        OpenClip(f"ViT-L-14:{script}")
    torn = tmp_path / "torn.safetensors"
    torn.write_bytes(b"no weights")
    with pytest.raises(BadInput, match="open_clip cannot load"):
        OpenClip(f"ViT-B-32:{torn}").encode_texts(["a"])
    made = make_judges("blind", "box", f"open-clip:{folder}")
    assert made.get(ENCODER).signature.startswith(f"open-clip:{folder.name}@")
    with pytest.raises(UsageError, match="takes nothing after its name"):
        make_judges("blind:x", "box", "none")
