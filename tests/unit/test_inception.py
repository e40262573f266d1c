"""The Inception judge against clean-fid itself, on a TorchScript network of the same interface."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from radl_bench.errors import BadInput, MissingWeights
from radl_bench.judges.inception import FILE, InceptionFeatures


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    """A random network [N, 3, 299, 299] -> [N, 2048, 1, 1] in a TorchScript file with `.layers`, as the real one."""
    import torch

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            conv = torch.nn.Conv2d(3, 2048, 23, stride=46)
            self.layers = torch.nn.Sequential(conv, torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1))

        def forward(self, x):
            return self.layers(x)

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / FILE
    torch.jit.script(Net()).save(str(path))
    return path


@pytest.fixture
def images() -> list[Image.Image]:
    rng = np.random.default_rng(0)
    sizes = [(64, 64), (128, 96), (320, 320)]
    return [Image.fromarray(rng.integers(0, 256, (h, w, 3), dtype=np.uint8)) for w, h in sizes]


def test_equals_clean_fid_on_the_same_files(weights, images, tmp_path) -> None:
    import torch
    from cleanfid.fid import get_files_features
    from cleanfid.inception_torchscript import InceptionV3W

    files = []
    for n, image in enumerate(images):
        image.save(tmp_path / f"{n}.png")
        files.append(str(tmp_path / f"{n}.png"))
    model = InceptionV3W(str(weights.parent), download=False)
    theirs = get_files_features(files, model, num_workers=0, device=torch.device("cpu"), mode="clean", verbose=False)
    judge = InceptionFeatures(weights, hashlib.sha256(weights.read_bytes()).hexdigest())
    ours = judge.features(images)
    assert ours.shape == (3, 2048)
    assert ours == pytest.approx(theirs, rel=1e-5, abs=1e-6)
    assert judge.features(images[1:2])[0] == pytest.approx(ours[1], rel=1e-5, abs=1e-6)
    assert judge.features([]).shape == (0, 2048)


def test_a_file_that_is_not_there_or_another_is_a_sentence(weights, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("RADL_BENCH_HOME", str(tmp_path))
    with pytest.raises(MissingWeights, match=r"radl-bench fetch inception.*--features none"):
        InceptionFeatures()
    with pytest.raises(BadInput, match="has sha256"):
        InceptionFeatures(weights)
