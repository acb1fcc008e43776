"""Reliability at a glance: the grades of each configuration, and what each check found."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import get_args

from fluxkit.compare.comparison import Remark, Row, Workload
from fluxkit.record.metrics import METRICS, Subject
from fluxkit.record.result import Grade, RunResult
from fluxkit.trust.estimate import worst
from fluxkit.trust.run_checks import title_of_check
from fluxkit.values import Frozen

BOARD: tuple[Subject, ...] = get_args(Subject)
MOST_RUNS = 20
"""Of a finding that are told one by one."""
PERCENT = re.compile(r"[+-]?\d+(?:\.\d+)?%")


class Square(Frozen):
    """One subject of one configuration: its grade and what lowered it."""

    grade: Grade | None
    """Worst of the findings, A where there are none, as beside the numbers; null where there is nothing to grade."""
    words: tuple[str, ...]
    """Checks below A, with the number of runs they concern."""
    reason: str = ""
    """Why there is nothing to grade."""


class Finding(Frozen):
    """What a check found in a configuration, over its runs."""

    name: str
    number: int
    """Of its configuration."""
    grade: Grade
    subject: str
    words: str
    by_run: tuple[str, ...]
    """What was seen in each run, where the runs differ."""
    repeats: str


def board(workload: Workload) -> tuple[tuple[Row, tuple[Square, ...]], ...]:
    """A line per configuration, a square per subject: of the findings that the numbers' own grades come from."""
    return tuple((row, tuple(_square(row, subject) for subject in BOARD)) for row in workload.rows if row.runs)


def _square(row: Row, subject: Subject) -> Square:
    completed = set(row.runs)
    remarks = [remark for remark in row.remarks if remark.subject == subject and completed.intersection(remark.runs)]
    lowered: dict[str, set[str]] = defaultdict(set)
    for remark in remarks:
        lowered[title_of_check(remark.id)].update(completed.intersection(remark.runs))
    # What the grade is about: where none of these numbers is known there is nothing to grade.
    graded = [metric for metric in METRICS if metric.subject == subject and metric.role != "descriptive"]
    numbers = [row.estimate(metric.key) for metric in graded]
    if numbers and not lowered and all(number.mean is None for number in numbers):
        return Square(grade=None, words=(), reason=numbers[0].reason or "not measured")
    return Square(
        grade=worst(("A", *(remark.grade for remark in remarks))),
        words=tuple(f"{name}: {_of_runs(len(ids), len(row.runs))}" for name, ids in sorted(lowered.items())),
    )


def _of_runs(count: int, total: int) -> str:
    return "the only run" if total == 1 else f"{count} of {total} runs"


def findings(workload: Workload, runs: Mapping[str, RunResult]) -> tuple[Finding, ...]:
    """Checks that found something, worst first in each configuration: a line for each, however many runs it has."""
    lines = []
    for row in workload.rows:
        groups: dict[tuple[str, str, Grade], list[Remark]] = defaultdict(list)
        for remark in row.remarks:
            groups[remark.id, remark.subject, remark.grade].append(remark)
        lines += [_finding(row, group, runs) for group in groups.values()]
    return tuple(lines)


def _finding(row: Row, group: Sequence[Remark], runs: Mapping[str, RunResult]) -> Finding:
    """One line for the remarks of one check about one subject with one grade."""
    first = group[0]
    repeats = {id_: runs[id_].repeat if id_ in runs else 0 for remark in group for id_ in remark.runs}
    affected = sorted(repeats, key=lambda id_: repeats[id_])
    words, by_run = first.evidence, []
    if len(group) > 1:
        most = max(group, key=lambda remark: _largest_percent(remark.evidence))
        words = f"In {_of_runs(len(affected), len({*row.runs, *affected}))}; the most: {most.evidence}"
        by_run = [
            f"repeat {repeats[id_]}: {remark.evidence}" for id_ in affected for remark in group if id_ in remark.runs
        ]
        by_run[MOST_RUNS:] = [f"and {len(by_run) - MOST_RUNS} more"] if len(by_run) > MOST_RUNS else []
    return Finding(
        name=row.name,
        number=row.number,
        grade=first.grade,
        subject=first.subject,
        words=words,
        by_run=tuple(by_run),
        repeats=", ".join(dict.fromkeys(str(repeats[id_]) for id_ in affected)),
    )


def _largest_percent(evidence: str) -> float:
    return max((abs(float(share[:-1])) for share in PERCENT.findall(evidence)), default=0.0)
