"""What a person is told of a run: a live line on a terminal, plain lines elsewhere, or nothing; and how it ended."""

import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from fluxkit.errors import printable
from fluxkit.plan.plan import Plan
from fluxkit.record.events import Event, InferenceSteps, Iterations, PhaseEnded, PhaseStarted, Progress, Resumed
from fluxkit.record.metrics import METRICS
from fluxkit.record.result import RunResult
from fluxkit.spec.run_spec import RunSpec
from fluxkit.stats import rate
from fluxkit.trust.estimate import grade_of
from fluxkit.units import clock

PLAIN_SECONDS = 5.0
REFRESH_RATE = 2.0
"""Drawings a second: each costs milliseconds of the cores that are being measured."""
RECENT_BLOCKS = 10
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


class Reporter:
    """Somebody who is told how a run goes; this one tells nobody, for scripts and tests."""

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
            self.say(f"{self._title}: {line}")

    def say(self, sentence: str) -> None:
        """Something happened that a person should read."""
        sys.stderr.write(f"{printable(sentence)}\n")
        sys.stderr.flush()


class Live(Reporter):
    """One line that moves, on a terminal."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(stderr=True, highlight=False)

    def begin(self, title: str, position: Position) -> None:
        """A run begins."""
        from rich import progress

        self._position = position
        self._bar = progress.Progress(
            progress.SpinnerColumn(),
            progress.TextColumn("{task.description}", markup=False),
            progress.BarColumn(bar_width=24),
            progress.TextColumn("{task.fields[words]}", markup=False),
            progress.TimeElapsedColumn(),
            console=self._console,
            transient=True,
            refresh_per_second=REFRESH_RATE,
        )
        self._task = self._bar.add_task(printable(title), total=None, words=position.words())
        self._bar.start()

    def moved(self) -> None:
        """The position has changed, or time has passed."""
        share = self._position.share()
        # Without a total the bar pulses.
        self._bar.update(self._task, total=None if share is None else 1.0, completed=share or 0.0)
        self._bar.update(self._task, words=self._position.words())

    def say(self, sentence: str) -> None:
        """Something happened that a person should read."""
        self._console.print(printable(sentence), markup=False, soft_wrap=True)

    def end(self) -> None:
        """The run is over."""
        self._bar.stop()


def reporter(*, quiet: bool) -> Reporter:
    """Nothing if quiet, a moving line on a terminal, plain lines elsewhere; all on standard error."""
    if quiet:
        return SILENT
    return Live() if sys.stderr.isatty() else Plain()


def run_sentence(result: RunResult) -> str:
    """How a run ended and its headline numbers with their grades, for a person."""
    if result.error:
        phase = f" in phase {result.error.phase}" if result.error.phase else ""
        return f"{result.spec.name} r{result.repeat} {result.status}{phase}: {result.error.message}"
    known = [
        f"{value:.4g} {metric.end_of_run} ({grade_of((result,), metric)})"
        for metric in METRICS
        if metric.end_of_run and (value := getattr(result.summary, metric.key)) is not None
    ]
    return f"{result.spec.name} r{result.repeat} {result.status}: {', '.join(known) or 'nothing was measured'}"
