"""What the tests ask of `server.py`, and what it says; known to both without torch."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Request:
    """One attempt at a run whose job lies in a folder."""

    folder: str
    cards: tuple[str, ...] = ()
    """Without any: on the CPU, as if there were no stand-in."""
    ranks: int = 1
    attempt: int = 0
    schnell: str | None = None
    """A folder that takes the place of schnell's configuration."""
    collects: bool = True
    """False: what lies in a reference cycle stays alive, as it may on a GPU until it is too late."""
    call: str | None = None
    """Instead of the engine, a "module:function" whose value is left in `answer.json`."""


@dataclass
class Alive:
    """What is alive at a moment."""

    moment: str
    live_bytes: int
    stepped_optimizers: int
    transformers: int


@dataclass
class Report:
    """What the stand-in saw on one rank."""

    waits: list[tuple[str, str, int]] = field(default_factory=list)
    """Kind, place in the code, how often."""
    timed_waits: list[tuple[str, str, int]] = field(default_factory=list)
    """Those within times that were measured by events of the device: the steps of tuning."""
    attention: dict[str, int] = field(default_factory=dict)
    """Kernels with their dtype, and how often each ran."""
    alive: list[Alive] = field(default_factory=list)
    is_in_group: bool = False
    """Whether the rank still had to do with others when its work was done."""
