"""What a check finds about a number: which number, how much it is to be believed, and what was seen."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from fluxkit.record.facts import TimedPhase
from fluxkit.record.result import Grade

SPEED_SUBJECTS: dict[TimedPhase, str] = {"tune": "training_speed", "inference": "inference_speed"}
"""The speed that a timed phase measures."""
SPEEDS = tuple(SPEED_SUBJECTS.values())


class Finding(NamedTuple):
    """A `Check` of a result before it has its id, which is the name of the function that found it."""

    subject: str
    grade: Grade
    evidence: str


def about(subjects: Iterable[str], grade: Grade, evidence: str) -> Iterator[Finding]:
    """The same finding about several numbers."""
    return (Finding(subject, grade, evidence) for subject in subjects)
