"""What a person is told of a run: a live line on a terminal, plain lines elsewhere, or nothing; and how it ended."""

import math
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from fluxkit.errors import printable
from fluxkit.plan.plan import Plan
from fluxkit.record.events import Event, InferenceSteps, Iterations, PhaseEnded, PhaseStarted, Progress, Resumed
from fluxkit.record.metrics import METRICS
from fluxkit.record.result import RunResult
from fluxkit.spec.run_spec import RunSpec
from fluxkit.stats import rate
from fluxkit.trust.estimate import grade_of
from fluxkit.units import clock, span

PLAIN_SECONDS = 5.0
REFRESH_RATE = 2.0
"""Drawings a second: each costs milliseconds of the cores that are being measured."""
RECENT_BLOCKS = 10
BAR_CELLS = 12
PHASE_WORDS = {
    "start": "starting",
    "import": "importing torch",
    "prepare": "preparing the data",
    "load": "loading the model",
    "warm_up": "warming up",
    "tune": "tuning",
    "inference": "measuring inference",
    "evaluate": "evaluating",
}


class Position:
    """Where a run is, from rank 0's events."""

    def __init__(self, spec: RunSpec, plan: Plan) -> None:
        self._spec, self._plan = spec, plan
        self._recent: deque[tuple[int, float]] = deque(maxlen=RECENT_BLOCKS)
        self.step_seconds = (plan.predicted_seconds or 0.0) / spec.tune.iterations
        """Of the longest optimiser step; as planned before the first."""
        self.phase: str | None = None
        """The phase that is going on, as the events name it; None before the first and between two."""
        self.begun = "start"
        """The phase that began last."""
        self._iteration, self._seconds = 0, 0.0
        self._loss: float | None = None
        self._detail: tuple[int, int, str] | None = None
        self._inference_steps, self._inference_seconds = 0, 0.0

    def update(self, event: Event) -> None:
        """Takes in the next event."""
        match event:
            case PhaseStarted():
                self.phase, self.begun, self._detail = event.phase, event.phase, None
            case PhaseEnded():
                self.phase = self._detail = None
            case Iterations():
                self._iteration, self._seconds = event.first + len(event.seconds), event.total_seconds
                measured = self.step_seconds if self._recent else 0.0
                self.step_seconds = max(measured, *event.seconds, 0.0)
                self._recent.append((len(event.seconds), sum(event.seconds)))
                self._loss = event.losses[-1] if event.losses else self._loss
            case Resumed():
                self._iteration, self._seconds = event.iteration, event.seconds
            case Progress():
                self._detail = (event.done, event.total, event.what)
            case InferenceSteps():
                self._inference_steps += len(event.seconds)
                self._inference_seconds += sum(event.seconds)
            case _:
                pass

    @property
    def micro_batch_seconds(self) -> float:
        """After which a step may stop: its part for one forward and backward pass."""
        return self.step_seconds / self._plan.accumulation_steps

    def words(self) -> str:
        """Phase and place in it, as a line."""
        activity = PHASE_WORDS[self.begun]
        if self.begun == "tune" and self._iteration:
            return f"{activity}: {self._tuning_words()}"
        if self.begun == "inference" and self._inference_seconds > 0:
            images = self._plan.inference_micro_batch_size * self._plan.processes
            speed = rate(images * self._inference_steps, self._inference_seconds)
            return f"{activity}: {self._inference_steps} steps, {speed:.4g} image-steps/s"
        if self._detail:
            done, total, what = self._detail
            return printable(f"{activity}: {what} {done}/{total}")
        return activity

    def share(self) -> float | None:
        """Part of the phase that is done, 0 to 1; None where it is not known."""
        left = self.seconds_left()
        if self.begun == "tune" and left is not None:
            return self._seconds / (self._seconds + left) if self._seconds else 0.0
        if self.begun == "inference":
            return min(1.0, self._inference_seconds / self._spec.inference.min_seconds)
        return self._detail[0] / self._detail[1] if self._detail and self._detail[1] else None

    def seconds_left(self) -> float | None:
        """Tuning time until both budgets are met, or the limit is reached; None before the first step."""
        speed, tune = self._speed(), self._spec.tune
        if speed is None:
            return None
        by_iterations = max(0, tune.iterations - self._iteration) / speed
        both = max(by_iterations, tune.seconds - self._seconds)
        return max(0.0, min(both, tune.max_seconds - self._seconds))

    def _speed(self) -> float | None:
        count, seconds = (sum(column) for column in zip(*self._recent, strict=True)) if self._recent else (0, 0.0)
        return rate(count, seconds) if count and seconds > 0 else None

    def _tuning_words(self) -> str:
        wanted = self._spec.tune.iterations
        parts = [f"iteration {self._iteration}" + (f"/{wanted}" if self._iteration <= wanted else "")]
        parts += [] if self._loss is None else [f"loss {self._loss:.4f}"]
        speed, left = self._speed(), self.seconds_left()
        parts += [] if speed is None else [f"{speed:.3g} it/s"]
        parts += [] if left is None else [f"{clock(left)} left"]
        return ", ".join(parts)


class StudyProgress:
    """How far a study is, and about how long it still takes: by its own runs, and until there are any by the plans."""

    def __init__(self, least_seconds: Sequence[float]) -> None:
        """`least_seconds` of a run of each spec: what it tunes and measures for sure."""
        self._least = least_seconds
        self._expected: list[int] = []
        self._done: list[tuple[int, float]] = []
        self._began = self._run_began = time.monotonic()

    def expect(self, specs: Sequence[int]) -> None:
        """Runs of these specs follow, in this order."""
        self._expected += specs

    def ended(self, spec: int, seconds: float) -> None:
        """A run of this spec is over, and took so long."""
        self._done.append((spec, seconds))
        self._run_began = time.monotonic()

    def words(self) -> str:
        """Which run of how many, the time so far and the time left."""
        count, now = len(self._expected), time.monotonic()
        current, *others = [*map(self._seconds, self._expected[len(self._done) :]), 0.0]
        left = max(0.0, current - (now - self._run_began)) + math.fsum(others)
        about = "about" if self._done else "at least"
        rest = f"{about} {span(left)} left" if left >= 1 else "soon done"
        return f"run {min(len(self._done) + 1, count)} of {count}, {clock(now - self._began)} gone, {rest}"

    def _seconds(self, spec: int) -> float:
        """Of a run of this spec: the mean of those that there are, or by how much the others passed their minimum."""
        own = [seconds for place, seconds in self._done if place == spec]
        if own:
            return math.fsum(own) / len(own)
        least = math.fsum(self._least[place] for place, _ in self._done)
        return self._least[spec] * (math.fsum(seconds for _, seconds in self._done) / least if least else 1.0)


class Reporter:
    """Somebody who is told how a run goes; this one tells nobody, for scripts and tests."""

    study: StudyProgress | None = None
    """Of the study that the run is part of."""

    def begin(self, title: str, position: Position) -> None:
        """A run begins."""

    def moved(self) -> None:
        """The position has changed, or time has passed."""

    def say(self, sentence: str) -> None:
        """Something happened that a person should read."""

    def end(self) -> None:
        """The run is over."""

    @contextmanager
    def run(self, title: str, position: Position) -> Iterator[None]:
        """A run from its beginning to its end, however it ends."""
        self.begin(title, position)
        try:
            yield
        finally:
            self.end()


SILENT = Reporter()


class Plain(Reporter):
    """A line at every change of phase and otherwise every few seconds, for logs."""

    def __init__(self, every_seconds: float = PLAIN_SECONDS) -> None:
        self._every = every_seconds
        self._told_at, self._phase, self._line = 0.0, "", ""

    def begin(self, title: str, position: Position) -> None:
        """A run begins."""
        self._title, self._position = printable(title), position
        self._phase, self._line = "", ""

    def moved(self) -> None:
        """The position has changed, or time has passed."""
        line, now = self._position.words(), time.monotonic()
        new_phase = self._position.begun != self._phase
        if line != self._line and (new_phase or now - self._told_at >= self._every):
            self._told_at, self._phase, self._line = now, self._position.begun, line
            self.say(f"{self._title}: {line}" + (f" ({self.study.words()})" if self.study else ""))

    def say(self, sentence: str) -> None:
        """Something happened that a person should read."""
        sys.stderr.write(f"{printable(sentence)}\n")
        sys.stderr.flush()


class Live(Reporter):
    """Two lines that move, on a terminal: what the run does, and how far run and study are."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(stderr=True, highlight=False)

    def begin(self, title: str, position: Position) -> None:
        """A run begins."""
        from rich.live import Live as Moving

        self._title, self._position, self._began = printable(title), position, time.monotonic()
        self._moving = Moving(
            console=self._console, transient=True, refresh_per_second=REFRESH_RATE, get_renderable=self._lines
        )
        self._moving.start()

    def _lines(self) -> Any:
        from rich.console import Group
        from rich.text import Text

        share = self._position.share()
        bar = "" if share is None else f"{'█' * round(BAR_CELLS * share):░<{BAR_CELLS}} "
        study = f"; {self.study.words()}" if self.study else ""
        place = f"{bar}{clock(time.monotonic() - self._began)} of this run{study}"
        lines = (f"{self._title}: {self._position.words()}", place)
        return Group(*(Text(line, no_wrap=True, overflow="ellipsis") for line in lines))

    def say(self, sentence: str) -> None:
        """Something happened that a person should read."""
        self._console.print(printable(sentence), markup=False)

    def end(self) -> None:
        """The run is over."""
        self._moving.stop()


def reporter(*, quiet: bool) -> Reporter:
    """Nothing if quiet, a moving line on a terminal, plain lines elsewhere; all on standard error."""
    if quiet:
        return SILENT
    return Live() if sys.stderr.isatty() else Plain()


def run_sentence(result: RunResult) -> str:
    """How a run ended and its headline numbers with their grades, for a person."""
    name = f"{result.spec.hardware.label}, repeat {result.repeat}"
    if result.error:
        phase = f" in phase {result.error.phase}" if result.error.phase else ""
        return f"{name}, {result.status}{phase}: {result.error.message}"
    known = [
        f"{value:.4g} {metric.end_of_run} (grade {grade_of((result,), metric)})"
        for metric in METRICS
        if metric.end_of_run and (value := getattr(result.summary, metric.key)) is not None
    ]
    return f"{name}, {result.status}: {', '.join(known) or 'nothing was measured'}"
