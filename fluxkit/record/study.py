"""What a study is: which specs, how often, in which order; on disk beside its runs."""

from bisect import bisect_right
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from fluxkit.errors import UsageError
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
    state: Literal["planned", "not needed"] = "planned"
    """Not needed: a look before it had settled every question."""


class Study(Frozen):
    """What is run, how often, and in which order; written before the first run begins.

    Only what is then not needed is marked later.
    """

    schema_: Literal["fluxkit.study/1"] = Field(default="fluxkit.study/1", alias="schema")
    id: str
    created: str
    repeats: Whole
    same_seed: bool
    looks: tuple[Whole, ...] = ()
    """Numbers of repeats after which it may be judged; one where it is judged at its end alone."""
    specs: tuple[RunSpec, ...]
    """As resolved; a path is stored as its last part."""
    runs: tuple[Entry, ...]

    @property
    def needed(self) -> list[Entry]:
        """The runs that are to be done, in their order."""
        return [entry for entry in self.runs if entry.state == "planned"]

    def stages(self) -> list[tuple[int, list[list[Entry]]]]:
        """The needed blocks up to each look, with the number of repeats that it is after."""
        ends = sorted({*self.looks, self.repeats})
        stages: list[dict[int, list[Entry]]] = [{} for _ in ends]
        # By the entries there are: a file may say any number of repeats, and counting up to it could take for ever.
        for entry in self.needed:
            if entry.repeat < ends[-1]:
                stages[bisect_right(ends, entry.repeat)].setdefault(entry.repeat, []).append(entry)
        return [(end, [blocks[repeat] for repeat in sorted(blocks)]) for end, blocks in zip(ends, stages, strict=True)]

    def until(self, repeats: int) -> "Study":
        """The same, where what comes after so many repeats is not needed."""
        runs = (
            entry.model_copy(update={"state": "not needed"}) if entry.repeat >= repeats else entry
            for entry in self.runs
        )
        return self.model_copy(update={"runs": tuple(runs)})

    def order_lines(self) -> str:
        """Its runs in the order in which they are done."""
        lines = [
            f"{run.order + 1:3d}. {self.specs[run.spec].name}, repeat {run.repeat}, seed {run.seed}"
            for run in self.runs
        ]
        looks = [f"Looked at after {', '.join(map(str, self.looks))} repeats: it ends when all questions are decided."]
        return "\n".join(["Order of the runs:", *lines, *(looks if len(self.looks) > 1 else [])])

    def asks_for(self, other: "Study") -> bool:
        """Whether it is the same study; one that was begun before there were looks had one, at its end."""
        looks = self.looks or (self.repeats,)
        specs = tuple(spec.in_this_version() for spec in self.specs)
        return (specs, self.repeats, self.same_seed, looks) == (
            other.specs, other.repeats, other.same_seed, other.looks,
        )  # fmt: skip


def read_study(folder: Path) -> Study:
    """The study in a folder.

    Raises:
        UsageError: there is none, or this version can't read it.
    """
    file = folder / STUDY_FILE
    try:
        study = Study.model_validate_json(read_regular(file, MAX_STUDY_BYTES))
    except OSError as error:
        raise UsageError(f"{file} can't be read: {error.strerror}. Give the folder of a study.") from error
    except (ValidationError, ValueError) as error:
        raise UsageError(f"{file} is not a study of this version of fluxkit.") from error
    if any("/" in entry.folder or entry.folder in {"", ".", ".."} for entry in study.runs):
        raise UsageError(f"{file} names run folders outside of the study.")
    if any(entry.spec >= len(study.specs) for entry in study.runs):
        raise UsageError(f"{file} names a spec that it does not hold.")
    return study
