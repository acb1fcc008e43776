"""What makes a machine unfit to measure, by made-up files."""

from __future__ import annotations

import pytest

from fluxkit.machine.conditions import (
    hottest_celsius,
    measuring_conditions,
    power_source,
    ranges,
    stolen_share,
    thermal_zones,
    throttle_count,
    throttled,
    turbo,
)


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
    assert found.value == "CUDA_LAUNCH_BLOCKING, MKL_NUM_THREADS"


def test_asking_for_the_clock_says_yes_no_or_why():
    """Whether the clock follows a time server is asked of the kernel, which may not say."""
    found = measuring_conditions()["clock_synchronised"]
    assert isinstance(found.value, bool) or found.unavailable


def test_ranges():
    """Whole numbers are written as the kernel does."""
    assert ranges([0, 1, 2, 5, 7, 8]) == "0-2,5,7-8"


@pytest.mark.parametrize(
    ("supplies", "source"),
    [
        ({"AC/type": "Mains", "AC/online": "1", "BAT0/type": "Battery", "BAT0/status": "Charging"}, "mains"),
        ({"AC/type": "Mains", "AC/online": "0", "BAT0/type": "Battery", "BAT0/status": "Discharging"}, "battery"),
        ({"BAT0/type": "Battery", "BAT0/status": "Full"}, "mains"),
        ({"mouse/type": "Battery", "mouse/status": "Discharging", "mouse/scope": "Device"}, "mains"),
    ],
)
def test_power_source(root, supplies, source):
    """A charger that is plugged in means mains; a battery that empties means battery, if it isn't a mouse's."""
    assert power_source(root({f"sys/class/power_supply/{name}": text for name, text in supplies.items()})) == source


def test_a_machine_without_power_supplies_says_so(root):
    """A server lists no power supply, which is a reason and not a value."""
    place = root({"sys/class/power_supply/.keep": ""})
    (place / "sys/class/power_supply/.keep").unlink()
    assert measuring_conditions(place, {})["power_source"].unavailable == "the kernel lists no power supply"
