"""Whether this installation works on this machine, in seconds: every part once, and the numbers that it must give."""

import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from pydantic import Field

from fluxkit.errors import FluxkitError, MachineError, RunError, printable
from fluxkit.files.cache import ENVIRONMENT_VARIABLE
from fluxkit.fold.fold import fold
from fluxkit.fold.verify import verify_result
from fluxkit.plan.plan import Plan, make_plan
from fluxkit.record.agreement_facts import departures_of
from fluxkit.record.result import RunResult
from fluxkit.record.run_folder import read_result
from fluxkit.run.engine_process import engine_environment
from fluxkit.run.launch import launch
from fluxkit.spec.run_spec import RunSpec
from fluxkit.spec.toml import load_spec
from fluxkit.values import Frozen

Numbers = dict[str, float]

PRESETS = {"cpu": "nano-laptop-cpu", "cuda": "nano-single-gpu"}
# Tuning in FP32 and inference in bfloat16, so that one run has the certificates of both.
# Both budgets end tuning after the same few iterations everywhere, so that the numbers of two machines can be held
# against each other; speeds would differ, and are not among them.
OVERRIDES = (
    "tune.iterations=8", "tune.seconds=0.01", "tune.max_seconds=60.0", "tune.lr_warmup_steps=2",
    "evaluate.num_images_per_prompt=1", "evaluate.sigmas=1", "evaluate.noise_draws=1",
    "inference.batch_size=8", "inference.min_seconds=0.01", "execution.inference_precision=bfloat16",
)  # fmt: skip
TOLERANCE = 1e-6
"""Between a metric and its golden value."""
CHILD_SECONDS = 300


class Step(Frozen):
    """What became of one part."""

    name: str
    passed: bool
    words: str
    numbers: Numbers = Field(default_factory=dict)
    """Equal wherever processor, threads and package versions are."""
    seconds: float


class Workspace(NamedTuple):
    """Where the steps work, and what they share."""

    folder: Path
    spec: RunSpec
    plan: Plan

    @property
    def run(self) -> Path:
        """The folder of the one run."""
        return self.folder / "run"

    def result(self) -> RunResult:
        """Of that run."""
        return read_result(self.run)


def run_selftest(tell: Callable[[Step], object] = lambda _: None) -> tuple[Step, ...]:
    """All steps in order, in a temporary folder that is gone afterwards; a failed one does not stop the others.

    Args:
        tell: is given each step when it is done.

    Raises:
        MachineError: the engine is not installed, or there is no folder for temporary files.
    """
    from fluxkit.machine.system import probe

    steps = []
    with _temporary_folder() as folder:
        system = probe()
        spec = load_spec(PRESETS["cuda" if system.devices_of("cuda") else "cpu"], OVERRIDES)
        workspace = Workspace(folder, spec, make_plan(spec, system))
        for name, act in STEPS.items():
            steps.append(_try(name, act, workspace))
            tell(steps[-1])
    return tuple(steps)


@contextmanager
def _temporary_folder() -> Iterator[Path]:
    """For everything, caches too, so that nothing is read from or left in the user's own."""
    try:
        temporary = tempfile.TemporaryDirectory(prefix="fluxkit-selftest-")
    except OSError as error:
        raise MachineError("There is no folder for temporary files; set TMPDIR to one that can be written.") from error
    with temporary as name:
        before = dict(os.environ)
        os.environ |= {ENVIRONMENT_VARIABLE: str(Path(name) / "cache"), "TMPDIR": name}
        try:
            yield Path(name)
        finally:
            os.environ.clear()
            os.environ |= before


def _try(name: str, act: Callable[[Workspace], tuple[str, Numbers]], workspace: Workspace) -> Step:
    began = time.monotonic()
    try:
        passed, (words, numbers) = True, act(workspace)
    except Exception as error:  # noqa: BLE001 - whatever is broken here is what the selftest is for
        kind = "" if isinstance(error, FluxkitError) else f"{type(error).__name__}: "
        passed, words, numbers = False, f"{kind}{error}", {}
    seconds = round(time.monotonic() - began, 2)
    return Step(name=name, passed=passed, words=printable(words), numbers=numbers, seconds=seconds)


def _metric(workspace: Workspace) -> tuple[str, Numbers]:
    """PSNR and SSIM of a made pair against their golden values."""
    scores = json.loads(_output_of(workspace, "evaluate.golden_scores"))
    for name in ("psnr_db", "ssim"):
        if not math.isclose(scores[name], scores[f"wanted_{name}"], rel_tol=TOLERANCE):
            raise RunError(f"{name} is {scores[name]!r} and should be {scores[f'wanted_{name}']!r}")
    words = f"PSNR {scores['psnr_db']:.4f} dB and SSIM {scores['ssim']:.6f} of a made pair, as they should be"
    return words, {"psnr_db": scores["psnr_db"], "ssim": scores["ssim"]}


def _tune(workspace: Workspace) -> tuple[str, Numbers]:
    """A few iterations of nano with everything that belongs to a run."""
    result = launch(workspace.spec, workspace.plan, folder=workspace.run, seed=workspace.spec.seed)
    if result.error:
        raise RunError(f"the run {result.status} in phase {result.error.phase}: {result.error.message}")
    losses = [loss for loss in result.tuning.losses if loss is not None] if result.tuning else []
    psnr_db = result.summary.psnr_db_at_iterations
    if result.tuning is None or len(losses) < len(result.tuning.losses) or not losses or psnr_db is None:
        raise RunError("losses or scores are missing, or were not finite numbers")
    words = f"{len(losses)} iterations on {workspace.plan.device_names[0]}, loss {losses[0]:.4f} to {losses[-1]:.4f}"
    return f"{words}, {psnr_db:.3f} dB", {"first_loss": losses[0], "last_loss": losses[-1], "psnr_db": psnr_db}


def _agreement(workspace: Workspace) -> tuple[str, Numbers]:
    """The run's own numerical checks: a fixed tiny FLUX on this device against the float64 reference."""
    probes = workspace.result().agreement or ()
    wrong = [f"{probe.precision}: {'; '.join(departures)}" for probe in probes if (departures := departures_of(probe))]
    if wrong or not probes:
        raise RunError(" | ".join(wrong) or "the run has no numerical check against a reference")
    known = {probe.precision: probe.relative_l2 for probe in probes if probe.relative_l2 is not None}
    words = ", ".join(f"{precision} {error:.2g}" for precision, error in known.items())
    return f"relative error against float64: {words}", {f"relative_l2_{name}": error for name, error in known.items()}


def _fold(workspace: Workspace) -> tuple[str, Numbers]:
    """The events give the same result again."""
    result = workspace.result()
    if fold(workspace.run, result) != result:
        raise RunError("the events, folded again, give another result")
    return f"the events give the same result again, with {len(result.checks)} checks", {}


def _verify(workspace: Workspace) -> tuple[str, Numbers]:
    """Schema, hashes of files, and summary."""
    wrong = verify_result(workspace.run).problems
    if wrong:
        raise RunError("; ".join(wrong))
    return f"schema, summary and the hashes of {len(workspace.result().artifacts)} files hold", {}


def _report(workspace: Workspace) -> tuple[str, Numbers]:
    """The page of that run."""
    from fluxkit.fold.outcome import folded_results
    from fluxkit.report.page import write_report

    page = workspace.folder / "report.html"
    write_report(folded_results([workspace.run]), page)
    text = page.read_text("utf-8")
    if workspace.spec.hardware.label not in text or "</html>" not in text:
        raise RunError("the page is not whole")
    return f"a page of {page.stat().st_size / 1e3:.0f} kB", {}


STEPS: dict[str, Callable[[Workspace], tuple[str, Numbers]]] = {
    "metric": _metric,
    "tune": _tune,
    "agreement": _agreement,
    "fold": _fold,
    "verify": _verify,
    "report": _report,
}


def _output_of(workspace: Workspace, module: str) -> str:
    """What an engine module writes to standard output.

    Raises:
        RunError: it fails; the last line of its complaint is told.
    """
    child = subprocess.run(
        [sys.executable, "-m", f"fluxkit.engine.{module}"],
        env=engine_environment(workspace.spec, workspace.plan), cwd=workspace.folder, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, check=False, timeout=CHILD_SECONDS,
    )  # fmt: skip
    if child.returncode:
        complaint = child.stderr.strip().splitlines()
        raise RunError(complaint[-1] if complaint else f"{module} ended with exit code {child.returncode}")
    return child.stdout


def step_line(step: Step) -> str:
    """One step of the selftest."""
    return f"{step.name:<10} {'ok' if step.passed else 'failed':<7} {step.seconds:5.1f} s  {step.words}"
