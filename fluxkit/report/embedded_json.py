"""Comparison and results as JSON inside a page: nothing in it ends its element, and it never makes the page heavy."""

import hashlib
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
"""Of all results as JSON; beyond it the raw series are left out, and the page says so."""
RAW: dict[str, Any] = {
    "tuning": {"iteration_seconds", "losses"},
    "quality": {"reconstruction", "validation", "anchors"},
    "inference": {"step_seconds"},
    "telemetry": {"__all__": {"series"}},
    "artifacts": True,
}
"""What is left out of a page that would be too heavy: series, and the list of the files that hold them."""
_ESCAPED = re.compile(f"[<>&]|{HARMFUL.pattern}")


class Embedded(Frozen):
    """The results as JSON that cannot end its own script element, and whether raw series are in it."""

    text: str
    whole: bool


def embedded(comparison: Comparison, results: Sequence[RunResult]) -> Embedded:
    """Comparison and results as JSON; without the raw series where they would make the page heavy."""
    ordered = sorted(results, key=lambda result: (result.created, result.id))
    compared = _json(comparison)
    texts, characters_left = [], MAX_CHARACTERS - len(compared)
    for result in ordered:
        texts.append(_json(result))
        characters_left -= len(texts[-1])
        if characters_left < 0:
            texts = [_json(result, RAW) for result in ordered]
            break
    text = f'{{"comparison":{compared},"results":[{",".join(texts)}]}}'
    return Embedded(text=text, whole=characters_left >= 0)


def inputs_sha256(comparison: Comparison, results: Sequence[RunResult], published: Sequence[Published]) -> str:
    """Hash of what a page is made of, whatever the order: raw values, what is compared at which prices, and tables."""
    texts = sorted(part.model_dump_json(by_alias=True) for part in (comparison, *results, *published))
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()


def _json(value: BaseModel, without: Any = None) -> str:
    return inside_script(value.model_dump_json(by_alias=True, exclude=without))


def inside_script(text: str) -> str:
    """JSON that can stand inside a script element: no character in it can begin a tag, a comment or an entity.

    Nor does one steer who reads the page's source. JSON has these characters in strings alone, where their escapes
    mean the same.
    """
    return _ESCAPED.sub(lambda character: f"\\u{ord(character[0]):04x}", text)
