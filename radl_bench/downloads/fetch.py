"""Weights and data of others, by name: what there is (`catalogue.toml`), what is here, and getting the rest.

Everything lies under the user's data folder, which `RADL_BENCH_HOME` moves: `weights/<name>/` and `data/<name>/`, each
with a `SOURCE.json` that says where it came from and holds the sha256 of every file; a folder with one is complete.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from radl_bench.downloads.download import PAUSES, TIMEOUT, RemoteFile, download, unpack
from radl_bench.downloads.hub import from_hub
from radl_bench.errors import MissingData, UsageError, did_you_mean
from radl_bench.files import file_sha256, replace_file
from radl_bench.hints import command
from radl_model.home import data_home

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

RECORD = "SOURCE.json"


@dataclass(frozen=True)
class Item:
    """One thing that can be fetched.

    Attributes:
        kind: "weights" or "data", the folder it goes to.
        size: bytes over the wire; an estimate for what comes from a hub.
        files: what to get over HTTP; or hub: `{"repo", "revision"}` of the Hugging Face hub, with patterns of its files
            and the sums of those that have one on record.
        unpack: patterns of the members of the archive that are kept; the archive itself is not.
    """

    name: str
    kind: str
    what: str
    license: str
    size: int
    files: tuple[RemoteFile, ...] = ()
    hub: Mapping[str, str] | None = None
    patterns: tuple[str, ...] = ()
    sums: Mapping[str, str] | None = None
    unpack: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        """Where it is or would be on this machine."""
        return data_home() / self.kind / self.name

    @property
    def identity(self) -> list[str]:
        """What makes it this very item: its revision, or its sums."""
        return [f"{self.hub['repo']}@{self.hub['revision']}"] if self.hub else [file.sha256 for file in self.files]

    @property
    def source(self) -> str:
        """Where it comes from, for reading."""
        return f"hub {self.hub['repo']}" if self.hub else self.files[0].url


@cache
def catalogue(file: Path = Path(__file__).parent / "catalogue.toml") -> dict[str, Item]:
    """Return everything that can be fetched, by name."""
    return {name: _item(name, table) for name, table in tomllib.loads(file.read_text("utf-8")).items()}


def find(name: str, items: Mapping[str, Item] | None = None) -> Item:
    """Return an item by name; raises `UsageError`."""
    items = catalogue() if items is None else items
    if name not in items:
        raise UsageError(did_you_mean(name, items, "name to fetch"))
    return items[name]


def is_ready(item: Item) -> bool:
    """Say whether the item is here, whole and of the version of the catalogue; sizes are looked at, sums are not."""
    record = _record(item.folder)
    if record is None or record["identity"] != item.identity:
        return False
    files = ((item.folder / name, entry["size"]) for name, entry in record["files"].items())
    return all(file.is_file() and file.stat().st_size == size for file, size in files)


def fetch(item: Item, *, timeout: float = TIMEOUT, pauses: Sequence[float] = PAUSES) -> Path:
    """Bring an item here, or go on with it, and return its folder; nothing happens when it is here.

    `timeout` and `pauses` are those of `download.download`. Raises what that does, or what `hub.from_hub` does.
    """
    if is_ready(item):
        return item.folder
    item.folder.mkdir(parents=True, exist_ok=True)
    names = _from_hub(item) if item.hub else _from_servers(item, timeout, pauses)
    files = {name: _entry(item.folder / name) for name in sorted(names)}
    record = {"name": item.name, "source": item.source, "license": item.license, "identity": item.identity}
    replace_file(item.folder / RECORD, (json.dumps(record | {"files": files}, indent=2) + "\n").encode())
    return item.folder


def require(items: Iterable[Item], offline: bool = True) -> None:
    """Do nothing when all items are here; else raise `MissingData` with one list of what is not, and the commands."""
    absent = [item for item in items if not is_ready(item)]
    if absent and offline:
        lines = [f"  {i.name} ({megabytes(i.size)}, {i.license}): {command('fetch', i.name)}" for i in absent]
        raise MissingData("Not on this machine, and nothing is downloaded offline:\n" + "\n".join(lines))


def verify_fetched(name: str = "*") -> Iterator[tuple[str, Path, list[str]]]:
    """Hash every file of everything that was fetched, or of one thing: (name, folder, what differs)."""
    for record_file in sorted(p for kind in ("weights", "data") for p in (data_home() / kind).glob(f"{name}/{RECORD}")):
        folder = record_file.parent
        record = _record(folder)
        if record is None:
            yield folder.name, folder, [f"{record_file} is broken; fetch it again"]
            continue
        problems = [
            f"{folder / name} differs from what was fetched"
            if (folder / name).is_file()
            else f"{folder / name} is gone"
            for name, entry in record["files"].items()
            if not (folder / name).is_file() or _entry(folder / name) != entry
        ]
        yield folder.name, folder, problems


def megabytes(size: int) -> str:
    """Return `252.9 MB`."""
    return f"{size / 1e6:,.1f} MB"


def _item(name: str, table: Mapping[str, Any]) -> Item:
    files = tuple(RemoteFile(**entry) for entry in table.get("files", ()))
    return Item(
        name=name,
        kind=table["kind"],
        what=table["what"],
        license=table["license"],
        size=table.get("size", sum(file.size for file in files)),
        files=files,
        hub=table.get("hub"),
        patterns=tuple(table.get("patterns", ())),
        sums=table.get("sums"),
        unpack=tuple(table.get("unpack", ())),
    )


def _from_servers(item: Item, timeout: float, pauses: Sequence[float]) -> list[str]:
    got = [download(remote, item.folder, timeout=timeout, pauses=pauses) for remote in item.files]
    if not item.unpack:
        return [file.name for file in got]
    names = [name for archive in got for name in unpack(archive, item.folder, item.unpack)]
    for archive in got:
        archive.unlink()
    return names


def _from_hub(item: Item) -> list[str]:
    hub = item.hub or {}
    return from_hub(hub["repo"], hub["revision"], item.patterns, item.sums or {}, item.folder)


def _entry(file: Path) -> dict[str, Any]:
    return {"size": file.stat().st_size, "sha256": file_sha256(file)}


def _record(folder: Path) -> dict[str, Any] | None:
    """Return the record of a folder, None without a sound one."""
    try:
        record = json.loads((folder / RECORD).read_bytes())
        sound = all({"size", "sha256"} <= set(entry) for entry in record["files"].values()) and record["identity"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return record if sound else None
