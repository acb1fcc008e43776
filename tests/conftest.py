"""Made-up machines and a made-up pipeline folder, so that every test means the same on every machine."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from heard_signals import hear_every_signal
from made_up import write_pipeline

from fluxkit.machine.provenance import Kit
from fluxkit.machine.readings import Device, Reading
from fluxkit.machine.system import ENGINE_PACKAGES, System, probe
from fluxkit.model import pipeline_files
from fluxkit.plan.plan import Plan
from fluxkit.record.result import Looks, RunResult
from fluxkit.run import engine_process
from fluxkit.spec.run_spec import RunSpec

if TYPE_CHECKING:
    from collections.abc import Callable


class FakeNvmlError(Exception):
    pass


GOLDEN = Path(__file__).parent / "golden"
STAND_IN = Path(__file__).parent / "stand_in.py"


def pytest_configure() -> None:
    """Commands that the tests start hear every signal."""
    hear_every_signal()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--write-golden", action="store_true", help="write tests/golden/ anew instead of comparing with it"
    )


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Compares a text with the file of that name in tests/golden/, or writes it with --write-golden."""

    def compare(name: str, text: str) -> None:
        file = GOLDEN / name
        if request.config.getoption("--write-golden"):
            file.parent.mkdir(exist_ok=True)
            file.write_text(text, "utf-8")
        assert file.is_file(), f"tests/golden/{name} is missing; write it with: just golden"
        assert file.read_text("utf-8") == text, f"tests/golden/{name} differs; if that is meant: just golden"

    return compare


@pytest.fixture
def small_pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stands in for the embedded pipeline: one double and two single blocks, 4 pixels per latent, 20 text tokens."""
    folder = write_pipeline(tmp_path / "small")
    monkeypatch.setattr(pipeline_files, "NANO_FOLDER", folder)
    return folder


@pytest.fixture
def machine() -> Callable[..., System]:
    """Makes a machine of so many cores and GPUs."""

    def make(cores: int = 2, gpus: int = 0, *, threads_per_core: int = 1, memory_bytes: int = 16 * 10**9) -> System:
        facts: dict[str, int | str | None] = {
            "cpu_logical_cores": cores * threads_per_core,
            "cpu_usable_cores": cores * threads_per_core,
            "cpu_usable_physical_cores": cores,
            "nvidia_driver": "570.10" if gpus else None,
        }
        readings = {
            name: Reading(value=value, source="test", unavailable=None if value else "NVML Shared Library Not Found")
            for name, value in facts.items()
        }
        cpu = Device(kind="cpu", name="Test CPU", memory_bytes=memory_bytes)
        cards = [
            Device(kind="cuda", name="Test GPU", memory_bytes=80 * 10**9, uuid=f"GPU-{index}") for index in range(gpus)
        ]
        packages = dict.fromkeys(ENGINE_PACKAGES, "1.0") | {"torch": "2.13.0"}
        return System(readings=readings, devices=(cpu, *cards), packages=packages)

    return make


@pytest.fixture
def spec() -> Callable[..., RunSpec]:
    """Makes a spec from tables: spec(execution={"processes": 2})."""

    def make(**tables: Any) -> RunSpec:
        return RunSpec.model_validate({"schema": "fluxkit.spec/2", "name": "test", **tables})

    return make


@pytest.fixture
def small_spec() -> RunSpec:
    """Forty iterations or ten seconds of the embedded model on the CPU."""
    return RunSpec.model_validate(
        {
            "schema": "fluxkit.spec/2",
            "name": "small",
            "seed": 3,
            "tune": {"iterations": 40, "seconds": 10.0, "max_seconds": 60.0},
        }
    )


@pytest.fixture
def small_plan(small_spec: RunSpec) -> Plan:
    """A plan for `small_spec` on this machine's CPU, made up."""
    return Plan(
        device=small_spec.execution.device,
        device_names=(probe().devices[0].name,),
        processes=1,
        threads_per_process=1,
        micro_batch_size=8,
        accumulation_steps=1,
        inference_micro_batch_size=16,
        parameters=10,
        trainable_parameters=5,
        forward_flops_per_sample=100,
        train_flops_per_iteration=2400,
        notes=("made up",),
    )


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Callable[..., SimpleNamespace]:
    """Puts a made-up driver library in place; calls named in `broken` fail."""

    def make(*, broken=(), millijoules=1_000_000, reasons=0):
        nvml = ModuleType("pynvml")
        nvml.NVMLError = FakeNvmlError
        state = SimpleNamespace(millijoules=millijoules, reasons=reasons, closed=0, powers=[])

        def power(_handle):
            milliwatts = state.powers.pop(0) if state.powers else 300_000
            return failing() if milliwatts is None else milliwatts

        def shutdown():
            state.closed += 1

        calls = {
            "nvmlInit": lambda: None,
            "nvmlShutdown": shutdown,
            "nvmlDeviceGetHandleByUUID": lambda uuid: uuid,
            "nvmlDeviceGetTotalEnergyConsumption": lambda _: state.millijoules,
            "nvmlDeviceGetPowerUsage": power,
            "nvmlDeviceGetClockInfo": lambda _, which: 1980 if which == 1 else 2619,
            "nvmlDeviceGetTemperature": lambda _handle, _sensor: 55,
            "nvmlDeviceGetCurrentClocksEventReasons": lambda _: state.reasons,
        }
        for name, give in calls.items():
            setattr(nvml, name, failing if name in broken else give)
        monkeypatch.setitem(sys.modules, "pynvml", nvml)
        return state

    def failing(*_arguments):
        raise FakeNvmlError("Not Supported")

    return make


@pytest.fixture
def engine_is(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Lets scenarios of the stand-in be the engine: one after the other, the last one for ever."""

    def use(*scenarios: str) -> None:
        left = list(scenarios)

        def command(folder: Path, _plan: Plan) -> list[str]:
            scenario = left.pop(0) if len(left) > 1 else left[0]
            return [sys.executable, str(STAND_IN), scenario, str(folder)]

        monkeypatch.setattr(engine_process, "engine_command", command)

    return use


@pytest.fixture
def base(small_spec: RunSpec, small_plan: Plan, machine: Callable[..., System]) -> RunResult:
    """The result of a run that has been completed, before its events are folded into it."""
    return RunResult(
        schema="fluxkit.result/1",
        id="0" * 32,
        status="completed",
        study="",
        repeat=0,
        order=0,
        seed=3,
        created="2026-01-01T00:00:00Z",
        kit=Kit(version="0"),
        spec=small_spec,
        workload_sha256=small_spec.workload_sha256(),
        configuration_sha256="1" * 64,
        plan=small_plan,
        system=Looks(before=machine()),
    )
