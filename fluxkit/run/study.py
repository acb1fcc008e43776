"""Several specs and repeats: each run in a folder of its own, in blocks of a seeded random order, resumable."""

import contextlib
import itertools
import json
import math
import random
import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple, TypeVar

from fluxkit.errors import UsageError
from fluxkit.files.atomic_file import to_json, write_with_sha256
from fluxkit.files.cache import cache_folder
from fluxkit.files.contained import refuse_link, remove
from fluxkit.fold.outcome import folded_result, settle_dead_run_on_disk
from fluxkit.machine.container import warnings
from fluxkit.machine.environment import child_environment, environment_notes
from fluxkit.machine.stop_requests import StopRequestedError, check_stop, stop_requests
from fluxkit.plan.plan import Plan, measuring_seconds
from fluxkit.record.redact import public_spec, tilde_as_home
from fluxkit.record.result import RunResult, Status
from fluxkit.record.run_folder import RESULT_FILE, held_folder, new_folder, read_job, remove_working_files
from fluxkit.record.study import STUDY_FILE, Entry, Study, read_study
from fluxkit.run.launch import launch, resume
from fluxkit.run.progress import PLAIN_SECONDS, SILENT, Reporter, StudyProgress, run_sentence
from fluxkit.spec.run_spec import RunSpec
from fluxkit.units import counted
from fluxkit.values import canonical_sha256

Item = TypeVar("Item")
DEFAULT_PARENT = Path("runs")
"""Of studies whose folder nobody names."""


class Look(NamedTuple):
    """What a look at the results of a study has shown."""

    undecided: bool
    """Whether a question that has numbers is not decided."""
    sentence: str


class UntilDecided(NamedTuple):
    """When a study is looked at, how, and how long it may take."""

    looks: tuple[int, ...]
    """The last one is the most repeats that there may be."""
    look: Callable[[Sequence[RunResult]], Look]
    max_seconds: float = math.inf


class Outcome(NamedTuple):
    """What a study has come to."""

    folder: Path
    results: tuple[RunResult, ...]
    """In the order of the study; fewer than planned if it was told to stop."""
    stopped: bool
    """Whether it was told to stop and can be resumed."""

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


@stop_requests()
def run_study(
    specs: Sequence[RunSpec],
    *,
    repeats: int = 1,
    out: Path | None = None,
    resuming: bool = False,
    same_seed: bool = False,
    until: UntilDecided | None = None,
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
        until: ends the study at a look that finds every question decided; `repeats` are then its last look's.
        reporter: is told how it goes.

    Raises:
        UsageError: the folder is taken, or there is no such study to resume.
        MachineError: a spec can't run here, or the folder can't be written; nothing was run.
        KeyboardInterrupt: interrupted by hand; what was done is written.
        StopRequestedError: told to stop before the first run began; there is nothing to resume.
    """
    study = arrange(specs, until.looks if until else (repeats,), same_seed=same_seed)
    if not resuming:
        return _carry_out(out or DEFAULT_PARENT / study.id, study, specs, new=True, until=until, reporter=reporter)
    folder, wanted = out or newest_unfinished(DEFAULT_PARENT, study), study
    study = read_study(folder)
    if not study.asks_for(wanted):
        raise UsageError(f"{folder} is a study of other specs or repeats; give the ones it was begun with.")
    return _carry_out(folder, study, specs, new=False, until=until, reporter=reporter)


def resume_study(folder: Path, look: Callable[[Sequence[RunResult]], Look], *, reporter: Reporter = SILENT) -> Outcome:
    """Finishes the study in a folder, as `run_study` would with `resuming`; `look` is for one that has several looks.

    Raises:
        UsageError: there is no study, or a path that it needs is not known any more.
        MachineError: a spec can't run here, or the folder can't be written.
    """
    study = read_study(folder)
    specs = [_with_its_paths(folder, study, place) for place in range(len(study.specs))]
    until = UntilDecided(study.looks, look) if len(study.looks) > 1 else None
    return _carry_out(folder, study, specs, new=False, until=until, reporter=reporter)


def _with_its_paths(folder: Path, study: Study, place: int) -> RunSpec:
    """A spec of the study as it was given: a study keeps the last part of a path alone, the job of a run all of it."""
    spec = study.specs[place]
    if spec.paths() == {}:
        return spec
    for entry in study.runs:
        with contextlib.suppress(OSError, ValueError):  # of another spec, not begun, or damaged
            given = tilde_as_home(read_job(folder / entry.folder).spec)
            if entry.spec == place and public_spec(given) == spec and given.paths() != spec.paths():
                return given
    raise UsageError(
        f"{folder} no longer says where {', '.join(spec.paths().values())} lies; give the command that it was begun "
        f"with once more, with --resume --out {folder}."
    )


def _carry_out(
    folder: Path,
    study: Study,
    specs: Sequence[RunSpec],
    *,
    new: bool,
    until: UntilDecided | None,
    reporter: Reporter,
) -> Outcome:
    """Everything that is left of a study, from looking for its inputs on."""
    cautions = list(warnings(folder, cache_folder()))
    left_out = _bring_inputs(specs, reporter)
    plans = plan_all(specs, folder=folder)
    cautions += [note for plan in plans for note in environment_notes(plan.nodes, plan.threads_per_process)]
    for caution in dict.fromkeys([*cautions, *left_out]):
        reporter.say(caution)
    check_stop()
    if new:
        advice = f"choose another one with --out; fluxkit resume {shlex.quote(str(folder))} continues what it holds"
        holding = new_folder(folder, advice, lambda: _write(folder, study))
    else:
        holding = held_folder(folder)
    results: list[RunResult] = []
    with holding:
        try:
            _run_all(folder, read_study(folder), specs, plans, results, until=until, reporter=reporter)
            check_stop()  # it may have come while the last run was folded
        except StopRequestedError:
            reporter.say(_how_to_continue(folder, study))
            return Outcome(folder, tuple(results), stopped=True)
        except KeyboardInterrupt:
            reporter.say(_how_to_continue(folder, study))
            raise
    return Outcome(folder, tuple(results), stopped=False)


def _write(folder: Path, study: Study) -> None:
    with stop_requests() as stop, stop.deferred():
        write_with_sha256(folder / STUDY_FILE, to_json(study), below=folder)


def _bring_inputs(specs: Sequence[RunSpec], reporter: Reporter) -> list[str]:
    """Downloads the models that may be downloaded, and opens every picture of the folders.

    Gives a sentence for each folder of which something is not used.

    Raises:
        MachineError: a model can't be downloaded, or a picture can't be used.
    """
    from fluxkit.dataset.opened_pictures import load_once
    from fluxkit.dataset.picture_folder import in_words
    from fluxkit.dataset.picture_loader import load_pairs
    from fluxkit.model.download import download

    def told(items: Sequence[Item], what: str) -> Iterator[Item]:
        began = time.monotonic()
        for done, item in enumerate(items):
            if time.monotonic() - began >= PLAIN_SECONDS:
                began = time.monotonic()
                reporter.say(f"Looking at the data: {done} of {len(items)} {what} opened.")
            yield item

    left_out: dict[str, None] = {}
    for spec in specs:
        download(spec.model, child_environment())
        if spec.data.source == "folder" and (skipped := load_pairs(spec.data, load=load_once, watch=told).skipped):
            left_out[f"Of data.path = {spec.data.path!r}, not everything is used: {in_words(skipped)}."] = None
    return list(left_out)


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


def arrange(specs: Sequence[RunSpec], looks: tuple[int, ...], *, same_seed: bool = False) -> Study:
    """The study of these specs, of as many repeats as its last look is after.

    Each repeat is a block. The order is drawn from the specs and their seeds alone, so that the same study has the same
    order everywhere.
    """
    stored = tuple(public_spec(spec) for spec in specs)
    draw = random.Random(canonical_sha256([spec.model_dump(mode="json", by_alias=True) for spec in stored]))  # noqa: S311 - an order, not a secret
    runs: list[Entry] = []
    for repeat, block in enumerate(itertools.islice(_blocks(len(specs), draw), looks[-1])):
        for spec in block:
            order, seed = len(runs), specs[spec].seed + (0 if same_seed else repeat)
            folder = f"{order:02d}-{specs[spec].name}-r{repeat}"
            runs.append(Entry(folder=folder, spec=spec, repeat=repeat, order=order, seed=seed))
    return Study(
        id=dated_name(specs[0].name),
        created=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        repeats=looks[-1],
        same_seed=same_seed,
        looks=looks,
        specs=stored,
        runs=tuple(runs),
    )


def _blocks(count: int, draw: random.Random) -> Iterator[list[int]]:
    """Orders of so many specs. Of every four two are the other two turned round, and any three hold such a pair.

    So a steady drift of the machine, however steep, adds up to nothing. The four stand in a random order, so that a
    machine that swings is seldom in step with them.
    """
    while True:
        orders = [draw.sample(range(count), count) for _ in range(2)]
        four = [*orders, *(order[::-1] for order in orders)]
        draw.shuffle(four)
        yield from four


def newest_unfinished(parent: Path, wanted: Study) -> Path:
    """The newest study under `parent` that asks for the same and is not finished.

    Raises:
        UsageError: there is none.
    """
    for file in sorted(parent.glob(f"*/{STUDY_FILE}"), reverse=True):
        try:
            study = read_study(file.parent)
        except UsageError:
            continue
        if study.asks_for(wanted) and not is_finished(file.parent, study):
            return file.parent
    raise UsageError(
        f"There is no unfinished study of these specs and repeats under {parent}/; run it without --resume, "
        "or name its folder with --out."
    )


def is_finished(folder: Path, study: Study) -> bool:
    """Whether every run that the study needs is completed."""
    return _is_done(folder, study.needed)


def _is_done(folder: Path, entries: Sequence[Entry]) -> bool:
    return all(_status(folder / entry.folder) == "completed" for entry in entries)


def _status(folder: Path) -> Status | None:
    return folded_result(folder).status if (folder / RESULT_FILE).is_file() else None


def _run_all(
    folder: Path,
    study: Study,
    specs: Sequence[RunSpec],
    plans: Sequence[Plan],
    results: list[RunResult],
    *,
    until: UntilDecided | None,
    reporter: Reporter,
) -> None:
    """Appends the result of every run to `results`, up to the look or the limit that ends it.

    Raises:
        StopRequestedError, KeyboardInterrupt: told to stop; between two runs, two looks, or in one of them.
    """
    began, stages = time.monotonic(), study.stages()
    progress = StudyProgress([measuring_seconds(spec, plan) for spec, plan in zip(specs, plans, strict=True)])
    reporter.study = progress
    for repeats, blocks in stages:
        progress.expect([entry.spec for block in blocks for entry in block])
        for place, block in enumerate(blocks):
            left = sum(not _is_done(folder, block) for block in blocks[place:])
            seconds = left * _block_seconds(results, len(specs))
            if until and seconds and time.monotonic() - began + seconds > until.max_seconds:
                reporter.say(f"The look after {repeats} repeats would take {_about(seconds)}, which passes the limit.")
                reporter.say(_how_to_continue(folder, study))
                return
            for entry in block:
                check_stop()
                done = _run_entry(folder, study, entry, specs[entry.spec], plans[entry.spec], reporter=reporter)
                results.append(done)
                progress.ended(entry.spec, _seconds_of(done))
                if done.status == "interrupted":
                    raise StopRequestedError
        check_stop()
        if until and blocks:
            look = until.look(results)
            reporter.say(f"After {repeats} repeats. {look.sentence}")
            if repeats < stages[-1][0] and not look.undecided:
                _end_here(folder, study.until(repeats), reporter)
                break
            reporter.say(_next_look(study, repeats, _block_seconds(results, len(specs))))


def _end_here(folder: Path, study: Study, reporter: Reporter) -> None:
    """Writes down which runs the study needs no more."""
    _write(folder, study)
    reporter.say(f"The other {len(study.runs) - len(study.needed)} runs are not needed.")


def _run_entry(folder: Path, study: Study, entry: Entry, spec: RunSpec, plan: Plan, *, reporter: Reporter) -> RunResult:
    """The result of one run, which is done unless it is completed."""
    run = folder / entry.folder
    refuse_link(folder, run)
    before = _status(run)
    if before == "completed":
        result = settle_dead_run_on_disk(run)
        remove_working_files(run)  # a death may have come between its result and their removal
        return result
    reporter.say(f"Run {entry.order + 1} of {len(study.runs)}: {spec.hardware.label} ({spec.name}), {_nth(entry)}.")
    if before is None:
        remove(folder, run)  # without a result nothing in it says what it is
        result = launch(
            spec, plan, folder=run, seed=entry.seed, study=study.id, repeat=entry.repeat, order=entry.order,
            looks=study.looks, reporter=reporter,
        )  # fmt: skip
    else:
        result = resume(run, afresh=before == "failed", reporter=reporter)
    reporter.say(run_sentence(result))
    return result


def _block_seconds(results: Sequence[RunResult], specs: int) -> float:
    """What a block of all specs takes, by the phases of the runs so far."""
    seconds = [_seconds_of(result) for result in results]
    return specs * math.fsum(seconds) / len(seconds) if seconds else 0.0


def _seconds_of(result: RunResult) -> float:
    """What all phases of a run took."""
    return math.fsum(phase.seconds or 0.0 for phase in result.phases)


def _nth(entry: Entry) -> str:
    return f"repeat {entry.repeat} with seed {entry.seed}"


def _next_look(study: Study, repeats: int, block_seconds: float) -> str:
    """What the next look costs, or that this one was the last."""
    following = next((look for look in study.looks if look > repeats), None)
    if following is None:
        return "That was the last look."
    return f"The next look, after {following} repeats, takes {_about((following - repeats) * block_seconds)} more."


def _about(seconds: float) -> str:
    minutes = seconds / 60
    return f"about {minutes:,.0f} minutes" if minutes >= 10 else f"about {minutes:.1f} minutes"  # noqa: PLR2004


def _how_to_continue(folder: Path, study: Study) -> str:
    if is_finished(folder, study):
        return f"{folder} is complete ({counted(len(study.needed), 'run')}); there is nothing to continue."
    return f"To continue: fluxkit resume {shlex.quote(str(folder))}"
