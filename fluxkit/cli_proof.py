"""Commands that put things to the proof: this installation, and somebody's result."""

from __future__ import annotations

import json

import typer

from fluxkit.cli_options import Json  # noqa: TC001 - typer reads it at run time


def selftest(as_json: Json = False) -> None:
    """Check in seconds that everything works here: metrics, a tiny run, agreement with a reference, its report.

    Nothing is left behind. A step that fails is named, and the exit code is 4.

    Example: fluxkit selftest
    """
    from fluxkit.errors import ExitCode
    from fluxkit.selftest import run_selftest
    from fluxkit.words import step_line

    steps = run_selftest(lambda step: None if as_json else typer.echo(step_line(step)))
    if as_json:
        typer.echo(json.dumps([step.model_dump(mode="json") for step in steps], indent=1))
    if not all(step.passed for step in steps):
        raise typer.Exit(ExitCode.RUN_FAILED)
