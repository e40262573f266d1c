"""Where weights are: a name or a path in, a folder or file on this machine out. Nothing is downloaded here."""

from __future__ import annotations

import functools
import hashlib
import re
from pathlib import Path

from radl_model.errors import MissingWeights, UsageError
from radl_model.files import known_sha256

PACKAGED = Path(__file__).parents[1] / "weights"
HUB = {"sd14": "CompVis/stable-diffusion-v1-4"}
RECORD = "SOURCE.json"
"""Written last by `radl-bench fetch`, so a folder with it is complete."""


def resolve_base(model: str | Path) -> Path:
    """Return the base model's pipeline folder, or a single safetensors file.

    Args:
        model: "mini" (comes with the package), "sd14" (fetched, or in the hub's cache), a folder, a `.safetensors`
            file, or the id of a model ("owner/name") in the hub's cache.

    Raises:
        UsageError: a pickled checkpoint.
        MissingWeights: it is not on this machine; the sentence says what to run.
    """
    name = str(model)
    if name == "mini":
        return _pipeline_folder(PACKAGED / "mini" / "base", "The mini base model is not in this installation.")
    if name in HUB:
        return _fetched(name) or _from_hub_cache(HUB[name], f"Run `radl-bench fetch {name}`")
    path = Path(name).expanduser()
    if path.is_file() and path.suffix == ".safetensors":
        return path
    if path.is_file():
        raise UsageError(
            f"The model {name} is not a safetensors file. Pickled checkpoints can run code, so they are not read; get "
            "the model as safetensors."
        )
    if not path.exists() and re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        return _from_hub_cache(name, f"Run `hf download {name}`")
    return _pipeline_folder(path, f"There is no model at {name}.")


def resolve_adapter(model: str | Path, name: str, adapter: str | Path | None = None) -> Path:
    """Return the folder of the adapter `name` ("radl") for a base model.

    Args:
        adapter: an explicit folder or file, which wins; or the bare name of another adapter of this model. The mini
            model's adapters come with the package, those of a base folder are looked for inside it and beside it, and
            those of "sd14" in the user's data folder, where `radl-bench fetch` puts them too.

    Raises:
        MissingWeights: none is found.
    """
    places = [] if adapter is None else [Path(adapter).expanduser()]
    own = name if adapter is None else str(adapter)
    if Path(own).name == own:
        places += _places_of(str(model), own)
    for place in places:
        if (place / "config.json").is_file() or place.is_file():
            return place
    where = " or ".join(str(p) for p in places)
    raise MissingWeights(
        f"No '{name}' adapter for the model '{model}' at {where}. Give its folder, or the file of a public checkpoint, "
        "with --set adapter=PATH, or train one (`radl-train`, docs/training.md)."
    )


def _places_of(model: str, name: str) -> list[Path]:
    """Where an adapter of a model may lie."""
    if model == "mini":
        return [PACKAGED / "mini" / name]
    if model in HUB:
        from radl_model.home import data_home

        own, fetched = data_home() / "adapters" / model / name, data_home() / "weights" / name
        return [own, fetched / "unet"] if (fetched / RECORD).is_file() else [own]
    base = Path(model).expanduser()
    return [base / name, base.parent / name]


@functools.lru_cache(maxsize=16)
def weights_sha256(*places: Path) -> str:
    """One sha256 over the names and contents of all safetensors files under `places`, in a fixed order."""
    total = hashlib.sha256()
    for place in places:
        for file in [place] if place.is_file() else sorted(place.rglob("*.safetensors")):
            total.update(f"{file.relative_to(place) if place.is_dir() else file.name} {known_sha256(file)}\n".encode())
    return total.hexdigest()


def _pipeline_folder(path: Path, absent: str) -> Path:
    if (path / "model_index.json").is_file():
        return path
    raise MissingWeights(
        f"{absent} Expected a diffusers pipeline folder (with model_index.json) or a .safetensors file; give one with "
        "--model PATH."
    )


def _fetched(name: str) -> Path | None:
    """The folder of `radl-bench fetch NAME`, whose record is written last."""
    from radl_model.home import data_home

    folder = data_home() / "weights" / name
    return folder if (folder / RECORD).is_file() and (folder / "model_index.json").is_file() else None


def _from_hub_cache(repo: str, how: str) -> Path:
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(repo, local_files_only=True, cache_dir=constants.HF_HUB_CACHE))
    except (LocalEntryNotFoundError, HFValidationError):
        folder = Path()
    if not (folder / "model_index.json").is_file():
        raise MissingWeights(
            f"The weights of {repo} are not on this machine. {how}, or give a local copy with --model PATH."
        )
    for part in ("unet", "vae", "text_encoder"):
        if not any(file.suffix in {".safetensors", ".bin"} for file in (folder / part).glob("*")):
            raise MissingWeights(f"The copy of {repo} is incomplete: no weights in its folder '{part}'. {how} again.")
    return folder
