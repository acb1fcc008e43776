"""What a study is: which specs, how often, in which order; on disk beside its runs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from fluxkit.errors import UsageError
from fluxkit.record.redact import public_spec
from fluxkit.spec.run_spec import RunSpec
from fluxkit.values import Frozen, Whole, read_regular

STUDY_FILE = "study.json"
MAX_STUDY_BYTES = 50_000_000


class Entry(Frozen):
    """One run of a study."""

    folder: str
    spec: Whole
    """Which of the study's specs."""
    repeat: Whole
    order: Whole
    """Place in the order in which the runs are done."""
    seed: Whole


class Study(Frozen):
    """What is run, how often, and in which order; written before the first run begins."""

    schema_: Literal["fluxkit.study/1"] = Field(default="fluxkit.study/1", alias="schema")
    id: str
    created: str
    repeats: Whole
    same_seed: bool
    specs: tuple[RunSpec, ...]
    """As resolved; a path is stored as its last part."""
    runs: tuple[Entry, ...]

    def order_lines(self) -> str:
        """Its runs in the order in which they are done."""
        lines = [
            f"{run.order + 1:3d}. {self.specs[run.spec].name}, repeat {run.repeat}, seed {run.seed}"
            for run in self.runs
        ]
        return "\n".join(["Order of the runs:", *lines])

    def asks_for(self, specs: Sequence[RunSpec], repeats: int, *, same_seed: bool) -> bool:
        """Whether it is the study of these specs and repeats."""
        wanted = (tuple(public_spec(spec) for spec in specs), repeats, same_seed)
        return (self.specs, self.repeats, self.same_seed) == wanted


def read_study(folder: Path) -> Study:
    """The study in a folder.

    Raises:
        UsageError: there is none, or this version can't read it.
    """
    file = folder / STUDY_FILE
    try:
        study = Study.model_validate_json(read_regular(file, MAX_STUDY_BYTES))
    except OSError as error:
        raise UsageError(f"{file} can't be read: {error.strerror}. Give the folder of a study with --out.") from error
    except (ValidationError, ValueError) as error:
        raise UsageError(f"{file} is not a study of this version of fluxkit.") from error
    if any("/" in entry.folder or entry.folder in {"", ".", ".."} for entry in study.runs):
        raise UsageError(f"{file} names run folders outside of the study.")
    if any(entry.spec >= len(study.specs) for entry in study.runs):
        raise UsageError(f"{file} names a spec that it does not hold.")
    return study
