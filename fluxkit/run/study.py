"""Several specs and repeats: each run in a folder of its own, in a seeded random order, resumable."""

import json
import random
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import Field, ValidationError

from fluxkit.dataset.cache import cache_folder
from fluxkit.environment import environment_notes
from fluxkit.errors import UsageError
from fluxkit.fold.outcome import folded_result, settle_dead_run_on_disk
from fluxkit.machine.container import warnings
from fluxkit.plan.plan import Plan
from fluxkit.record.atomic_file import RESULT_FILE, to_json, write_atomically
from fluxkit.record.redact import public_spec
from fluxkit.record.result import RunResult, Status
from fluxkit.record.run_folder import new_folder
from fluxkit.run.launch import launch, resume
from fluxkit.run.progress import SILENT, Reporter, run_sentence
from fluxkit.spec.run_spec import RunSpec
from fluxkit.values import Frozen, canonical_sha256

STUDY_FILE = "study.json"
DEFAULT_PARENT = Path("runs")
"""Of studies whose folder nobody names."""


class Entry(Frozen):
    """One run of a study."""

    folder: str
    spec: int
    """Which of the study's specs."""
    repeat: int
    order: int
    """Place in the order in which the runs are done."""
    seed: int


class Study(Frozen):
    """What is run, how often, and in which order; written before the first run begins."""

    schema_: Literal["fluxkit.study/1"] = Field(default="fluxkit.study/1", alias="schema")
    id: str
    created: str
    repeats: int
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


class Outcome(NamedTuple):
    """What a study has come to."""

    folder: Path
    results: tuple[RunResult, ...]
    """In the order of the study; fewer than planned if it was told to stop."""
    stopped: bool
    """Whether it was told to stop (SIGTERM, SIGUSR1) and can be resumed."""

    def to_json(self) -> str:
        """For scripts."""
        runs = [
            {
                "id": result.id,
                "name": result.spec.name,
                "repeat": result.repeat,
                "status": result.status,
                "summary": result.summary.model_dump(mode="json"),
                "error": result.error.model_dump(mode="json") if result.error else None,
            }
            for result in self.results
        ]
        return json.dumps({"study": str(self.folder), "stopped": self.stopped, "runs": runs}, indent=1)


def run_study(
    specs: Sequence[RunSpec],
    *,
    repeats: int = 1,
    out: Path | None = None,
    resuming: bool = False,
    same_seed: bool = False,
    reporter: Reporter = SILENT,
) -> Outcome:
    """Runs each spec `repeats` times, interleaved; a failed run does not stop the others.

    Args:
        specs: what is asked.
        repeats: runs of each spec; repeat r uses the spec's seed + r.
        out: the study's folder; `runs/<time>-<name>` if None.
        resuming: finish a study that was begun: completed runs are kept, interrupted ones continue from their
            checkpoint, failed ones are run again from the start.
        same_seed: every repeat uses the spec's own seed, to see whether a run reproduces itself.
        reporter: is told how it goes.

    Raises:
        UsageError: the folder is taken, or there is no such study to resume.
        MachineError: a spec can't run here, or the folder can't be written; nothing was run.
        KeyboardInterrupt: interrupted by hand; what was done is written.
    """
    if resuming:
        folder = out or newest_unfinished(DEFAULT_PARENT, specs, repeats, same_seed=same_seed)
        study = read_study(folder)
        if not study.asks_for(specs, repeats, same_seed=same_seed):
            raise UsageError(f"{folder} is a study of other specs or repeats; give the ones it was begun with.")
    else:
        study = arrange(specs, repeats, same_seed=same_seed)
        folder = out or DEFAULT_PARENT / study.id
    cautions = list(warnings(folder, cache_folder()))
    _bring_inputs(specs)
    plans = plan_all(specs, folder=folder)
    cautions += [note for plan in plans for note in environment_notes(plan.nodes, plan.threads_per_process)]
    for caution in dict.fromkeys(cautions):
        reporter.say(caution)
    if not resuming:
        with new_folder(folder, "choose another folder with --out, or continue with --resume"):
            write_atomically(folder / STUDY_FILE, to_json(study))
    return _run_all(folder, study, specs, plans, reporter)


def _bring_inputs(specs: Sequence[RunSpec]) -> None:
    """Downloads the models that may be downloaded, and opens every picture of the folders.

    Raises:
        MachineError: a model can't be downloaded, or a picture can't be used.
    """
    from fluxkit.dataset.picture_loader import load_pairs
    from fluxkit.model.download import download

    for spec in specs:
        download(spec.model)
        if spec.data.source == "folder":
            load_pairs(spec.data)


def plan_all(specs: Sequence[RunSpec], *, to_run: bool = True, folder: Path = DEFAULT_PARENT) -> list[Plan]:
    """A plan for each spec on this machine.

    Args:
        specs: what is asked.
        to_run: False: only to be read, so the engine need not be installed.
        folder: where the runs will lie, and so the disk that has to hold them.

    Raises:
        MachineError: one of them can't run here.
    """
    from fluxkit.machine.conditions import disk_free
    from fluxkit.machine.system import probe
    from fluxkit.plan.plan import make_plan

    system = probe()
    system = system.model_copy(update={"readings": system.readings | disk_free(folder)})
    return [_with_notes(make_plan(spec, system, to_run=to_run)) for spec in specs]


def _with_notes(plan: Plan) -> Plan:
    """The plan, which also says what of this environment does not reach the engine."""
    return plan.model_copy(update={"notes": (*plan.notes, *environment_notes(plan.nodes, plan.threads_per_process))})


def dated_name(name: str) -> str:
    """A name that begins with this moment, so that folders lie in the order of time."""
    return f"{datetime.now(UTC):%Y%m%dt%H%M%Sz}-{name}"


def arrange(specs: Sequence[RunSpec], repeats: int, *, same_seed: bool = False) -> Study:
    """The study of these specs: within each round of repeats the specs come in a random order.

    The order is drawn from the specs and their seeds alone, so that the same study has the same order everywhere.
    """
    stored = tuple(public_spec(spec) for spec in specs)
    draw = random.Random(canonical_sha256([spec.model_dump(mode="json", by_alias=True) for spec in stored]))  # noqa: S311 - an order, not a secret
    runs: list[Entry] = []
    for repeat in range(repeats):
        for spec in draw.sample(range(len(specs)), len(specs)):
            order, seed = len(runs), specs[spec].seed + (0 if same_seed else repeat)
            folder = f"{order:02d}-{specs[spec].name}-r{repeat}"
            runs.append(Entry(folder=folder, spec=spec, repeat=repeat, order=order, seed=seed))
    return Study(
        id=dated_name(specs[0].name),
        created=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        repeats=repeats,
        same_seed=same_seed,
        specs=stored,
        runs=tuple(runs),
    )


def read_study(folder: Path) -> Study:
    """The study in a folder.

    Raises:
        UsageError: there is none, or this version can't read it.
    """
    file = folder / STUDY_FILE
    try:
        study = Study.model_validate_json(file.read_text("utf-8"))
    except OSError as error:
        raise UsageError(f"{file} can't be read: {error.strerror}. Give the folder of a study with --out.") from error
    except (ValidationError, ValueError) as error:
        raise UsageError(f"{file} is not a study of this version of fluxkit.") from error
    if any("/" in entry.folder or entry.folder in {"", ".", ".."} for entry in study.runs):
        raise UsageError(f"{file} names run folders outside of the study.")
    return study


def newest_unfinished(parent: Path, specs: Sequence[RunSpec], repeats: int, *, same_seed: bool) -> Path:
    """The newest study under `parent` that asks for the same and is not finished.

    Raises:
        UsageError: there is none.
    """
    for file in sorted(parent.glob(f"*/{STUDY_FILE}"), reverse=True):
        try:
            study = read_study(file.parent)
        except UsageError:
            continue
        if study.asks_for(specs, repeats, same_seed=same_seed) and not is_finished(file.parent, study):
            return file.parent
    raise UsageError(
        f"There is no unfinished study of these specs and repeats under {parent}/; run it without --resume, "
        "or name its folder with --out."
    )


def is_finished(folder: Path, study: Study) -> bool:
    """Whether every run of the study is completed."""
    return all(_status(folder / entry.folder) == "completed" for entry in study.runs)


def _status(folder: Path) -> Status | None:
    return folded_result(folder).status if (folder / RESULT_FILE).is_file() else None


def _run_all(
    folder: Path, study: Study, specs: Sequence[RunSpec], plans: Sequence[Plan], reporter: Reporter
) -> Outcome:
    results: list[RunResult] = []
    for entry in study.runs:
        run, spec = folder / entry.folder, specs[entry.spec]
        before = _status(run)
        if before == "completed":
            results.append(settle_dead_run_on_disk(run))
            continue
        reporter.say(f"Run {entry.order + 1} of {len(study.runs)}: {spec.name}, repeat {entry.repeat}.")
        try:
            if before is None:
                shutil.rmtree(run, ignore_errors=True)  # without a result nothing in it says what it is
                result = launch(
                    spec, plans[entry.spec], folder=run, seed=entry.seed, study=study.id, repeat=entry.repeat,
                    order=entry.order, reporter=reporter,
                )  # fmt: skip
            else:
                result = resume(run, afresh=before == "failed", reporter=reporter)
        except KeyboardInterrupt:
            reporter.say(_how_to_continue(folder))
            raise
        results.append(result)
        reporter.say(run_sentence(result))
        if result.status == "interrupted":
            reporter.say(_how_to_continue(folder))
            return Outcome(folder, tuple(results), stopped=True)
    return Outcome(folder, tuple(results), stopped=False)


def _how_to_continue(folder: Path) -> str:
    return f"To continue, give the same command with --resume --out {folder}"
