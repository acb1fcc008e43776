"""The stand-in itself: it refuses what CUDA refuses, and counts what a host would wait for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gpu_stand_in import library

if TYPE_CHECKING:
    from pathlib import Path

    from gpu_stand_in.engines import Engines

TWO_DEVICES = "Expected all tensors to be on the same device"
WAITS = {
    "device + a number on the host": "",
    "device + device": "",
    "item": "host read",
    "a comparison": "host read",
    "tolist": "host read",
    "cpu": "host read",
    "cpu, non_blocking": "pinned copy",
    "nonzero": "host read",
    "a list as index": "blocking copy",
    "a mask as index": "host read",
    "an index on the device": "",
    "to the device": "blocking copy",
    "to the device, non_blocking": "pageable copy",
    "to the device, pinned and non_blocking": "pinned copy",
    "made on the device": "",
    "made on the device from a list": "blocking copy",
    "synchronize": "synchronize",
    "backward": "",
    "fused AdamW": "",
}


@pytest.fixture(scope="module")
def outcomes(engines: Engines, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return engines.call(tmp_path_factory.mktemp("planted"), "gpu_stand_in.planted:outcomes", "H100", "H100")


@pytest.mark.parametrize("mistake", ["host + device", "device + another device", "host @ device"])
def test_operands_of_two_devices_are_refused(outcomes: dict[str, str], mistake: str) -> None:
    """In CUDA's words."""
    assert outcomes[mistake].startswith(TWO_DEVICES)


def test_memory_of_a_device_is_no_array(outcomes: dict[str, str]) -> None:
    """NumPy can't reach it."""
    assert outcomes["numpy"].startswith("can't convert cuda:0")


@pytest.mark.parametrize(("work", "kinds"), WAITS.items())
def test_what_the_host_waits_for_is_counted(outcomes: dict[str, str], work: str, kinds: str) -> None:
    """Reads, copies by how they are made, and nothing where nobody waits."""
    assert outcomes[work] == kinds


def test_a_device_that_waits_for_its_host_is_told_from_one_that_is_behind(engines: Engines, tmp_path: Path) -> None:
    """What the host needs to issue work stands apart from how long the device has it."""
    times = engines.call(tmp_path, "gpu_stand_in.planted:host_times", "H100")
    issue, device = times["device"]
    assert issue < 0.5 * device
    assert device >= 5e-3
    issue, device = times["host"]
    assert issue == pytest.approx(device, rel=0.1)


def test_it_is_made_for_the_torch_of_the_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    """On another version, or one that is built for CUDA, it is not built, and the reason names both."""
    wanted = library.locked_torch()
    for other in ("2.12.0+cpu", wanted.partition("+")[0]):
        monkeypatch.setattr(library, "version", lambda _package, other=other: other)
        assert f"torch {wanted}" in library.obstacle()
        assert library.obstacle().endswith(f"this is {other}")


def test_it_needs_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without g++ it is not built, and that is the reason."""
    monkeypatch.setattr(library, "version", lambda _package: library.locked_torch())
    monkeypatch.setenv("PATH", "")
    assert "no g++" in library.obstacle()
