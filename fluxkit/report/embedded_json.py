"""Comparison and results as JSON inside a page: nothing in it ends its element, and it never makes the page heavy."""

import hashlib
import operator
import re
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel

from fluxkit.compare.comparison import Comparison
from fluxkit.compare.published import Published
from fluxkit.errors import HARMFUL
from fluxkit.record.result import RunResult
from fluxkit.values import Frozen

MAX_CHARACTERS = 1_200_000
"""Of comparison and results as JSON; beyond it less of them is embedded, and the page says so."""
RAW: dict[str, Any] = {
    "tuning": {"iteration_seconds", "losses"},
    "quality": {"reconstruction", "validation", "anchors"},
    "inference": {"step_seconds"},
    "telemetry": {"__all__": {"series"}},
    "artifacts": True,
}
"""What is left out of a page that would be too heavy: series, and the list of the files that hold them."""
_ESCAPED = re.compile(f"[<>&]|{HARMFUL.pattern}")


WHOLE = "The comparison and all results, with their raw series, are inside this file as JSON."
WITHOUT_RAW = (
    "The comparison and all results are inside this file as JSON; the raw series (times, losses and scores one by one) "
    "are left out to keep the page light and stand in each run's result.json."
)
COMPARED = (
    "The comparison as shown here is inside this file as JSON; the results are left out to keep the page light and "
    "stand in each run's result.json, and fluxkit compare --format json prints the whole comparison."
)
NOTHING = (
    "The comparison and the results are left out to keep the page light: fluxkit compare --format json prints the "
    "whole comparison, and the results stand in each run's result.json."
)


class Embedded(Frozen):
    """Comparison and results as JSON that cannot end its own script element, and what of them is in it."""

    text: str
    words: str


def embedded(comparison: Comparison, results: Sequence[RunResult]) -> Embedded:
    """Comparison and results as JSON: as much of them as does not make the page heavy."""
    ordered = sorted(results, key=lambda result: (result.created, result.id))
    compared = _json(comparison)
    for words, without in ((WHOLE, None), (WITHOUT_RAW, RAW)):
        texts = _texts(ordered, without, MAX_CHARACTERS - len(compared))
        if texts is not None:
            return Embedded(text=f'{{"comparison":{compared},"results":[{",".join(texts)}]}}', words=words)
    if len(compared) <= MAX_CHARACTERS:
        return Embedded(text=f'{{"comparison":{compared},"results":[]}}', words=COMPARED)
    return Embedded(text='{"comparison":null,"results":[]}', words=NOTHING)


def _texts(results: Sequence[RunResult], without: Any, most_characters: int) -> list[str] | None:
    """Results as JSON; None where they would be longer, and no more than that is ever held."""
    texts = []
    for result in results:
        texts.append(_json(result, without))
        most_characters -= len(texts[-1])
        if most_characters < 0:
            return None
    return texts


def inputs_sha256(comparison: Comparison, results: Sequence[RunResult], published: Sequence[Published]) -> str:
    """Hash of what a page is made of, whatever the order: raw values, what is compared at which prices, and tables.

    It is that of all their JSON in order, one text a line. Results are put in order by how their text begins, with an
    id that no other has, so that a thousand of them are never held as text at once.
    """
    parts: list[tuple[str, BaseModel]] = [
        *((part.model_dump_json(by_alias=True), part) for part in (comparison, *published)),
        *((result.model_dump_json(by_alias=True, include={"schema_", "id"})[:-1], result) for result in results),
    ]
    digest = hashlib.sha256()
    for place, (_, part) in enumerate(sorted(parts, key=operator.itemgetter(0))):
        digest.update(b"\n" * (place > 0) + part.model_dump_json(by_alias=True).encode())
    return digest.hexdigest()


def _json(value: BaseModel, without: Any = None) -> str:
    return inside_script(value.model_dump_json(by_alias=True, exclude=without))


def inside_script(text: str) -> str:
    """JSON that can stand inside a script element: no character in it can begin a tag, a comment or an entity.

    Nor does one steer who reads the page's source. JSON has these characters in strings alone, where their escapes
    mean the same.
    """
    return _ESCAPED.sub(lambda character: f"\\u{ord(character[0]):04x}", text)
