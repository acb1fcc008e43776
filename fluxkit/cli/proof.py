"""Commands that put things to the proof: this installation, and somebody's result."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from fluxkit.cli.options import Json, Out, Quiet, Results, Sets
from fluxkit.errors import ExitCode, UsageError, printable


def selftest(as_json: Json = False) -> None:
    """Try every part of this installation once, in seconds.

    Metrics, a tiny run, its agreement with a reference, its report.
    Nothing is left behind. A step that fails is named, and the exit code is 4.

    Example: fluxkit selftest
    """
    from fluxkit.cli.selftest import run_selftest, step_line

    steps = run_selftest(lambda step: None if as_json else typer.echo(step_line(step)))
    if as_json:
        typer.echo(json.dumps([step.model_dump(mode="json") for step in steps], indent=1))
    if not all(step.passed for step in steps):
        raise typer.Exit(ExitCode.RUN_FAILED)


def rerun(  # noqa: PLR0917 - each is an option of the command
    result: Annotated[Path, typer.Argument(metavar="RESULT", help="A result.json or a run folder.")],
    repeats: Annotated[int, typer.Option(min=1, max=1000, help="Runs, each with the original's seed.")] = 1,
    sets: Sets = None,
    out: Out = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before running.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Run a result again: reproduced, drifted, or not to be told?

    A result keeps only the last part of a path, so paths are given again with --set. What will be run, read and
    downloaded is shown first. A verdict other than reproduced ends with exit code 5.

    Example: fluxkit rerun runs/first/00-nano-laptop-cpu-r0
    """
    from fluxkit.run.progress import reporter
    from fluxkit.run.rerun import announcement, prepare, run_again
    from fluxkit.run.rerun_verdict import verdict_lines

    prepared = prepare(result, sets or ())
    if not (quiet and yes):
        typer.echo(announcement(prepared, repeats), err=True)
    if not (yes or _confirmed("Go on?")):
        raise UsageError("Nothing was run. Answer y, or give --yes.")
    verdict, folder = run_again(prepared, repeats=repeats, out=out, reporter=reporter(quiet=quiet))
    if as_json:
        typer.echo(json.dumps({"study": str(folder), **verdict.model_dump(mode="json", by_alias=True)}, indent=1))
    else:
        typer.echo(verdict_lines(verdict))
    if verdict.verdict != "reproduced":
        raise typer.Exit(ExitCode.NOT_COMPARABLE)


def verify(results: Results, as_json: Json = False) -> None:
    """Check results against their hash, their files, events, plan and spec.

    Numbers, checks, grades and status are derived once more. Anything that does not hold is named; exit code 5.

    Hashes find accidents, and edits that do not fit the rest. Whoever rewrites all of a folder to fit, or the fields
    that nothing else tells (id, study, repeat, order, created, system, attempts, telemetry, energy), is found by a
    signature alone. A result holds the hashes of its files, so to sign it is to sign them all:

    \b
    ssh-keygen -Y sign -f ~/.ssh/id_ed25519 -n fluxkit result.json
    ssh-keygen -Y verify -f allowed_signers -I NAME -n fluxkit -s result.json.sig < result.json

    Example: fluxkit verify runs/first
    """  # noqa: D301 - a backspace, which keeps the lines below it as they are
    from fluxkit.fold.verify import verify_all

    verdicts = verify_all(results)
    if as_json:
        typer.echo(json.dumps({str(verdict.file): verdict.problems for verdict in verdicts}, indent=1))
    for verdict in () if as_json else verdicts:
        file = printable(str(verdict.file))
        typer.echo(f"{file}: {'; '.join(verdict.problems) or 'verified'}")
        for note in verdict.notes:
            typer.echo(f"fluxkit: {file}: {note}.", err=True)
    if any(verdict.problems for verdict in verdicts):
        raise typer.Exit(ExitCode.NOT_COMPARABLE)


def _confirmed(question: str) -> bool:
    """Typer's own question would put a part of its prompt on standard output, which is for data."""
    typer.echo(f"{question} [y/N] ", err=True, nl=False)
    return sys.stdin.readline().strip().lower() in {"y", "yes"}
