"""The command line: parse, call one function, print, map errors to exit codes."""

from __future__ import annotations

import json
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from fluxkit.cli import compare_command, machine, proof
from fluxkit.cli.options import Json, Out, Quiet, Schema, Sets, Specs, Unfinished, terminal_width
from fluxkit.errors import ExitCode, FluxkitError, MachineError, printable
from fluxkit.machine.stop_requests import StopRequestedError, stop_requests

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fluxkit.run.study import Outcome
    from fluxkit.spec.run_spec import RunSpec

app = typer.Typer(
    help="What does tuning FLUX.1-schnell cost and give on this hardware, compared with that hardware?\n\n"
    "Start with: fluxkit demo",
    epilog="Exit codes: 0 done; 2 wrong usage or spec; 3 this machine refuses; 4 a run failed; 5 not comparable, "
    "drifted or not verified; 75 told to stop, run again to continue; 130 interrupted by hand.",
    # Rich help would cost more than the rest of the command together.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(value: bool) -> None:
    if value:
        from fluxkit.machine.provenance import this_kit, version_line
        from fluxkit.machine.system import probe

        system = probe()
        torch = f"torch {system.packages['torch']}" if "torch" in system.packages else "no torch"
        # GPUs come after the processor; a machine that has any is known by them.
        devices = dict.fromkeys(device.name for device in system.devices_of("cuda") or system.devices)
        typer.echo(printable(", ".join([version_line(this_kit()), torch, *devices])))
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print version, torch and device, and leave."),
    ] = False,
) -> None:
    del version
    if sys.platform == "win32":
        raise MachineError(
            "fluxkit runs on Linux and macOS, not on Windows itself; install it inside WSL 2, or use its Docker image."
        )
    if not __doc__:
        raise MachineError(
            "Python runs with -OO or PYTHONOPTIMIZE=2, which takes away texts that fluxkit prints and its packages "
            "need; start it without."
        )


@app.command()
def demo(out: Out = None, sets: Sets = None, quiet: Quiet = False) -> None:
    """Run the laptop study end to end, offline, and write its report.

    Two configurations of the small FLUX that ships with fluxkit are tuned on real photographs, in FP32 and in BF16.
    It takes about five minutes on two quiet cores, and names the HTML file at its end.
    """
    from fluxkit.cli.demo import run_demo
    from fluxkit.run.progress import reporter

    outcome, page = run_demo(out=out, overrides=sets or (), reporter=reporter(quiet=quiet))
    if outcome.stopped:
        _leave(outcome)
    if not quiet:
        _tell(f"The report is {page}.")
    typer.echo(printable(str(page)))
    _leave(outcome)


@app.command()
def run(  # noqa: PLR0917 - each is an option of the command
    specs: Specs,
    repeats: Annotated[
        int | None, typer.Option(min=1, max=1000, help="Runs of each spec (1); repeat r uses seed + r.")
    ] = None,
    until_decided: Annotated[
        bool,
        typer.Option(
            "--until-decided", help="Repeat until it is decided which is best; looked at after 3, 5, 7 and 10."
        ),
    ] = False,
    max_repeats: Annotated[
        int | None, typer.Option(min=3, max=10, help="With --until-decided: runs of each spec at most (10).")
    ] = None,
    max_hours: Annotated[
        float | None, typer.Option(min=0.0, help="With --until-decided: stop before a look that would take longer.")
    ] = None,
    sets: Sets = None,
    out: Out = None,
    resuming: Annotated[
        bool, typer.Option("--resume", help="Finish a study that was begun: in --out, or the newest of these specs.")
    ] = False,
    same_seed: Annotated[
        bool, typer.Option("--same-seed", help="Every repeat uses the same seed, to see if a run reproduces itself.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and the order; run nothing.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Run presets or spec files, each repeat in a fresh process.

    With --until-decided a study ends as soon as it is known which spec is best, or that they are equal, in quality,
    training speed and inference speed; each look says what is decided and what the next one costs.

    The study's folder is printed. Configurations are interleaved in a seeded random order, so that a drift of the
    machine does not look like a difference. A failed run does not stop the others. With --resume, completed runs are
    kept, interrupted ones continue from their checkpoint, and failed ones are run again.

    Told to stop (SIGTERM, SIGUSR1, SIGHUP, ...), it ends the micro-batch it is in, writes a checkpoint and leaves with
    75. Slurm waits 30 s by itself and docker stop 10: enough for nano; where it is not, the plan says what is.

    Example: fluxkit run nano-laptop-cpu nano-laptop-cpu-bf16 --until-decided --max-hours 2
    """
    from fluxkit.cli.deciding import until_decided as looking
    from fluxkit.run.progress import reporter
    from fluxkit.run.study import run_study
    from fluxkit.spec.toml import load_spec

    loaded = [load_spec(spec, sets or ()) for spec in specs]
    until = looking(until_decided, len(loaded), repeats, max_repeats, max_hours, same_seed=same_seed)
    if dry_run:
        _dry_run(loaded, until.looks if until else (repeats or 1,), out, same_seed=same_seed)
        return
    outcome = run_study(
        loaded, repeats=repeats or 1, out=out, resuming=resuming, same_seed=same_seed, until=until,
        reporter=reporter(quiet=quiet),
    )  # fmt: skip
    _end(outcome, as_json=as_json, quiet=quiet)


@app.command()
def resume(folder: Unfinished, as_json: Json = False, quiet: Quiet = False) -> None:
    """Continue what did not complete: a whole study, or one run from its last checkpoint.

    Of a study, completed runs are kept, interrupted ones continue, and failed ones are run again.

    Example: fluxkit resume runs/first
    """
    from fluxkit.cli.deciding import look_at
    from fluxkit.record.study import STUDY_FILE
    from fluxkit.run.progress import reporter, run_sentence
    from fluxkit.run.study import Outcome, resume_study

    teller = reporter(quiet=quiet)
    if (folder / STUDY_FILE).is_file():
        outcome = resume_study(folder, look_at, reporter=teller)
    else:
        from fluxkit.run.launch import resume as continue_run

        result = continue_run(folder, reporter=teller)
        teller.say(run_sentence(result))
        outcome = Outcome(folder, (result,), stopped=result.status == "interrupted")
    _end(outcome, as_json=as_json, quiet=quiet)


# In the order of the help.
for subcommand in (
    machine.plan,
    machine.doctor,
    machine.join,
    compare_command.compare,
    compare_command.report,
    proof.verify,
    proof.rerun,
    proof.selftest,
):
    app.command()(subcommand)


@app.command()
def presets(name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Print this one.")] = None) -> None:
    """List the presets, a line each, or print one to start a spec of your own.

    Example: fluxkit presets nano-laptop-cpu > mine.toml
    """
    from fluxkit.spec.toml import preset_list, preset_text

    typer.echo(preset_text(name).rstrip("\n") if name else "\n".join(preset_list(terminal_width())))


@app.command()
def cache(clear: Annotated[bool, typer.Option("--clear", help="Remove everything in it.")] = False) -> None:
    """Say where encoded images and captions are kept, or clear them.

    Entries are named by the hash of all they depend on, so none is ever stale. FLUXKIT_CACHE moves the folder.
    """
    from fluxkit.files.cache import cache_folder, cache_size, clear_cache
    from fluxkit.units import counted

    size = clear_cache() if clear else cache_size()
    verb = "held" if clear else "holds"
    typer.echo(f"{cache_folder()} {verb} {counted(size.files, 'file')}, {size.bytes / 1e6:.1f} MB.")


@app.command()
def schema(which: Annotated[Schema, typer.Argument(metavar="spec|result", help="Of which file.")]) -> None:
    """Print the JSON Schema of a run spec or of a result.

    Example: fluxkit schema result > result.schema.json
    """
    from fluxkit.record.json_schema import json_schema

    typer.echo(json.dumps(json_schema(which.value), indent=1, sort_keys=True))


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """The command `fluxkit`: never a traceback for a user's mistake, nothing at all for a closed pipe.

    A request to stop is one for the whole command, whenever it comes.
    """
    with stop_requests() as stop:
        try:
            with stop.at_once():
                stop.check()
                code = _exit_code(arguments)
                stop.ignore()
            if code != ExitCode.CHECKPOINTED:
                stop.check()
        except StopRequestedError:
            stop.ignore()
            _tell(f"Stopped by {stop.name}; nothing is left half done. Give the same command again.")
            code = ExitCode.CHECKPOINTED
        except KeyboardInterrupt:
            stop.ignore()
            code = ExitCode.INTERRUPTED
        _flush()
        sys.exit(code)


def _exit_code(arguments: Sequence[str] | None) -> int | str | None:
    """Runs the command; what a user can cause is one sentence."""
    from fluxkit.machine.environment import settle_home, to_unset

    settle_home()
    try:
        app(args=arguments)
    except SystemExit as leaving:
        return leaving.code
    except FluxkitError as error:
        _tell(str(error))
        return error.exit_code
    except ImportError as error:
        variables = to_unset(str(error))
        if not variables:
            raise
        _tell(f"A package can't be imported: {error}. It may come of the environment: unset {', '.join(variables)}.")
        return ExitCode.MACHINE
    except OSError as error:  # a full disk, a folder made immutable: of this machine, and no fault of fluxkit's
        where = error.filename or "Standard output or a file"
        _tell(printable(f"{where} can't be used: {error.strerror or error}. Mend that, or name another place."))
        return ExitCode.MACHINE
    return ExitCode.DONE


def _flush() -> None:
    try:
        sys.stdout.flush()
    except BrokenPipeError:  # the reader has seen enough; Python would complain at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _dry_run(specs: Sequence[RunSpec], looks: tuple[int, ...], out: Path | None, *, same_seed: bool) -> None:
    from fluxkit.dataset.preview import preview
    from fluxkit.plan.plan_table import plan_table, total_line
    from fluxkit.run.study import DEFAULT_PARENT, arrange, plan_all

    plans = plan_all(specs, to_run=False, folder=out or DEFAULT_PARENT)
    typer.echo(plan_table(specs, plans, terminal_width()))
    for spec in specs:
        if spec.data.source == "folder":
            typer.echo(f"\nData of {spec.name}:\n{preview(spec.data)}")
    typer.echo(f"\n{arrange(specs, looks, same_seed=same_seed).order_lines()}")
    typer.echo(f"\n{total_line(specs, plans, looks, terminal_width())}")


def _tell(sentence: str) -> None:
    typer.echo(f"fluxkit: {sentence}", err=True)


def _end(outcome: Outcome, *, as_json: bool, quiet: bool) -> None:
    """Says where the results are and what to do with them, and leaves with the exit code that fits."""
    folder = str(outcome.folder)
    typer.echo(outcome.to_json() if as_json else printable(folder))
    if not (quiet or outcome.stopped) and any(result.status == "completed" for result in outcome.results):
        typer.echo(printable(f"Next: fluxkit report {shlex.quote(folder)} -o report.html"), err=True)
    _leave(outcome)


def _leave(outcome: Outcome) -> None:
    """Ends with the exit code that fits how the runs ended."""
    if outcome.stopped:
        raise typer.Exit(ExitCode.CHECKPOINTED)
    if any(result.status == "failed" for result in outcome.results):
        raise typer.Exit(ExitCode.RUN_FAILED)
