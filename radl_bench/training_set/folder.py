"""A folder of images with captions: `metadata.jsonl` (`file_name`, and `text` or `caption`), or `.txt` files beside."""

from __future__ import annotations

import json
from pathlib import Path

from radl_bench.benchmarks.builders.coco import CocoImage
from radl_bench.errors import BadInput, MissingData

METADATA = "metadata.jsonl"
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")


def read_folder(folder: Path) -> list[CocoImage]:
    """Return the images of a folder, and of those in it, by file name; without boxes.

    Images that only `metadata.jsonl` names are among them, so that what is missing is counted.

    Raises:
        MissingData: there is no such folder, or no image in it.
        BadInput: a line of `metadata.jsonl` that is no such entry.
    """
    if not folder.is_dir():
        raise MissingData(f"There is no folder of images {folder}. Name it with --images DIR.")
    files = [file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file()]
    captions, licenses = _metadata(folder / METADATA)
    names = sorted({file.relative_to(folder).as_posix() for file in files} | captions.keys())
    if not names:
        raise MissingData(f"There is no image ({', '.join(SUFFIXES)}) in {folder}.")
    return [
        CocoImage(number, name, (), captions.get(name) or _beside(folder / name), licenses.get(name, ""))
        for number, name in enumerate(names)
    ]


def _beside(image: Path) -> tuple[str, ...]:
    """The caption in the text file beside an image, if there is one with words in it."""
    try:
        text = " ".join(image.with_suffix(".txt").read_text("utf-8").split())
    except FileNotFoundError:
        return ()
    except UnicodeDecodeError as error:
        raise BadInput(f"{image.with_suffix('.txt')} is not UTF-8 text: {error}.") from None
    return (text,) if text else ()


def _metadata(file: Path) -> tuple[dict[str, tuple[str, ...]], dict[str, str]]:
    """Captions and licences by file name."""
    captions: dict[str, tuple[str, ...]] = {}
    licenses: dict[str, str] = {}
    if not file.is_file():
        return captions, licenses
    for number, line in enumerate(file.read_text("utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except ValueError as error:
            raise BadInput(f"{file}, line {number}: it is no JSON ({error}).") from None
        name = entry.get("file_name") if isinstance(entry, dict) else None
        if not isinstance(name, str) or Path(name).is_absolute() or ".." in Path(name).parts:
            raise BadInput(f"{file}, line {number}: 'file_name' should be a path in the folder, not {name!r:.80}.")
        text = entry.get("text", entry.get("caption", ""))
        captions[name] = (text.strip(),) if isinstance(text, str) and text.strip() else ()
        licenses[name] = str(entry.get("license", "") or "")
    return captions, licenses
