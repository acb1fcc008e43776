"""What the product says of machines whose driver tells little, or of GPUs that are not this process's."""

from __future__ import annotations

import pytest

from fluxkit.machine.nvml_sampler import Gpus
from fluxkit.machine.system import System
from gpu_stand_in.cards import CARDS
from gpu_stand_in.nvml import driver_of, machine_with

MIG = "MIG-00000000-aaaa-bbbb-cccc-000000000000"


def uuids(system: System) -> list[str | None]:
    return [device.uuid for device in system.devices_of("cuda")]


@pytest.mark.parametrize("name", CARDS)
def test_a_card_is_known_by_what_its_driver_says(name: str) -> None:
    """Name, memory and UUID are the driver's; what it does not tell has a reason, and no call is missing."""
    system = machine_with(name)
    (card,) = system.devices_of("cuda")
    assert (card.name, card.memory_bytes) == (CARDS[name].name, CARDS[name].memory_bytes)
    untold = {key: reading.unavailable for key, reading in system.readings.items() if reading.unavailable}
    assert {why for key, why in untold.items() if key.startswith("gpu_0")} <= {"Not Supported"}


def test_unsupported_fields_take_nothing_else_away() -> None:
    """A consumer's card knows no ECC, no MIG and no NVLink; its power, clocks and temperature are read all the same."""
    system = machine_with("RTX4090")
    for name in ("ecc_mode", "mig_mode", "nvlinks_active", "application_clock_hertz"):
        assert system.readings[f"gpu_0_{name}"].unavailable == "Not Supported"
    assert system.number("gpu_0_power_limit_watts") == 450
    assert system.number("gpu_0_sm_clock_hertz") == 1.98e9
    assert system.number("gpu_0_temperature_celsius") == 41


def test_no_driver_is_a_reason() -> None:
    """Without cards there is no library, and the reading says so."""
    system = machine_with()
    assert uuids(system) == []
    assert system.readings["nvidia_driver"].unavailable == "NVML Shared Library Not Found"


@pytest.mark.parametrize(
    ("words", "open_slots"), [(("H100", "!H100"), [0]), (("!A100-80", "A100-80", "!A100-80", "A100-80"), [1, 3])]
)
def test_closed_gpus_are_passed_over(words: tuple[str, ...], open_slots: list[int]) -> None:
    """A Slurm job on part of a node sees the GPUs that it was given, in order."""
    system = machine_with(*words)
    assert uuids(system) == [f"GPU-{slot:08d}-1111-2222-3333-444444444444" for slot in open_slots]
    assert system.number("gpus_visible") == len(open_slots)


def test_the_given_gpu_is_number_0(monkeypatch: pytest.MonkeyPatch) -> None:
    """CUDA numbers what it may open, so 0 is the first that is not closed."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert uuids(machine_with("!H100", "H100")) == ["GPU-00000001-1111-2222-3333-444444444444"]


def test_unlike_cards_are_numbered_as_cuda_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fastest card is number 0, wherever its slot is, unless the order of the bus is asked for."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert [card.name for card in machine_with("T4", "A40", "T4").devices_of("cuda")] == [CARDS["A40"].name]
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    assert [card.name for card in machine_with("T4", "A40", "T4").devices_of("cuda")] == [CARDS["T4"].name]


def test_the_reserve_is_no_use_of_the_card() -> None:
    """What the driver keeps is read apart, so that an idle card has nothing in use."""
    system = machine_with("A40")
    assert system.number("gpu_0_memory_reserved_bytes") == CARDS["A40"].reserved_bytes
    assert system.number("gpu_0_memory_used_bytes") == 0


def test_a_screen_is_nobody() -> None:
    """A consumer's card has a screen, which is not taken for somebody's work."""
    system = machine_with("RTX4090")
    assert system.number("gpu_0_foreign_processes") == 0
    assert system.number("gpu_0_screen_processes") == 1


def test_all_closed_is_no_gpu() -> None:
    """Nothing that may be used is nothing, with the reason."""
    system = machine_with("!H100", "!H100")
    assert uuids(system) == []
    assert any("ermission" in str(reading) for reading in system.readings.values())


def test_a_divided_gpu_shows_one_slice() -> None:
    """A process sees one MIG slice at most, under its own name and with its own memory."""
    system = machine_with("H100/2")
    (device,) = system.devices_of("cuda")
    assert device.uuid == MIG
    assert device.name == "NVIDIA H100 80GB HBM3 MIG 3g.40gb"
    assert device.memory_bytes == CARDS["H100"].memory_bytes // 2


def test_a_named_slice_is_the_one_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """CUDA_VISIBLE_DEVICES names a slice by its UUID."""
    other = "MIG-00000001-aaaa-bbbb-cccc-000000000001"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", other)
    assert uuids(machine_with("H100/2", "H100/2")) == [other]


def test_a_slice_has_no_counters_of_its_own() -> None:
    """What the whole GPU draws is not said of a slice of it, and the sampler says why."""
    with driver_of("H100/2"), Gpus([MIG]) as gpus:
        assert gpus.joules() is None
        assert gpus.watts() is None
        assert "MIG slice" in gpus.missing


@pytest.mark.parametrize("name", CARDS)
def test_every_whole_card_is_sampled(name: str) -> None:
    """Clocks, temperature, power and energy come from each of them."""
    with driver_of(name, name), Gpus([f"GPU-{slot:08d}-1111-2222-3333-444444444444" for slot in range(2)]) as gpus:
        assert gpus.missing is None
        assert [sample["temperature_celsius"] for sample in gpus.sample()] == [41, 41]
        assert gpus.watts() == 2 * CARDS[name].power_limit_watts
        assert gpus.joules() == 2e6
