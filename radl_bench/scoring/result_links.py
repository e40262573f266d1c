"""Which image each name in a results file means; a name of two images, or an image of two names, is refused.

A name is first the file an image was imported from: by its path, as much of it as both sides have ("0000.png" and
"run/a/0000.png" are "a/0000.png" where that is the only such file), without regard to the ending where only one fits; a
whole number is the number that a file's name is. Where no name means a file that the samples' ids do not mean as well,
`<sample_id>_<k>`, `<sample_id>` for k = 0, and whole numbers for ids that are numbers are names, too.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import PurePosixPath

from radl_bench.errors import BadInput
from radl_bench.parsing import shown
from radl_bench.runs.image_checks import few
from radl_bench.runs.image_import import sources_of
from radl_bench.runs.image_reading import SUFFIXES
from radl_bench.runs.images import Picture
from radl_bench.runs.store import ImageKey

Name = str | int
_Meaning = Callable[[Name], frozenset[str]]


def link(names: Collection[Name], pictures: Sequence[Picture], file: str) -> dict[ImageKey, Name]:
    """Return the name of each image that has one.

    Args:
        names: those of the results file, paths with slashes or whole numbers.
        pictures: all images of the run; file: the results file's name in sentences.

    Raises `BadInput`: a name may mean several images, or several names mean one.
    """
    sources = {own_name(p): source for p in pictures if (source := source_of(p))}
    by_file, by_sample = _by_file(sources), _by_sample(pictures)
    found = {name: by_file(name) for name in names}
    if all(not images or images == by_sample(name) for name, images in found.items()):
        found = {name: images or by_sample(name) for name, images in found.items()}
    _refuse_two_images(found, sources, file)
    _refuse_two_names(found, file)
    key = {own_name(p): (p.sample.id, p.k) for p in pictures}
    return {key[image]: name for name, images in found.items() for image in images}


def source_of(picture: Picture) -> str | None:
    """Return the path of the file an image was imported from, relative to its folder; None for others."""
    return sources_of(picture.path.parent.parent).get(own_name(picture)) if picture.path is not None else None


def clean(name: str) -> str:
    """Return the path in a name with slashes and without empty parts."""
    return "/".join(part for part in name.replace("\\", "/").split("/") if part not in ("", "."))


def own_name(picture: Picture) -> str:
    """Return `<sample_id>_<k>`."""
    return f"{picture.sample.id}_{picture.k}"


def split_path(path: str) -> tuple[tuple[str, ...], str, str]:
    """Return folders, name without the ending of an image, and that ending."""
    *folders, last = clean(path).split("/")
    suffix = PurePosixPath(last).suffix
    return (
        (tuple(folders), last.removesuffix(suffix), suffix)
        if suffix.lower() in SUFFIXES
        else (tuple(folders), last, "")
    )


def without_suffix(name: Name) -> str:
    """Return a name for a message, without the ending of an image."""
    return str(name) if isinstance(name, int) else "/".join((*split_path(name)[0], split_path(name)[1]))


def is_decimal(text: str) -> bool:
    """Say whether a name is a whole number, such as COCO's files have."""
    return text.isascii() and text.isdecimal() and len(text) <= 18


def _by_file(sources: dict[str, str]) -> _Meaning:
    """Return which images a name means as the name of a file; images of one file share its names."""
    parts = {source: split_path(source) for source in set(sources.values())}
    images: dict[str, set[str]] = {}
    for image, source in sources.items():
        images.setdefault(source, set()).add(image)
    stems: dict[Name, set[str]] = {}
    for source, (_, stem, _suffix) in parts.items():
        stems.setdefault(stem, set()).add(source)
        if is_decimal(stem):
            stems.setdefault(int(stem), set()).add(source)

    def meaning(name: Name) -> frozenset[str]:
        if isinstance(name, int):
            return frozenset(i for source in stems.get(name, ()) for i in images[source])
        folders, stem, suffix = split_path(name)
        fitting = {s for s in stems.get(stem, ()) if _ends_alike(parts[s][0], folders)}
        for closer in (lambda s: parts[s][2] == suffix, lambda s: parts[s][0] == folders):
            fitting = set(filter(closer, fitting)) or fitting
        return frozenset(i for source in fitting for i in images[source])

    return meaning


def _ends_alike(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    shared = min(len(one), len(other))
    return shared == 0 or one[-shared:] == other[-shared:]


def _by_sample(pictures: Sequence[Picture]) -> _Meaning:
    """Return which images a name means by the samples' ids."""
    meanings: dict[Name, set[str]] = {}
    for picture in pictures:
        own = own_name(picture)
        for name in (own, *([picture.sample.id] if picture.k == 0 else [])):
            meanings.setdefault(name, set()).add(own)
            if is_decimal(name):
                meanings.setdefault(int(name), set()).add(own)
    return lambda name: frozenset(meanings.get(name if isinstance(name, int) else split_path(name)[1], ()))


def _refuse_two_images(found: dict[Name, frozenset[str]], sources: dict[str, str], file: str) -> None:
    for name, images in found.items():
        files = {sources.get(image, image) for image in images}
        if len(files) > 1:
            raise BadInput(
                f"{file}: {shown(name)} may be any of {few(sorted(files), 'image')}. "
                "Write the whole path, or <sample id>_<k>."
            )


def _refuse_two_names(found: dict[Name, frozenset[str]], file: str) -> None:
    names: dict[str, list[str]] = {}
    for name, images in found.items():
        for image in images:
            names.setdefault(image, []).append(shown(name))
    for image, several in names.items():
        if len(several) > 1:
            raise BadInput(f"{file}: image {image} has {few(sorted(several), 'name')}. Leave one name for one image.")
