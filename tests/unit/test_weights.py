"""The weights that ship: small, in safetensors, each folder with a card."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = [ROOT / "radl_model", ROOT / "radl_bench"]
FILES = [file for folder in FOLDERS for file in sorted(folder.rglob("*.safetensors"))]


def test_all_weights_together_stay_small():
    models = [file for file in FILES if FOLDERS[0] in file.parents]
    assert sum(file.stat().st_size for file in models) <= 60e6
    assert sum(file.stat().st_size for file in FILES) <= 60 * 2**20  # with the judges


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_every_weight_file_has_a_card_beside_or_above_it(file):
    cards = [parent / "README.md" for parent in file.parents[:4] if (parent / "README.md").exists()]
    assert cards
    text = cards[0].read_text()
    assert all(word in text for word in ("Training", "Figures", "Licence"))


def test_no_pickles_are_shipped():
    risky = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
    assert not [file for folder in FOLDERS for file in folder.rglob("*") if file.suffix in risky]
