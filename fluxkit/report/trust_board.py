"""Whether the numbers of a page can be believed, at a glance: the board of checks, and where runs were interrupted."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING, get_args

from pydantic import BaseModel

from fluxkit.record.metrics import METRICS, Subject
from fluxkit.record.result import Grade
from fluxkit.report.environment_diff import clean
from fluxkit.text.number_format import plain
from fluxkit.trust.estimate import worst
from fluxkit.values import FROZEN

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from fluxkit.compare.comparison import Remark, Row, Workload
    from fluxkit.record.result import RunResult

BOARD: tuple[Subject, ...] = get_args(Subject)
PERCENT = re.compile(r"[+-]?\d+(?:\.\d+)?%")


class Square(BaseModel):
    """One subject of one configuration: its grade and what spoils it."""

    model_config = FROZEN
    grade: Grade | None
    """Worst of the findings, A where there are none, as beside the numbers; null where there is nothing to grade."""
    words: tuple[str, ...]
    """Checks below A, with the number of runs they concern."""
    reason: str = ""
    """Why there is nothing to grade."""


class Found(BaseModel):
    """What a check found in a configuration, over its runs."""

    model_config = FROZEN
    name: str
    grade: Grade
    subject: str
    words: str
    each: tuple[str, ...]
    """What was seen in each run, where the runs differ."""
    repeats: str


class Stopped(BaseModel):
    """A completed run that was interrupted on its way."""

    model_config = FROZEN
    name: str
    repeat: int
    words: str


def board(workload: Workload) -> tuple[tuple[Row, tuple[Square, ...]], ...]:
    """A line per configuration, a square per subject: of the findings that the numbers' own grades come from."""
    return tuple((row, tuple(_square(row, subject) for subject in BOARD)) for row in workload.rows if row.runs)


def _square(row: Row, subject: Subject) -> Square:
    completed = set(row.runs)
    found = [each for each in row.remarks if each.subject == subject and completed.intersection(each.runs)]
    spoilt: dict[str, set[str]] = defaultdict(set)
    for remark in found:
        spoilt[clean(remark.id).replace("_", " ")].update(completed.intersection(remark.runs))
    # What the grade is about: where none of these numbers is known there is nothing to grade.
    graded = [metric for metric in METRICS if metric.subject == subject and metric.role != "descriptive"]
    numbers = [row.estimate(metric.key) for metric in graded]
    if numbers and not spoilt and all(number.mean is None for number in numbers):
        return Square(grade=None, words=(), reason=numbers[0].reason or "not measured")
    return Square(
        grade=worst(("A", *(remark.grade for remark in found))),
        words=tuple(f"{name}: {_of_runs(len(ids), len(row.runs))}" for name, ids in sorted(spoilt.items())),
    )


def _of_runs(count: int, total: int) -> str:
    return "the only run" if total == 1 else f"{count} of {total} runs"


def findings(workload: Workload, runs: Mapping[str, RunResult]) -> tuple[Found, ...]:
    """Checks that found something, worst first in each configuration: a line for each, however many runs it has."""
    return tuple(_found(row, group, runs) for row in workload.rows for group in _groups(row.remarks))


def _groups(remarks: Iterable[Remark]) -> list[list[Remark]]:
    found: dict[tuple[str, str, Grade], list[Remark]] = defaultdict(list)
    for remark in remarks:
        found[remark.id, remark.subject, remark.grade].append(remark)
    return list(found.values())


def _found(row: Row, group: Sequence[Remark], runs: Mapping[str, RunResult]) -> Found:
    first = group[0]
    affected = sorted({id_ for remark in group for id_ in remark.runs}, key=lambda id_: _repeat(id_, runs))
    each = [
        f"repeat {_repeat(id_, runs)}: {remark.evidence}" for id_ in affected for remark in group if id_ in remark.runs
    ]
    most = max(group, key=lambda remark: _largest_percent(remark.evidence))
    many = f"In {_of_runs(len(affected), len({*row.runs, *affected}))}; the most: {most.evidence}"
    return Found(
        name=row.name,
        grade=first.grade,
        subject=first.subject,
        words=first.evidence if len(group) == 1 else many,
        each=() if len(group) == 1 else tuple(each),
        repeats=", ".join(dict.fromkeys(str(_repeat(id_, runs)) for id_ in affected)),
    )


def _largest_percent(evidence: str) -> float:
    return max((abs(float(share[:-1])) for share in PERCENT.findall(evidence)), default=0.0)


def _repeat(id_: str, runs: Mapping[str, RunResult]) -> int:
    return runs[id_].repeat if id_ in runs else 0


def stopped(workload: Workload, runs: Mapping[str, RunResult]) -> tuple[Stopped, ...]:
    """Completed runs of a workload that were interrupted and went on from a checkpoint."""
    return tuple(
        Stopped(
            name=row.name,
            repeat=run.repeat,
            words="; ".join(
                f"stopped at {plain(each.at_seconds)} s, went on from {plain(each.resumed_seconds)} s"
                for each in run.interruptions
            ),
        )
        for row in workload.rows
        for run in (runs[id_] for id_ in row.runs if id_ in runs)
        if run.interruptions
    )
