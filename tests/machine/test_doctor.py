"""What a machine is told about itself, by made-up files and a made-up driver."""

from __future__ import annotations

import json
import sys
import time
from importlib.metadata import PackageNotFoundError
from types import ModuleType, SimpleNamespace

import pytest

from fluxkit.machine.conditions import (
    hottest_celsius,
    measuring_conditions,
    ranges,
    stolen_share,
    thermal_zones,
    throttle_count,
    throttled,
    turbo,
)
from fluxkit.machine.doctor import conclusion, examine, examine_json, plain_text, show
from fluxkit.machine.doctor_rules import GPU_ROWS, ROWS
from fluxkit.machine.nvml_probe import gpus
from fluxkit.machine.provenance import Kit
from fluxkit.machine.readings import Reading
from fluxkit.machine.system import System, libraries, probe, processor


@pytest.fixture
def root(tmp_path):
    """Makes a root folder of files."""

    def make(files):
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        return tmp_path

    return make


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
        ({"tf32_override": "1"}, "TF32 override", "doubt"),
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
    """Off a terminal each check is a line, and the last line says what it comes to."""
    findings = examine(machine(), Kit(version="1.0", image="docker.example/fluxkit@sha256:1"))
    show(findings)
    said = capsys.readouterr().out
    assert said == plain_text(findings) + "\n"
    assert all(finding.check in said for finding in findings)
    assert said.rstrip().endswith(conclusion(findings))


@pytest.mark.parametrize(("dirty", "verdict"), [(False, "fit"), (True, "remark")])
def test_fluxkit_itself_is_named(machine, dirty, verdict):
    """Version and commit are stated; what was changed since the commit is remarked."""
    findings = examine(machine(), Kit(version="1.0", commit="abc", dirty=dirty))
    (found,) = [each for each in findings if each.check == "fluxkit"]
    assert (found.verdict, "1.0, commit abc" in found.value) == (verdict, True)


def test_a_terminal_gets_a_table(machine, capsys, monkeypatch):
    """On a terminal the same findings are a table."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "160")
    show(examine(machine()))
    said = capsys.readouterr().out
    assert "verdict" in said
    assert "engine packages" in said


def test_the_json_counts_the_verdicts(machine):
    """For scripts: every finding, and how many there are of each verdict."""
    values = json.loads(examine_json(examine(machine())))
    assert sum(values["verdicts"].values()) == len(values["findings"])


@pytest.mark.parametrize(
    ("files", "state"),
    [
        ({"sys/devices/system/cpu/intel_pstate/no_turbo": "0\n"}, "on"),
        ({"sys/devices/system/cpu/intel_pstate/no_turbo": "1\n"}, "off"),
        ({"sys/devices/system/cpu/cpufreq/boost": "1\n"}, "on"),
        ({}, None),
    ],
)
def test_turbo(root, files, state):
    """Intel's switch says no, the others' says yes."""
    assert turbo(root(files)) == state


def test_heat(root):
    """The hottest zone counts; throttle counts of all processors add up; without any there is a reason."""
    cpu = "sys/devices/system/cpu"
    assert measuring_conditions(root({}), {})["cpu_thermal_throttle_count"].unavailable == "the kernel counts none"
    place = root(
        {
            "sys/class/thermal/thermal_zone0/temp": "45000\n",
            "sys/class/thermal/thermal_zone1/temp": "71500\n",
            f"{cpu}/cpu0/thermal_throttle/core_throttle_count": "2\n",
            f"{cpu}/cpu1/thermal_throttle/core_throttle_count": "3\n",
        }
    )
    assert (hottest_celsius(thermal_zones(place)), throttle_count(place)) == (71.5, 5)


def test_heat_that_eight_processors_count_happened_once(root):
    """One event of a package of 8 logical processors on 4 cores is 1, and 2 events of one of its cores are 2 more."""
    files = {}
    for number in range(8):
        cpu = f"sys/devices/system/cpu/cpu{number}"
        files |= {
            f"{cpu}/topology/physical_package_id": "0\n",
            f"{cpu}/topology/core_id": f"{number % 4}\n",
            f"{cpu}/thermal_throttle/package_throttle_count": "1\n",
            f"{cpu}/thermal_throttle/core_throttle_count": "2\n" if number % 4 == 3 else "0\n",
        }
    assert throttle_count(root(files)) == 3


@pytest.mark.parametrize(
    ("governors", "words"),
    [(("powersave",) * 2, "powersave"),
     (("performance", "powersave", "powersave"), "performance on 1 of 3 processors, powersave on 2 of 3 processors")],
)  # fmt: skip
def test_a_governor_is_that_of_all_processors(root, governors, words):
    """One word where they agree; where they differ, each governor with how many have it."""
    cpu = "sys/devices/system/cpu/cpu"
    found = processor(root({f"{cpu}{n}/cpufreq/scaling_governor": f"{each}\n" for n, each in enumerate(governors)}))
    assert found["cpu_governor"].value == words


@pytest.mark.parametrize(
    ("installed", "cuda", "cudnn"),
    [
        ({"torch": "2.13.0+cpu"}, None, "torch 2.13.0+cpu is built for the CPU alone"),
        (
            {"torch": "2.13.0+cu126"},
            "12.6",
            "torch 2.13.0+cu126 does not name it, and no nvidia-cudnn package is installed",
        ),
        ({"torch": "2.13.0", "nvidia-cuda-runtime": "13.0.96", "nvidia-cudnn-cu13": "9.15"}, "13.0.96", "9.15"),
        ({}, None, "torch is not installed"),
    ],
)
def test_nvidias_libraries_are_named_by_their_packages(monkeypatch, installed, cuda, cudnn):
    """CUDA, cuDNN and NCCL come from package metadata or torch's build, or have a reason; nothing is loaded."""

    def version(name):
        if name not in installed:
            raise PackageNotFoundError(name)
        return installed[name]

    monkeypatch.setattr("fluxkit.machine.system.version", version)
    found = libraries()
    assert found["cuda_version"].value == cuda
    assert cudnn in {found["cudnn_version"].value, found["cudnn_version"].unavailable}


def test_the_doctor_counts_and_names_in_plain_words():
    """One remark is one remark, node 0 is a node, and the row about precision says what a run does."""
    findings = examine(
        System(readings=reading(numa_nodes="0", cpu_governor="powersave").readings, devices=(), packages={})
    )
    said = {finding.check: finding for finding in findings}
    assert said["memory nodes (NUMA)"].value == "node 0"
    assert "sets them as its spec asks" in said["precision switches"].value
    assert "1 remark, 1 doubt, " in conclusion(findings)
    several = examine(reading(numa_nodes="0-1"))
    assert next(each.value for each in several if each.check == "memory nodes (NUMA)") == "nodes 0-1"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (
            {"proc/self/cgroup": "0::/job\n", "sys/fs/cgroup/job/cpu.stat": "nr_throttled 4\nthrottled_usec 2500000\n"},
            (4, 2.5),
        ),
        (
            {
                "proc/self/cgroup": "2:cpu:/job\n",
                "sys/fs/cgroup/cpu/job/cpu.stat": "nr_throttled 1\nthrottled_time 500000000\n",
            },
            (1, 0.5),
        ),
        ({"proc/self/cgroup": "0::/\n"}, (None, None)),
    ],
    ids=["v2", "v1", "none"],
)
def test_throttling_by_a_quota(root, files, expected):
    """Both versions of control groups count it, in units of their own."""
    assert throttled(root(files)) == expected


def test_pressure_and_stolen_time(root):
    """Pressure is the share of the last ten seconds; stolen time is the eighth number of the first line."""
    place = root(
        {
            "proc/pressure/cpu": "some avg10=12.50 avg60=1.00 avg300=0.10 total=9\n",
            "proc/stat": "cpu 70 0 10 15 0 0 0 5 0 0\ncpu0 1 1 1 1\n",
            "proc/loadavg": "0.50 0.40 0.30 3/200 999\n",
        }
    )
    found = measuring_conditions(place, {"NVIDIA_TF32_OVERRIDE": "/secret"})
    assert found["pressure_cpu_percent"].value == 12.5
    assert found["runnable_threads"].value == 3
    assert found["tf32_override"].value == "set"
    assert found["overriding_variables"].unavailable == "none is set"
    assert stolen_share(place) == pytest.approx(0.05)


def test_overriding_variables_are_named_and_not_told(root):
    """What overrides a run's settings is named; its value may be private and stays where it is."""
    found = measuring_conditions(root({}), {"MKL_NUM_THREADS": "/secret", "CUDA_LAUNCH_BLOCKING": "1"})[
        "overriding_variables"
    ]
    assert found.value == "MKL_NUM_THREADS, CUDA_LAUNCH_BLOCKING"


def test_asking_for_the_clock_says_yes_no_or_why():
    """Whether the clock follows a time server is asked of the kernel, which may not say."""
    found = measuring_conditions()["clock_synchronised"]
    assert isinstance(found.value, bool) or found.unavailable


def test_a_gpu_with_links_counts_those_that_are_up(driver):
    """Links that are up are counted up to the first that does not exist; a GPU without any has none."""
    assert driver(NvLinkState=1).readings["gpu_0_nvlinks_active"].value == 18
    assert driver(NvLinkState=None).readings["gpu_0_nvlinks_active"].value is None


def test_a_gpu_that_is_clocked_down_is_remarked(driver):
    """Application clocks below the card's own make another configuration of a card."""
    found = verdicts(driver(ApplicationsClock=1100))
    assert found["GPU 0 application clock"] == "remark"


def test_ranges():
    """Whole numbers are written as the kernel does."""
    assert ranges([0, 1, 2, 5, 7, 8]) == "0-2,5,7-8"


def test_a_look_costs_little():
    """The doctor's look, which every result holds twice, costs a fraction of a processor second."""
    probe()
    began = time.process_time()
    examine(probe())
    assert time.process_time() - began < 1
