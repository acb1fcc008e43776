"""The laptop study, end to end and offline: two configurations, tuned and compared in one HTML report."""

from collections.abc import Sequence
from pathlib import Path

from fluxkit.run.progress import SILENT, Reporter
from fluxkit.run.study import DEFAULT_PARENT, Outcome, dated_name, run_study
from fluxkit.spec.toml import load_spec

PRESETS = ("nano-laptop-cpu", "nano-laptop-cpu-bf16")
OVERRIDES = ("tune.seconds=50.0", "tune.iterations=400")
"""Two runs with all their phases within five minutes of two quiet cores."""
REPORT_FILE = "report.html"


def run_demo(
    *, out: Path | None = None, overrides: Sequence[str] = (), reporter: Reporter = SILENT
) -> tuple[Outcome, Path]:
    """Runs the study and writes its report, whatever became of the runs, unless it was told to stop.

    Args:
        out: the study's folder; `runs/<time>-demo` if None.
        overrides: `table.key=value`, for both configurations, after the demo's own.
        reporter: is told how it goes.
    """
    from fluxkit.fold.outcome import folded_results
    from fluxkit.report.page import write_report

    specs = [load_spec(name, [*OVERRIDES, *overrides]) for name in PRESETS]
    folder = out or DEFAULT_PARENT / dated_name("demo")
    outcome = run_study(specs, out=folder, reporter=reporter)
    page = outcome.folder / REPORT_FILE
    if not outcome.stopped:
        write_report(folded_results([outcome.folder]), page)
    return outcome, page
