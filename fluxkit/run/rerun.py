"""Does again what a result says was done, and holds the new numbers against the old ones."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from fluxkit.errors import RunError, UsageError, printable
from fluxkit.files.atomic_file import to_json, write_atomically
from fluxkit.fold.outcome import settle_dead_run_on_disk
from fluxkit.machine.environment import recorded
from fluxkit.machine.provenance import this_kit
from fluxkit.machine.stop_requests import StopRequestedError
from fluxkit.record.identity import configurations
from fluxkit.record.result import RunResult
from fluxkit.record.run_folder import find_results
from fluxkit.record.study import STUDY_FILE
from fluxkit.run.engine_process import engine_environment
from fluxkit.run.progress import SILENT, Reporter, run_sentence
from fluxkit.run.rerun_verdict import (
    Difference,
    Verdict,
    differing,
    differing_variables,
    environment_rows,
    judge,
    variables_of,
)
from fluxkit.run.study import DEFAULT_PARENT, dated_name, plan_all, run_study
from fluxkit.spec.run_spec import RunSpec
from fluxkit.spec.toml import PATHS, override_spec

VERDICT_FILE = "rerun.json"


class Rerun(NamedTuple):
    """What would be done."""

    original: RunResult
    spec: RunSpec
    """With the seed that the original used."""
    repeats: tuple[RunResult, ...]
    """The original and the other completed repeats of its configuration that lie in its study."""
    differences: tuple[Difference, ...]
    """Of software, image and hardware between there and here."""


def prepare(path: Path, overrides: Sequence[str] = ()) -> Rerun:
    """What doing a result's run again asks for; nothing is started or downloaded.

    Args:
        path: a result.json or a run folder.
        overrides: `table.key=value`, above all the paths, of which a result keeps only the last part.

    Raises:
        UsageError: it is not one completed result, or a path is not given.
        MachineError: it can't run here.
    """
    from fluxkit.machine.system import probe

    files = find_results([path])
    if len(files) > 1:
        raise UsageError(f"{path} holds {len(files)} results; name the run folder of one of them.")
    file = files[0][0]
    original = settle_dead_run_on_disk(file)
    if original.status != "completed":
        raise UsageError(f"{file} is {original.status}; only a completed run can be held against another.")
    spec = _spec_of(original, overrides, str(file))
    (plan,) = plan_all([spec], to_run=False)
    here = environment_rows(this_kit(), plan, probe())
    there = environment_rows(original.kit, original.plan, original.system.before)
    variables = differing_variables(variables_of(original), recorded(engine_environment(spec, plan)))
    return Rerun(original, spec, _repeats(file, original), (*differing(there, here), *variables))


def run_again(
    rerun: Rerun,
    *,
    repeats: int = 1,
    out: Path | None = None,
    reporter: Reporter = SILENT,
) -> tuple[Verdict, Path]:
    """Runs it, and gives the verdict with the folder of the new study, which holds the verdict as `rerun.json`.

    Args:
        rerun: from `prepare`.
        repeats: how often; each with the original's seed.
        out: the study's folder; `runs/<time>-rerun-<name>` if None.
        reporter: is told how it goes.

    Raises:
        RunError: a run did not complete, so there is nothing to compare.
        StopRequestedError: told to stop.
        MachineError: it can't run here.
    """
    folder = out or DEFAULT_PARENT / dated_name(f"rerun-{rerun.spec.name}")
    outcome = run_study([rerun.spec], repeats=repeats, out=folder, same_seed=True, reporter=reporter)
    if outcome.stopped:
        raise StopRequestedError
    lost = next((result for result in outcome.results if result.status != "completed"), None)
    if lost:
        raise RunError(f"There is no verdict, because a run did not complete: {run_sentence(lost)}")
    verdict = judge(rerun.original, outcome.results, rerun.repeats)
    write_atomically(folder / VERDICT_FILE, to_json(verdict), below=folder)
    return verdict, folder


def announcement(rerun: Rerun, repeats: int) -> str:
    """What will be run, read and downloaded, and what already speaks against a verdict, as lines."""
    spec, tune = rerun.spec, rerun.spec.tune
    times = "Once" if repeats == 1 else f"{repeats} times"
    budget = f"{tune.seconds:g} s and {tune.iterations} iterations, at most {tune.max_seconds:g} s"
    lines = [f"{times} again: {spec.name} with seed {spec.seed} on {spec.execution.device}; tuning for {budget}."]
    for table, key in PATHS:
        if path := getattr(getattr(spec, table), key):
            lines.append(f"Reads {table}.{key} = {path}")
    if spec.model.repo:
        verb = "Downloads, unless it is here already," if spec.model.download else "Reads from the local hub cache"
        lines.append(f"{verb} {spec.model.repo} at {spec.model.revision}")
    if rerun.differences:
        rows = "; ".join(f"{row.row} was {row.original} and is {row.again}" for row in rerun.differences)
        lines.append(f"The verdict can only be 'not comparable', because of {rows}.")
    return printable("\n".join(lines))


def _spec_of(original: RunResult, overrides: Sequence[str], source: str) -> RunSpec:
    """The original's spec with its seed and with the paths given anew."""
    values = original.spec.model_dump(mode="json", by_alias=True) | {"seed": original.seed}
    overridden = {override.partition("=")[0].strip() for override in overrides}
    stored = {f"{table}.{key}": values[table][key] for table, key in PATHS if values[table][key] is not None}
    missing = {name: last for name, last in stored.items() if name not in overridden}
    if missing:
        names = " and ".join(f"{name} only as {last!r}" for name, last in missing.items())
        options = " ".join(f"--set {name}=PATH" for name in missing)
        raise UsageError(f"A result keeps the last part of a path, and this one {names}; say where it lies: {options}.")
    return override_spec(values, overrides, source)


def _repeats(file: Path, original: RunResult) -> tuple[RunResult, ...]:
    """Completed runs of the same configuration in the same study folder, the original among them."""
    study = file.parent.parent
    same: list[RunResult] = []
    if (study / STUDY_FILE).is_file():
        with suppress(UsageError):  # a damaged neighbour is no reason not to run the one that was named
            same = [result for _, result in find_results([study]) if _is_repeat(result, original)]
    return tuple(same) or (original,)


def _is_repeat(result: RunResult, original: RunResult) -> bool:
    """Whether it is of the same study and row; what it claims to have been made by proves nothing."""
    of_the_study = result.status == "completed" and result.study == original.study
    return of_the_study and len(configurations([original, result])) == 1
