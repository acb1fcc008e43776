"""Whether this machine is fit to measure: a verdict on every reading, and what to do. Changes nothing."""

import json
import re
import sys
import textwrap
from collections.abc import Iterator, Sequence

from fluxkit.errors import printable
from fluxkit.machine.doctor_rules import GPU_ROWS, ROWS, Judged, Row, Verdict
from fluxkit.machine.provenance import Kit
from fluxkit.machine.readings import Reading
from fluxkit.machine.system import ENGINE_PACKAGES, System
from fluxkit.units import counted
from fluxkit.values import Frozen

STYLES: dict[Verdict, str] = {"fit": "green", "remark": "yellow", "doubt": "red", "unknown": "dim"}
WORST_FIRST: tuple[Verdict, ...] = ("doubt", "remark", "unknown", "fit")
INDENT = 9
MEANINGS = "Doubt: speeds are not reliable. Remark: know it. Unknown: this machine does not say."


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
        f"This machine {state}: {counted(count['doubt'], 'doubt')}, {counted(count['remark'], 'remark')}, "
        f"{count['unknown']} unknown, {count['fit']} fit."
    )


def plain_text(findings: Sequence[Finding], width: int = 80, *, everything: bool = False) -> str:
    """The conclusion, then one check after another, the doubts first, each with what to do; for people and logs.

    What is fit is counted alone, unless it is asked for.
    """
    shown = [finding for finding in _worst_first(findings) if everything or finding.verdict != "fit"]
    parts = [conclusion(findings), MEANINGS, "", *(_lines(finding, width, everything=everything) for finding in shown)]
    if not everything:
        parts += ["", "Every reading, and where it was read: fluxkit doctor --all"]
    return printable("\n".join(textwrap.fill(part, width) if part in parts[:2] else part for part in parts))


def _worst_first(findings: Sequence[Finding]) -> list[Finding]:
    return sorted(findings, key=lambda finding: WORST_FIRST.index(finding.verdict))


def _lines(finding: Finding, width: int, *, everything: bool) -> str:
    source = f" [{finding.source}]" if everything else ""
    lines = [_wrapped(f"{finding.verdict:<{INDENT}}{finding.check}: {_value(finding)}{source}", width)]
    lines += [_wrapped(f"{'':<{INDENT}}-> {finding.advice}", width)] if finding.advice else []
    return "\n".join(lines)


def _wrapped(text: str, width: int) -> str:
    return textwrap.fill(text, width, subsequent_indent=" " * INDENT, break_on_hyphens=False)


def show(findings: Sequence[Finding], width: int = 80, *, everything: bool = False) -> None:
    """The text on standard output, verdicts in colour on a terminal."""
    text = plain_text(findings, width, everything=everything)
    if not sys.stdout.isatty():
        sys.stdout.write(text + "\n")
        return
    from rich.console import Console
    from rich.text import Text

    coloured = Text(text)
    for verdict, style in STYLES.items():
        coloured.highlight_regex(rf"(?m)^{verdict}\b", style)
    Console(highlight=False).print(coloured, soft_wrap=True)


def _value(finding: Finding) -> str:
    if finding.value is not None:
        return finding.value
    return f"{'none' if finding.verdict == 'fit' else 'unavailable'}: {finding.unavailable}"
