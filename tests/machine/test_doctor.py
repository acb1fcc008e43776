"""What a machine is told about itself, by made-up readings and a made-up driver."""

from __future__ import annotations

import json
import re
import sys
import time
from types import ModuleType, SimpleNamespace

import pytest

from fluxkit.machine.doctor import conclusion, examine, examine_json, plain_text, show
from fluxkit.machine.doctor_rules import GPU_ROWS, ROWS
from fluxkit.machine.nvml_probe import gpus
from fluxkit.machine.provenance import Kit
from fluxkit.machine.readings import Reading
from fluxkit.machine.system import System, probe


@pytest.fixture
def driver(monkeypatch):
    """Puts a made-up driver library with one GPU in place; facts change what it says, None makes a call fail."""

    class Error(Exception):
        pass

    def make(**facts):
        told = {
            "Name": "NVIDIA A40", "UUID": "GPU-1", "MemoryInfo": SimpleNamespace(total=48 * 10**9, used=10**8),
            "EnforcedPowerLimit": 300_000, "PowerManagementDefaultLimit": 300_000, "ClockInfo": 210,
            "MaxClockInfo": 1740, "Temperature": 35, "UtilizationRates": SimpleNamespace(gpu=0),
            "CurrentClocksEventReasons": 1, "PersistenceMode": 1, "EccMode": (1, 1), "TotalEccErrors": 0,
            "RemappedRows": (0, 0, 0, 0), "MigMode": (0, 0), "ComputeMode": 0, "CurrPcieLinkGeneration": 4,
            "MaxPcieLinkGeneration": 4, "CurrPcieLinkWidth": 16, "MaxPcieLinkWidth": 16,
            "ApplicationsClock": 1305, "DefaultApplicationsClock": 1305, "NvLinkState": 0,
            "ComputeRunningProcesses": [], "GraphicsRunningProcesses": [], "HandleByIndex": "handle",
        } | facts  # fmt: skip
        nvml = ModuleType("pynvml")
        nvml.NVMLError = Error

        def call(value):
            def answer(*_arguments):
                if value is None:
                    raise Error("Not Supported")
                return value

            return answer

        for name, value in told.items():
            setattr(nvml, f"nvmlDeviceGet{name}", call(value))
        nvml.nvmlInit = nvml.nvmlShutdown = lambda: None
        nvml.nvmlSystemGetDriverVersion, nvml.nvmlDeviceGetCount = (lambda: "570.10"), (lambda: 1)
        monkeypatch.setitem(sys.modules, "pynvml", nvml)
        readings, devices = gpus({})
        return System(readings=readings, devices=devices, packages={})

    return make


def verdicts(system):
    return {finding.check: finding.verdict for finding in examine(system)}


def reading(**values):
    readings = {name: Reading(value=value, source="test") for name, value in values.items()}
    return System(readings=readings, devices=(), packages={})


def test_every_check_of_this_machine_has_a_value_or_a_reason():
    """Each line has a source and a verdict, and says why where it has no value."""
    findings = examine(probe())
    assert len(findings) >= len(ROWS) + 2
    for finding in findings:
        assert (finding.value is None) == (finding.unavailable is not None), finding.check
        assert finding.source
        assert not finding.advice or finding.verdict in {"remark", "doubt"}


def test_every_row_has_a_reading_of_its_name():
    """The table names readings that a probe gives."""
    known = probe().readings
    assert {row.reading for row in ROWS} <= set(known)


def test_every_gpu_row_has_a_reading_of_its_name(driver):
    """The table of a GPU names readings that the driver gives."""
    assert {f"gpu_0_{row.reading}" for row in GPU_ROWS} <= set(driver().readings)


def test_a_quiet_gpu_is_fit(driver):
    """A GPU that nobody uses, at its own settings, gives no doubt and no remark."""
    found = verdicts(driver())
    assert {name: verdict for name, verdict in found.items() if name.startswith("GPU 0")} == dict.fromkeys(
        (f"GPU 0 {row.check}" for row in GPU_ROWS), "fit"
    )


@pytest.mark.parametrize(
    ("fact", "value", "check", "verdict"),
    [
        ("ComputeRunningProcesses", [SimpleNamespace(pid=1)], "other processes", "doubt"),
        ("GraphicsRunningProcesses", [SimpleNamespace(pid=1)], "other processes", "fit"),
        ("GraphicsRunningProcesses", [SimpleNamespace(pid=1)], "programs that only draw", "remark"),
        ("MemoryInfo", SimpleNamespace(total=48 * 10**9, used=20 * 10**9), "memory in use", "doubt"),
        ("EnforcedPowerLimit", 200_000, "power limit", "remark"),
        ("CurrentClocksEventReasons", 0x40, "slowdowns now", "doubt"),
        ("CurrentClocksEventReasons", 0x4, "slowdowns now", "remark"),
        ("CurrPcieLinkWidth", 4, "PCIe width", "doubt"),
        ("CurrPcieLinkGeneration", 1, "PCIe generation", "remark"),
        ("TotalEccErrors", 2, "ECC errors", "doubt"),
        ("RemappedRows", (0, 0, 1, 0), "rows to be remapped", "doubt"),
        ("ComputeMode", 2, "compute mode", "doubt"),
        ("EccMode", None, "ECC", "unknown"),
    ],
)
def test_what_is_wrong_with_a_gpu_is_named(driver, fact, value, check, verdict):
    """Each state that changes a speed has its verdict; a call that the GPU does not know is unknown."""
    assert verdicts(driver(**{fact: value}))[f"GPU 0 {check}"] == verdict


@pytest.mark.parametrize(
    ("values", "check", "verdict"),
    [
        ({"cpu_governor": "powersave"}, "governor", "remark"),
        ({"cpu_governor": "performance"}, "governor", "fit"),
        ({"power_source": "battery"}, "power source", "doubt"),
        ({"temperature_celsius": 97.0}, "temperature", "doubt"),
        ({"load_average_1_minute": 3.0, "cpu_logical_cores": 4}, "load, 1 minute", "doubt"),
        ({"load_average_1_minute": 1.0, "cpu_logical_cores": 4}, "load, 1 minute", "fit"),
        ({"stolen_share": 0.05}, "stolen time", "doubt"),
        ({"cgroup_throttled_count": 4}, "stopped by the quota", "remark"),
        ({"disk_free_bytes": 10**6}, "disk free here", "doubt"),
        ({"timer_resolution_seconds": 0.01}, "timer resolution", "doubt"),
        ({"tf32_override": "1"}, "TF32 override", "remark"),
        ({"clock_source": "hpet"}, "clock source", "remark"),
    ],
)
def test_what_is_wrong_with_a_machine_is_named(values, check, verdict):
    """Each condition that changes a speed has its verdict."""
    assert verdicts(reading(**values))[check] == verdict


def test_a_limit_that_is_not_set_is_fit(machine):
    """Nothing to read is good news where it means that nothing is limited, and unknown elsewhere."""
    absent = {
        "memory_limit_bytes": Reading(value=None, source="test", unavailable="no limit is set"),
        "cpu_governor": Reading(value=None, source="test", unavailable="no such file"),
    }
    found = verdicts(machine().model_copy(update={"readings": absent}))
    assert (found["memory limit"], found["governor"]) == ("fit", "unknown")


def test_missing_packages_are_told(machine):
    """Without the engine nothing can be measured, and the command that installs it is named."""
    bare = machine().model_copy(update={"packages": {"torch": "2.13.0"}})
    finding = next(each for each in examine(bare) if each.check == "engine packages")
    assert finding.verdict == "doubt"
    assert "pip install 'fluxkit[engine]'" in finding.advice


def test_the_text_has_a_line_for_every_check(machine, capsys):
    """The first line says what it comes to, doubts follow; what is fit is there with --all alone."""
    findings = examine(machine(), Kit(version="1.0", image="docker.example/fluxkit@sha256:1"))
    show(findings, everything=True)
    said = capsys.readouterr().out
    assert said == plain_text(findings, everything=True) + "\n"
    assert all(finding.check in said for finding in findings)
    assert said.startswith(conclusion(findings))
    places = [
        said.find(f"\n{verdict} ") for verdict in ("doubt", "remark", "unknown", "fit") if f"\n{verdict} " in said
    ]
    assert places == sorted(places)
    assert "\nfit " not in plain_text(findings)
    assert max(map(len, plain_text(findings, 80).splitlines())) <= 80


@pytest.mark.parametrize(("dirty", "verdict"), [(False, "fit"), (True, "remark")])
def test_fluxkit_itself_is_named(machine, dirty, verdict):
    """Version and commit are stated; what was changed since the commit is remarked."""
    findings = examine(machine(), Kit(version="1.0", commit="abc", dirty=dirty))
    (found,) = [each for each in findings if each.check == "fluxkit"]
    assert (found.verdict, "1.0, commit abc" in found.value) == (verdict, True)


def test_a_terminal_gets_the_same_text(machine, capsys, monkeypatch):
    """On a terminal the same text stands, with verdicts in colour."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "160")
    findings = examine(machine())
    show(findings, everything=True)
    assert re.sub(r"\x1b\[[\d;]*m", "", capsys.readouterr().out) == plain_text(findings, everything=True) + "\n"


def test_the_json_counts_the_verdicts(machine):
    """For scripts: every finding, and how many there are of each verdict."""
    values = json.loads(examine_json(examine(machine())))
    assert sum(values["verdicts"].values()) == len(values["findings"])


def test_the_doctor_counts_and_names_in_plain_words():
    """One remark is one remark, node 0 is a node, and the row about precision says what a run does."""
    findings = examine(
        System(readings=reading(numa_nodes="0", cpu_governor="powersave").readings, devices=(), packages={})
    )
    said = {finding.check: finding for finding in findings}
    assert said["memory nodes (NUMA)"].value == "node 0"
    assert "sets them as its spec asks" in said["precision switches"].value
    assert "1 doubt, 1 remark, " in conclusion(findings)
    several = examine(reading(numa_nodes="0-1"))
    assert next(each.value for each in several if each.check == "memory nodes (NUMA)") == "nodes 0-1"


def test_closed_gpus_are_remarked(driver):
    """How many GPUs of the machine this process may not open stands beside those that it may."""
    system = driver()
    closed = {"gpus_closed": Reading(value=3, source="NVML: Insufficient Permissions")}
    system = system.model_copy(update={"readings": system.readings | closed})
    (finding,) = [finding for finding in examine(system) if finding.check == "GPUs to use"]
    assert finding.verdict == "remark"
    assert finding.advice.startswith("3 of the machine's GPUs are closed to this process")


def test_a_gpu_with_links_counts_those_that_are_up(driver):
    """Links that are up are counted up to the first that does not exist; a GPU without any has none."""
    assert driver(NvLinkState=1).readings["gpu_0_nvlinks_active"].value == 18
    assert driver(NvLinkState=None).readings["gpu_0_nvlinks_active"].value is None


def test_a_gpu_that_is_clocked_down_is_remarked(driver):
    """Application clocks below the card's own make another configuration of a card."""
    found = verdicts(driver(ApplicationsClock=1100))
    assert found["GPU 0 application clock"] == "remark"


def test_a_look_costs_little():
    """The doctor's look, which every result holds twice, costs a fraction of a processor second."""
    probe()
    began = time.process_time()
    examine(probe())
    assert time.process_time() - began < 1
