"""The commands that put results side by side: compare and report."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from fluxkit.cli.options import (
    Format,
    NoPictures,
    Page,
    Published,
    Results,
    TargetPsnr,
    UsdPerHour,
    UsdPerKwh,
    WithResults,
    terminal_width,
)
from fluxkit.errors import ExitCode, UsageError, printable

if TYPE_CHECKING:
    from fluxkit.compare.reader_options import ReaderOptions


def compare(  # noqa: PLR0917 - each is an option of the command
    results: Results,
    form: Annotated[Format, typer.Option("--format", help="How to print it.")] = Format.table,
    usd_per_hour: UsdPerHour = None,
    usd_per_kwh: UsdPerKwh = None,
    target_psnr: TargetPsnr = None,
    everything: Annotated[bool, typer.Option("--all", help="Of the table: all numbers and all ratios.")] = False,
    per_run: Annotated[
        bool, typer.Option("--runs", help="Of CSV: a line for each run, not each configuration.")
    ] = False,
) -> None:
    """Compare results in the terminal, as Markdown, CSV or JSON.

    The answers, then the six numbers that they are about; with --all every number, ratio, interval and verdict.

    Results of different workloads are shown apart, never as a ratio, and end with exit code 5.

    Example: fluxkit compare runs/first --format markdown --usd-per-hour A100=1.8 --usd-per-kwh 0.3
    """
    from fluxkit.compare.compare import compare as compare_results
    from fluxkit.fold.outcome import folded_results
    from fluxkit.text.csv_export import runs_as_csv
    from fluxkit.text.text_table import render

    if per_run and form is not Format.csv:
        raise UsageError("--runs is a form of CSV; give --format csv with it.")
    given = _given(usd_per_hour, usd_per_kwh, target_psnr)
    unreadable: list[str] = []
    with _collector_off():
        sources = folded_results(results, unreadable=unreadable)
    _tell_unreadable(unreadable)
    comparison = compare_results([result for _, result in sources], given)
    if per_run:
        text = runs_as_csv(comparison, [result for _, result in sources])
    else:
        text = render(comparison, form.value, terminal_width(), everything=everything)
    typer.echo(text.rstrip("\n"))
    if not comparison.comparable:
        typer.echo("fluxkit: These results are not comparable: they do not ask for the same work.", err=True)
        raise typer.Exit(ExitCode.NOT_COMPARABLE)


def report(  # noqa: PLR0917 - each is an option of the command
    results: Results,
    output: Page,
    published: Published = None,
    with_results: WithResults = False,
    no_pictures: NoPictures = False,
    usd_per_hour: UsdPerHour = None,
    usd_per_kwh: UsdPerKwh = None,
    target_psnr: TargetPsnr = None,
) -> None:
    """Write the comparison of results as one self-contained HTML file.

    The page ends with what it holds of people's data: pictures, captions, labels.

    Example: fluxkit report laptop/ cluster/ -o comparison.html
    """
    from fluxkit.compare.published import load_published
    from fluxkit.fold.outcome import folded_results
    from fluxkit.record.run_folder import find_results
    from fluxkit.report.bundle import write_bundle
    from fluxkit.report.page import write_report

    if not output.absolute().parent.is_dir():
        raise UsageError(f"{output.parent} is no folder, so {output.name} can't be written there; make it first.")
    if os.path.lexists(output) and (output.is_symlink() or not output.is_file()):
        # It would be replaced: a device or a pipe by a file.
        what = "a link" if output.is_symlink() else "a folder" if output.is_dir() else "no regular file"
        raise UsageError(f"{output} is {what}, and a page is written to a file of its own: name one, as report.html.")
    tables = [load_published(name) for name in published or ()]
    unreadable: list[str] = []
    with _collector_off():
        sources = folded_results(results, with_manifest=with_results, unreadable=unreadable)
    _tell_unreadable(unreadable)
    if with_results:  # the page is made of the copies beside it
        sources = find_results(write_bundle(sources, output.parent / "results", pictures=not no_pictures))
    given = _given(usd_per_hour, usd_per_kwh, target_psnr)
    write_report(sources, output, tables, given, pictures=not no_pictures)
    typer.echo(printable(str(output)))


@contextmanager
def _collector_off() -> Iterator[None]:
    """Of a thousand results nothing is garbage: to look for it in their millions of values takes as long as reading."""
    import gc

    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        gc.enable()


def _tell_unreadable(sentences: list[str]) -> None:
    """One result that can't be read says nothing about the others."""
    for sentence in sentences:
        typer.echo(f"fluxkit: Set aside: {sentence}", err=True)


def _given(usd_per_hour: list[str] | None, usd_per_kwh: list[str] | None, target_psnr: float | None) -> ReaderOptions:
    """What the reader adds to the results."""
    from fluxkit.compare.reader_options import ReaderOptions, price_sheet, target_of

    return ReaderOptions(
        price_sheet(usd_per_hour or (), "--usd-per-hour"),
        price_sheet(usd_per_kwh or (), "--usd-per-kwh"),
        target_of(target_psnr, "--target-psnr"),
    )
