"""Bundles on the Hugging Face Hub: a data set with a card, the rows for its viewer, and the bundle itself."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from radl_bench.downloads.download import DownloadFailed
from radl_bench.errors import BadInput, MissingExtra, UsageError
from radl_bench.hints import command
from radl_bench.report.scored_run import ScoredRun
from radl_bench.sharing.bundle import install, pack

BUNDLE = "run.radl.zip"
_REPO = re.compile(r"[\w.-]{1,96}/[\w.-]{1,96}", re.ASCII)


def push(run: Path, repo: str, *, images: bool = False, private: bool = True) -> str:
    """Upload the bundle of a scored run as the data set `repo`, over an earlier one, and return its address.

    Raises:
        UsageError: `repo` is no OWNER/NAME.
        MissingData: the run is not scored.
        DownloadFailed: the hub refused, or cannot be reached.
    """
    from radl_bench.report.collect import collect
    from radl_bench.report.model_index import front_matter

    _check(repo)
    api = _api()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pack(run, folder / BUNDLE, images)
        (scored,), _ = collect([run])
        rows = scored.rows()
        if rows is not None:
            rows.to_parquet(folder / "rows.parquet", index=False)
        (folder / "README.md").write_text(front_matter(_head(rows is not None)) + _card(scored, repo), "utf-8")
        try:
            api.create_repo(repo, repo_type="dataset", private=private, exist_ok=True)
            api.upload_folder(
                repo_id=repo, repo_type="dataset", folder_path=str(folder), commit_message="radl-bench run"
            )
        except Exception as error:  # which HTTP library is below, and so its errors, depends on the version of the hub
            raise DownloadFailed(f"{repo} could not be uploaded to the hub: {_reason(error)}.") from error
    return f"https://huggingface.co/datasets/{repo}"


def pull(repo: str, runs: Path, revision: str | None = None) -> Path:
    """Download the bundle of a data set, hold it to its sums, and unpack it as a run under `runs`; returns its folder.

    Raises:
        UsageError: `repo` is no OWNER/NAME, or the run is here already.
        DownloadFailed: the hub cannot be reached, or has no bundle there.
        BadInput: the bundle is broken.
    """
    _check(repo)
    api = _api()
    with tempfile.TemporaryDirectory() as name:
        try:
            file = api.hf_hub_download(repo, BUNDLE, repo_type="dataset", revision=revision, local_dir=name)
        except Exception as error:  # as above
            raise DownloadFailed(f"{repo} could not be downloaded from the hub: {_reason(error)}.") from error
        copy = Path(name) / "copy.zip"
        shutil.copyfile(file, copy)
        return install(copy, runs)


def _head(with_rows: bool) -> Mapping[str, object]:
    files = [{"split": "rows", "path": "rows.parquet"}]
    return {
        "tags": ["radl-bench", "layout-to-image"],
        "configs": [{"config_name": "default", "data_files": files}] if with_rows else [],
    }


def _card(scored: ScoredRun, repo: str) -> str:
    from radl_bench.text import safe

    benchmark = scored.data["benchmark"]
    lines = [
        f"\n# {safe(scored.title, 'markdown')} on {safe(benchmark['name'], 'markdown')}\n",
        f"A run of radl-bench: model {safe(scored.model, 'markdown')}, scale {scored.scale or 'unstated'}, "
        f"{scored.images} images, benchmark version {safe(benchmark['version'], 'markdown')}, "
        f"samples {safe(benchmark['sha256'], 'markdown')[:8]}.\n",
        "| score | value | 95 % interval | n | missing |\n|---|---:|---|---:|---:|",
    ]
    for (metric, level), entry in scored.cells.items():
        if level is None and entry["value"] is not None:
            low, high = entry["ci_low"], entry["ci_high"]
            interval = "–" if low is None or high is None else f"{low:.1f} to {high:.1f}"
            heading = safe(scored.specs[metric].heading, "markdown").replace("|", "\\|")
            lines.append(f"| {heading} | {entry['value']:.2f} | {interval} | {entry['n']} | {entry['n_missing']} |")
    lines += [f"\n```sh\n{command('pull', repo)}\n{command('report')}\n```\n"]
    return "\n".join(lines)


def _api() -> Any:
    try:
        from huggingface_hub import HfApi
    except ImportError as error:
        raise MissingExtra("The hub needs huggingface_hub. Run: pip install huggingface_hub") from error
    return HfApi()


def _check(repo: str) -> None:
    if not _REPO.fullmatch(repo) or ".." in repo:
        raise UsageError(f"{repo!a:.100} is no data set of the hub. Write OWNER/NAME.")


def _reason(error: BaseException) -> str:
    if isinstance(error, BadInput):
        raise error
    return (" ".join(str(error).split())[:300] or type(error).__name__).rstrip(".")
