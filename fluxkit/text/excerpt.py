"""The part of a comparison that a page or a terminal can show, with a sentence for all that it leaves out."""

import itertools
from collections.abc import Iterator, Sequence

from fluxkit.compare.comparison import Comparison, KeyDifference, Workload
from fluxkit.compare.ranking import ranked
from fluxkit.record.metrics import QUESTIONS
from fluxkit.units import counted

MOST_ROWS = 20
"""Configurations of all workloads together: of more, nobody reads a table that wide."""
MOST_ENDED = 50
"""Runs without a complete result that are told one by one."""
ALL_OF_IT = "fluxkit compare --format csv has every configuration"


def excerpt(comparison: Comparison) -> Comparison:
    """The comparison with its foremost rows alone; its warnings say how many others there are, and where to find them.

    One that is small enough is given back as it is. What was computed of all rows stays: the level that pairs share,
    who leads, and what is decided.
    """
    total = sum(len(workload.rows) for workload in comparison.workloads)
    if total <= MOST_ROWS and len(comparison.ended) <= MOST_ENDED:
        return comparison
    kept = _kept(comparison.workloads)
    workloads = tuple(_only(workload, kept) for workload in comparison.workloads if kept & _keys(workload))
    keys = {workload.key for workload in workloads}
    return comparison.model_copy(
        update={
            "workloads": workloads,
            "differences": tuple(_differences(comparison, keys)),
            "scaling": tuple(
                line for line in comparison.scaling if kept >= {line.several, line.single or line.several}
            ),
            "ended": comparison.ended[:MOST_ENDED],
            "warnings": (*_left_out(comparison, len(kept), len(workloads)), *comparison.warnings),
        }
    )


def _left_out(comparison: Comparison, rows: int, workloads: int) -> Iterator[str]:
    total = sum(len(workload.rows) for workload in comparison.workloads)
    if rows < total:
        which = "those that lead a question, then the next ones"
        if workloads < len(comparison.workloads):
            which += f", of {workloads} of {counted(len(comparison.workloads), 'workload')}"
        yield f"Shown are {rows} of {total:,} configurations: {which}. {ALL_OF_IT}."
    ended = len(comparison.ended)
    if ended > MOST_ENDED:
        yield (
            f"Shown are {MOST_ENDED} of {ended:,} runs without a complete result. "
            "fluxkit compare --format json has every one."
        )


def _keys(workload: Workload) -> set[str]:
    return {row.key for row in workload.rows}


def _kept(workloads: Sequence[Workload]) -> set[str]:
    """Keys of the rows to show: a row of each workload in turn, until there are enough."""
    turns = itertools.zip_longest(*map(_foremost, workloads))
    kept = (key for turn in turns for key in turn if key is not None)
    return set(itertools.islice(kept, MOST_ROWS))


def _foremost(workload: Workload) -> list[str]:
    """Keys of all rows: the leaders, then the best of each question in turn, then those that are in no order."""
    leaders = [judgement.leader for judgement in workload.judgements if judgement.leader]
    orders = [[row.key for row in ranked(workload, metric)] for metric in QUESTIONS]
    turns = [key for turn in itertools.zip_longest(*orders) for key in turn if key is not None]
    return list(dict.fromkeys([*leaders, *turns, *(row.key for row in workload.rows)]))


def _only(workload: Workload, kept: set[str]) -> Workload:
    """The workload with the kept rows, and what is known of two of them."""
    parts = {name: getattr(workload, name) for name in Workload.model_fields}
    parts["contrasts"] = tuple(line for line in workload.contrasts if kept >= {line.first, line.second})
    parts["rows"] = tuple(row for row in workload.rows if row.key in kept)
    # A copy would take along what its properties have looked up.
    return Workload.model_construct(**parts)


def _differences(comparison: Comparison, keys: set[str]) -> Iterator[KeyDifference]:
    """Keys in which the shown workloads differ."""
    for difference in comparison.differences:
        values = {key: value for key, value in difference.values.items() if key in keys}
        if len(set(values.values())) > 1:
            yield KeyDifference(key=difference.key, values=values)
