"""Runs of the real engine on made-up cards, by the process of `server.py`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from real_engine import EngineRun, write_job

from fluxkit.machine.system import probe
from gpu_stand_in.nvml import machine_with
from gpu_stand_in.request import Alive, Report, Request

if TYPE_CHECKING:
    from fluxkit.plan.plan import Plan

TESTS = Path(__file__).parents[1]


class StandInRun(EngineRun):
    """A finished run and what the stand-in saw."""

    def __init__(self, folder: Path, code: int, output: str, plan: Plan) -> None:
        super().__init__(folder, code, output)
        self.plan = plan

    def report(self, rank: int = 0, attempt: int = 0) -> Report:
        values = json.loads((self.folder / f"rank-{rank}.attempt-{attempt}.json").read_text())
        return Report(**{**values, "alive": [Alive(**moment) for moment in values["alive"]]})

    def peak_bytes(self) -> int:
        """The largest of all phases, of live tensors on the device."""
        return max(event.peak_bytes["cuda_allocated"] for event in self.events("memory"))


class Engines:
    """The server, which is started once and asked for many runs, one after the other or at once."""

    def __init__(self, library: Path, scratch: Path) -> None:
        paths = os.pathsep.join([str(TESTS), str(TESTS.parent)])
        environment = {
            **os.environ, "PYTHONPATH": paths, "LD_PRELOAD": str(library), "OMP_NUM_THREADS": "1",
            "HF_HUB_OFFLINE": "1", "FLUXKIT_CACHE": str(scratch / "cache"),
        }  # fmt: skip
        self._log = scratch / "server.log"
        with self._log.open("w") as log:
            self._server = subprocess.Popen(
                [sys.executable, "-m", "gpu_stand_in.server"], text=True, bufsize=1, env=environment,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
            )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.communicate(timeout=60)

    def start(self, folder: Path, spec: Any, *cards: str, attempt: int = 0, **more: Any) -> Start:
        """Begins an attempt at a run on such cards; none of them: on this machine's CPU."""
        plan = write_job(folder, spec, machine_with(*cards) if cards else probe(), attempt)
        request = Request(str(folder), cards, spec.execution.processes, attempt, **more)
        return Start(folder, plan, attempt, self.answer(asdict(request)), self)

    def run(self, folder: Path, spec: Any, *cards: str, attempt: int = 0, **more: Any) -> StandInRun:
        """A run to its end."""
        return self.start(folder, spec, *cards, attempt=attempt, **more).end()

    def call(self, folder: Path, function: str, *cards: str) -> Any:
        """The value of a "module:function" in a process with such cards."""
        folder.mkdir(parents=True, exist_ok=True)
        codes = self.answer(self.answer(asdict(Request(str(folder), cards, call=function))))
        assert codes == [0], (folder / "rank-0.attempt-0.log").read_text()
        return json.loads((folder / "answer.json").read_text())

    def answer(self, asked: Any) -> list[int]:
        """The server's answer: process ids for a request, exit codes for process ids."""
        self._server.stdin.write(json.dumps(asked) + "\n")
        line = self._server.stdout.readline()
        assert line, f"the server has ended: {self._log.read_text()[-4000:]}"
        return json.loads(line)


class Start:
    """A run that has begun."""

    def __init__(self, folder: Path, plan: Plan, attempt: int, pids: list[int], engines: Engines) -> None:
        self.folder, self.pids, self._plan, self._attempt, self._engines = folder, pids, plan, attempt, engines

    def end(self) -> StandInRun:
        """Waits for it; the code is that of the first rank that failed, else 0."""
        codes = self._engines.answer(self.pids)
        logs = sorted(self.folder.glob(f"rank-*.attempt-{self._attempt}.log"))
        output = "\n".join(f"== {log.name}\n{log.read_text(errors='replace')}" for log in logs)
        return StandInRun(self.folder, next((code for code in codes if code), 0), output, self._plan)
