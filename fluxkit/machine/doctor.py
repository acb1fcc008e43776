"""Whether this machine is fit to measure: a verdict on every reading, and what to do. Changes nothing."""

import json
import re
import sys
from collections.abc import Iterator, Sequence

from fluxkit.errors import printable
from fluxkit.machine.doctor_rules import GPU_ROWS, ROWS, Judged, Row, Verdict
from fluxkit.machine.provenance import Kit
from fluxkit.machine.readings import Reading
from fluxkit.machine.system import ENGINE_PACKAGES, System
from fluxkit.units import counted
from fluxkit.values import Frozen

STYLES: dict[Verdict, str] = {"fit": "green", "remark": "yellow", "doubt": "red", "unknown": "dim"}
MEANINGS = "fit: nothing to do; remark: know it; doubt: speeds are not reliable; unknown: this machine does not say"


class Finding(Frozen):
    """One check."""

    check: str
    value: str | None = None
    """What was read, with its unit; null where it could not be."""
    unavailable: str | None = None
    """Why there is no value."""
    source: str
    verdict: Verdict
    advice: str = ""
    """What to do; empty where there is nothing."""


def examine(system: System, kit: Kit | None = None) -> tuple[Finding, ...]:
    """All checks of a machine, in the order of a reader's interest; `kit` is the fluxkit that would measure."""
    findings = [_finding(row, row.reading, system) for row in ROWS]
    count = sum(re.fullmatch(r"gpu_\d+_uuid", name) is not None for name in system.readings)
    for index in range(count):
        findings += [_finding(row, f"gpu_{index}_{row.reading}", system, f"GPU {index} ") for row in GPU_ROWS]
    return (*findings, *_about_software(system, kit))


def _finding(row: Row, name: str, system: System, prefix: str = "") -> Finding:
    """One reading judged. None is fit where that means that nothing is limited, and unknown elsewhere."""
    reading = system.readings.get(name) or Reading(value=None, source="—", unavailable="it was not read")
    if reading.value is None:
        verdict: Verdict = "fit" if reading.unavailable in row.fit_if_absent else "unknown"
        value, judged = None, Judged(verdict)
    else:
        value, judged = row.words(reading.value), row.judge(reading.value, system, name)
    return Finding(
        check=f"{prefix}{row.check}",
        value=value,
        unavailable=reading.unavailable,
        source=reading.source,
        verdict=judged.verdict,
        advice=judged.advice,
    )


def _about_software(system: System, kit: Kit | None) -> Iterator[Finding]:
    """What measures. A missing package is the one thing that stops every run."""
    # A machine has no precision of its own; what overrides torch's switches from outside has rows of its own.
    yield Finding(
        check="precision switches",
        value="each run sets them as its spec asks, reads them back and is graded X if they differ",
        source="fluxkit's engine; overrides: the environment, in the two rows about it",
        verdict="fit",
    )
    image = kit.image if kit else None
    yield Finding(
        check="container image",
        value=image,
        unavailable=None if image else "fluxkit was not started from an image that names itself",
        source="fluxkit",
        verdict="fit" if image else "unknown",
    )
    if kit:  # what was changed since its commit can be measured with, but not named
        commit = f", commit {kit.commit[:12]}" if kit.commit else ""
        yield Finding(
            check="fluxkit",
            value=f"{kit.version}{commit}{', changed since' if kit.dirty else ''}",
            source="the package, and git or the image's build",
            verdict="remark" if kit.dirty else "fit",
            advice="commit what was changed before results are shown to others" if kit.dirty else "",
        )
    missing = [name for name in ENGINE_PACKAGES if name not in system.packages]
    versions = ", ".join(f"{name} {system.packages[name]}" for name in ENGINE_PACKAGES if name in system.packages)
    yield Finding(
        check="engine packages",
        value=versions or None,
        unavailable=None if versions else "none is installed",
        source="importlib.metadata",
        verdict="doubt" if missing else "fit",
        advice=f"{', '.join(missing)} missing; run: pip install 'fluxkit[engine]'" if missing else "",
    )


def tally(findings: Sequence[Finding]) -> dict[Verdict, int]:
    """How many findings of each verdict."""
    verdicts = [finding.verdict for finding in findings]
    return {verdict: verdicts.count(verdict) for verdict in STYLES}


def examine_json(findings: Sequence[Finding]) -> str:
    """The findings as JSON for scripts."""
    values = [finding.model_dump(mode="json") for finding in findings]
    return json.dumps({"findings": values, "verdicts": tally(findings)}, indent=1)


def conclusion(findings: Sequence[Finding]) -> str:
    """What it comes to, in a sentence."""
    count = tally(findings)
    state = "is not fit to measure as it is" if count["doubt"] else "is fit to measure"
    return (
        f"This machine {state}: {count['fit']} fit, {counted(count['remark'], 'remark')}, "
        f"{counted(count['doubt'], 'doubt')}, {count['unknown']} unknown ({MEANINGS})."
    )


def plain_text(findings: Sequence[Finding]) -> str:
    """One line a check, for logs and pipes; what to do stands below it."""
    width = max(len(finding.check) for finding in findings)
    lines = []
    for finding in findings:
        lines.append(f"{finding.verdict:<8} {finding.check:<{width}}  {_value(finding)}  [{finding.source}]")
        lines += [f"{'':<8} {'':<{width}}  -> {finding.advice}"] if finding.advice else []
    return printable("\n".join([*lines, "", conclusion(findings)]))


def show(findings: Sequence[Finding]) -> None:
    """A table on a terminal, plain lines elsewhere."""
    if not sys.stdout.isatty():
        sys.stdout.write(plain_text(findings) + "\n")
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("verdict", "check", "value", "what to do", "source", box=None, pad_edge=False, header_style="bold")
    for finding in findings:
        cells = [Text(printable(cell)) for cell in (finding.check, _value(finding), finding.advice)]
        verdict, source = Text(finding.verdict, style=STYLES[finding.verdict]), Text(printable(finding.source), "dim")
        table.add_row(verdict, *cells, source)
    console = Console(highlight=False)
    console.print(table)
    console.print(Text(f"\n{conclusion(findings)}"))


def _value(finding: Finding) -> str:
    if finding.value is not None:
        return finding.value
    return f"{'none' if finding.verdict == 'fit' else 'unavailable'}: {finding.unavailable}"
