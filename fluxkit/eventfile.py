"""The events file of one rank: where it lies, and how its lines are read again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field, TypeAdapter, ValidationError

from fluxkit.events import Event

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_ADAPTER: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="event")])


def event_path(folder: Path, rank: int, attempt: int) -> Path:
    """Events file of one rank in one attempt (0, 1 after the first resume, ...) at a run."""
    return folder / "events" / f"rank-{rank}.attempt-{attempt}.jsonl"


def read_events(path: Path) -> Iterator[Event]:
    """The whole events of a file, in order; a line cut short by a sudden death ends them."""
    if not path.is_file():
        return
    with path.open("rb") as lines:
        for line in lines:
            if not line.endswith(b"\n"):
                return
            yield parse_event(line)


def parse_event(line: bytes) -> Event:
    """One line as an event.

    Raises:
        ValueError: the line is not an event of this version.
    """
    try:
        return _ADAPTER.validate_json(line)
    except ValidationError as error:
        raise ValueError(f"not an event of this version of fluxkit: {line[:120]!r}") from error
