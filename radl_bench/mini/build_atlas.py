"""Pack the sprite atlas: `python -m radl_bench.mini.build_atlas ASSETS_DIR`.

`ASSETS_DIR` is the `assets` folder of the npm package `@lobehub/fluent-emoji-3d` 1.1.0 (Fluent Emoji, MIT). What it has
no image for is drawn by `radl_bench.mini.drawings`. The result, `atlas.webp` + `atlas.json`, is committed, so nothing
of this is needed at run time.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from PIL import Image

from radl_bench.mini.drawings import SHAPES, draw

SIDE = 128
COLUMNS = 10
EMOJI = {
    "bicycle": "1f6b2", "car": "1f697", "motorcycle": "1f3cd-fe0f", "airplane": "2708-fe0f", "bus": "1f68c",
    "train": "1f686", "truck": "1f69a", "boat": "26f5", "traffic light": "1f6a6", "stop sign": "1f6d1",
    "bird": "1f426", "cat": "1f408", "dog": "1f415", "horse": "1f40e", "sheep": "1f411", "cow": "1f404",
    "elephant": "1f418", "bear": "1f43b", "zebra": "1f993", "giraffe": "1f992", "backpack": "1f392",
    "umbrella": "2602-fe0f", "handbag": "1f45c", "suitcase": "1f9f3", "sports ball": "26bd", "kite": "1fa81",
    "skateboard": "1f6f9", "tennis racket": "1f3be", "bottle": "1f37e", "wine glass": "1f377", "cup": "2615",
    "spoon": "1f944", "banana": "1f34c", "apple": "1f34e", "sandwich": "1f96a", "orange": "1f34a",
    "broccoli": "1f966", "carrot": "1f955", "hot dog": "1f32d", "pizza": "1f355", "donut": "1f369",
    "cake": "1f382", "chair": "1fa91", "potted plant": "1fab4", "bed": "1f6cf-fe0f", "toilet": "1f6bd",
    "tv": "1f4fa", "laptop": "1f4bb", "keyboard": "2328-fe0f", "cell phone": "1f4f1", "book": "1f4d5",
    "clock": "23f0", "vase": "1f3fa", "scissors": "2702-fe0f", "teddy bear": "1f9f8", "toothbrush": "1faa5",
}  # fmt: skip


def _emoji(assets: Path, code: str) -> Image.Image:
    for name in (code, code.replace("-fe0f", "")):
        if (file := assets / f"{name}.webp").exists():
            return Image.open(file).convert("RGBA")
    raise SystemExit(f"No image {code}.webp in {assets}. Pass the assets folder of @lobehub/fluent-emoji-3d 1.1.0.")


def _tight(image: Image.Image) -> Image.Image:
    """Cut to what is visible and stretch to the tile, so that a sprite fills the box it is drawn into."""
    alpha = image.getchannel("A").point(lambda v: 255 if v > 64 else 0)
    return image.crop(alpha.getbbox()).resize((SIDE, SIDE), Image.Resampling.LANCZOS)


def main(assets: Path, out: Path) -> None:
    """Write `atlas.webp` (tiles of 128 x 128 RGBA) and `atlas.json` (class names in tile order) into `out`."""
    names = sorted([*EMOJI, *SHAPES])
    rows = -(-len(names) // COLUMNS)
    sheet = Image.new("RGBA", (COLUMNS * SIDE, rows * SIDE))
    for index, name in enumerate(names):
        tile = _tight(_emoji(assets, EMOJI[name]) if name in EMOJI else draw(name, 256))
        sheet.paste(tile, (index % COLUMNS * SIDE, index // COLUMNS * SIDE))
    sheet.save(out / "atlas.webp", quality=88, method=6)
    (out / "atlas.json").write_text(json.dumps({"side": SIDE, "columns": COLUMNS, "names": names}, indent=0) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(__file__).parent)
