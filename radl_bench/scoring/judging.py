"""Judging: from the names of the judges and a list of images to what was seen in each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from radl_bench.errors import RadlBenchError, UsageError, did_you_mean
from radl_bench.judges.contracts import NONE, Judge, Preparing, Role, declared
from radl_bench.judges.kinds import batches
from radl_bench.packages import cannot_import
from radl_bench.registry import MEASUREMENTS, describe_error, is_file_spec, known, resolve
from radl_bench.runs.images import Picture
from radl_bench.scoring.box_formats import AUTO, parse_format
from radl_bench.scoring.evidence import Evidence, kinds_of
from radl_bench.scoring.metrics import View
from radl_bench.scoring.protocol import Protocol
from radl_bench.scoring.result_files import PREFIX
from radl_bench.scoring.seen_files import SeenFiles

CHUNK = 64
"""Images held at once; a kill loses what was measured of one such chunk at most."""


class Judges:
    """The judges of a scoring, by role: names, and the objects as they are needed.

    Args:
        chosen: names by role, None or left out for the default; "none" leaves a judge out.
        device: passed to judges that take one.
        box_format: how files of results are read, see `box_formats.parse_format`.
    """

    def __init__(self, chosen: Mapping[str, str | None], device: str | None = None, box_format: str = AUTO) -> None:
        self.device, self.box_format = device, box_format
        self._chosen = {role: name for role, name in chosen.items() if name is not None}
        self._made: dict[str, Judge | None] = {}
        self._names: dict[str, str] = {}

    def get(self, role: Role) -> Judge | None:
        """Return the judge of a role, made now if it was not yet; None for one that is left out.

        Raises `UsageError` where the role has no default and none was chosen, or the judge breaks its contract.
        """
        if role.name not in self._made:
            name = self._names[role.name] = self.name(role)
            self._made[role.name] = None if name == NONE else make_judge(role, name, self.device, self.box_format)
        return self._made[role.name]

    def name(self, role: Role) -> str:
        """Return the name of the judge of a role: the chosen one, or that which goes with another, or the default."""
        if role.name in self._chosen:
            return self._chosen[role.name]
        if role.beside is not None:
            (main,) = (r for r in roles() if r.name == role.beside)
            beside = self.get(main)
            if beside is None:
                return NONE
            if role.name in declared(beside).companions:
                return declared(beside).companions[role.name]
        if role.default is None:
            raise UsageError(
                f"A metric needs a judge that is a '{role.name}'. "
                f"Give --judge {role.name}=NAME, or --judge {role.name}=none to leave the metric out."
            )
        return role.default

    def of(self, needs: Iterable[str]) -> dict[str, Judge | None]:
        """Return the judges, by role, that these kinds of measurement ask."""
        return {kind.role.name: self.get(kind.role) for kind in kinds_of(needs)}

    def standing(self) -> dict[str, Judge | None]:
        """Return the judges, by role, that are made whatever is measured, so that every scoring names them."""
        return {role.name: self.get(role) for role in roles() if role.early}

    def prepare(self, pictures: Sequence[Picture]) -> None:
        """Show all images of a run to judges that read files, which judge their names and boxes as a whole."""
        for judge in self._made.values():
            if isinstance(judge, Preparing):
                judge.prepare(pictures)

    @property
    def names(self) -> dict[str, str]:
        """Names of the judges that were made, by role; "file" for a file of results."""
        return {role: "file" if name.startswith(PREFIX) else name for role, name in self._names.items()}

    def having(self, needs: Iterable[str]) -> bool:
        """Say whether these judges can give such evidence: none of them is left out."""
        return all(self.name(kind.role) != NONE for kind in kinds_of(needs))

    def check_roles(self, needs: Iterable[str]) -> None:
        """Raise `UsageError` where a judge was chosen for a role that nobody has."""
        names = {role.name: role for role in roles(needs)}
        for role in self._chosen:
            if role not in names:
                raise UsageError(did_you_mean(role, names, "role of a judge"))


def roles(needs: Iterable[str] = ()) -> list[Role]:
    """Return the roles of the measurements that are built in and of those in `needs`."""
    return list({kind.role.name: kind.role for kind in kinds_of({*MEASUREMENTS, *needs})}.values())


def make_judges(
    detector: str | None = None,
    segmenter: str | None = None,
    encoder: str | None = None,
    device: str | None = None,
    features: str | None = None,
    box_format: str = AUTO,
    **more: str | None,
) -> Judges:
    """Return judges by name, ready but not loaded; raises `UsageError` for one that breaks its contract.

    `box_format` is how files of results are read, see `box_formats.parse_format`; `more` are names by role for kinds of
    measurement that are not built in.
    """
    parse_format(box_format)
    if box_format != AUTO and not any(str(name).startswith(PREFIX) for name in (detector, segmenter)):
        raise UsageError("--box-format belongs to --detections and --masks.")
    chosen = {"detector": detector, "segmenter": segmenter, "encoder": encoder, "features": features, **more}
    judges = Judges(chosen, device, box_format)
    for role in roles():
        if role.early:
            judges.get(role)
    return judges


def make_judge(role: Role, name: str, device: str | None = None, box_format: str = AUTO) -> Judge:
    """Return a judge by name, ready but not loaded; raises `UsageError` and what its weights raise."""
    if name.startswith(PREFIX) and role.files:
        from radl_bench.judges.from_file import load_result_judge

        judge: Judge = load_result_judge(role.name, name, box_format)
        return judge
    head, _, spec = name.partition(":")
    if not spec or is_file_spec(name) or head not in known(role.family):
        head, spec = name, ""
    factory = resolve(role.family, head)
    if not callable(factory):
        raise UsageError(f"The {role.name} '{name}' is not a class.")
    takes = declared(factory).takes
    if spec and "spec" not in takes:
        raise UsageError(f"The {role.name} '{head}' takes nothing after its name, but '{name}' has something there.")
    given = {key: value for key, value in {"device": device, "spec": spec}.items() if value and key in takes}
    try:
        made = factory(**given)
    except RadlBenchError:
        raise
    except ImportError as error:
        raise cannot_import(error, f"The {role.name} '{name}'") from error
    except Exception as error:
        raise UsageError(f"The {role.name} '{name}' cannot be made: {describe_error(error)}.") from error
    _check_members(role, name, made)
    return made


def _check_members(role: Role, name: str, made: object) -> None:
    lacking = [method for method in role.methods if not callable(getattr(made, method, None))]
    if lacking or not isinstance(getattr(made, "signature", None), str):
        raise UsageError(f"The {role.name} '{name}' has no {lacking[0] + '()' if lacking else 'signature: str'}.")
    declared(made)


def judge(
    pictures: Sequence[Picture],
    evidence: Evidence,
    rules: Protocol,
    needs: Iterable[str],
    files: SeenFiles | None = None,
) -> Iterator[View]:
    """Yield the view of each image, in order; measures what is not known yet of the evidence in `needs`.

    With `files`, an image whose file is no longer the one that was generated gets a `problem`.
    """
    try:
        for chunk in batches(pictures, CHUNK):
            if files is not None:
                files.check(chunk)
            views = evidence.views(chunk, rules, needs)
            for picture in chunk:
                picture.close()
            _flush(evidence, files)
            yield from views
    finally:
        _flush(evidence, files)  # also when a judge failed half way: what was measured stays measured


def _flush(evidence: Evidence, files: SeenFiles | None) -> None:
    evidence.flush()
    if files is not None:
        files.table.flush()
