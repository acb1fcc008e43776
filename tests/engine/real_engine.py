"""Real engine processes on the embedded model, with small budgets."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from fluxkit.machine.system import System, probe
from fluxkit.plan.plan import Job, Plan, make_plan
from fluxkit.record.events import read_events
from fluxkit.record.run_folder import JOB_FILE
from fluxkit.spec.toml import parse_spec

SMALL = {
    "tune": {"seconds": 1.0, "iterations": 12, "lr_warmup_steps": 2},
    "evaluate": {"num_images_per_prompt": 1, "sigmas": 2, "noise_draws": 1},
    "inference": {"batch_size": 8, "min_seconds": 0.1},
    "execution": {"threads": 1},
}


def small_spec(**tables: dict[str, Any]) -> Any:
    """A short run of the embedded model; `tables` change single keys."""
    merged = {name: {**SMALL.get(name, {}), **tables.get(name, {})} for name in {*SMALL, *tables}}
    return parse_spec({"schema": "fluxkit.spec/2", "name": "small", **merged}, "the test")


class EngineRun:
    """A finished engine process and what it wrote."""

    def __init__(self, folder: Path, code: int, output: str) -> None:
        self.folder, self.code, self.output = folder, code, output

    def events(self, kind: str, rank: int = 0, attempt: int = 0) -> list[Any]:
        path = self.folder / "events" / f"rank-{rank}.attempt-{attempt}.jsonl"
        return [event for event in read_events(path) if event.event == kind]

    def losses(self, attempt: int = 0) -> list[float]:
        return [loss for block in self.events("iterations", attempt=attempt) for loss in block.losses]

    def images(self, iteration: int) -> dict[str, bytes]:
        folder = self.folder / "samples" / f"iteration-{iteration}"
        return {path.name: path.read_bytes() for path in folder.iterdir()}


def write_job(folder: Path, spec: Any, system: System, attempt: int = 0) -> Plan:
    """Plans `spec` for a machine and leaves the engine's job in `folder`, as `launch` does."""
    plan = make_plan(spec, system)
    folder.mkdir(parents=True, exist_ok=True)
    job = Job(spec=spec, plan=plan, seed=spec.seed, attempt=attempt)
    (folder / JOB_FILE).write_text(json.dumps(job.model_dump(mode="json", by_alias=True)))
    return plan


def start_engine(folder: Path, spec: Any, attempt: int = 0) -> subprocess.Popen[str]:
    """Starts the engine on `spec` in `folder`, as `launch` does."""
    plan = write_job(folder, spec, probe(), attempt)
    runner = [sys.executable, "-m", "fluxkit.engine", str(folder)]
    if plan.processes > 1:
        several = ["torch.distributed.run", "--standalone", f"--nproc-per-node={plan.processes}", "-m"]
        runner = [sys.executable, "-m", *several, "fluxkit.engine", str(folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(plan.threads_per_process), "HF_HUB_OFFLINE": "1"}
    return subprocess.Popen(
        runner, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment, start_new_session=True
    )


def run_engine(folder: Path, spec: Any, attempt: int = 0) -> EngineRun:
    """Runs the engine to its end."""
    process = start_engine(folder, spec, attempt)
    output, _ = process.communicate(timeout=300)
    return EngineRun(folder, process.returncode, output)
