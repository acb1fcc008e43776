"""What machine this is, probed without torch; each value with its source, or `unavailable` with the reason."""

from __future__ import annotations

from pydantic import BaseModel

from fluxkit.spec import FROZEN, canonical_sha256


class Reading(BaseModel):
    """One fact about the machine."""

    model_config = FROZEN

    value: bool | int | float | str | None
    """What was read; null where it could not be."""
    source: str
    """File, call or command it was read from."""
    unavailable: str | None = None
    """Why there is no value."""


class Device(BaseModel):
    """One device that can run the workload, as seen at run time."""

    model_config = FROZEN

    kind: str
    """`cpu` or `cuda`."""
    name: str
    """The maker's name of it."""
    memory_bytes: int | None
    """Memory that it may use."""
    uuid: str | None = None
    """The GPU's or MIG slice's own id."""


class System(BaseModel):
    """One look at the machine."""

    model_config = FROZEN

    readings: dict[str, Reading]
    """Facts by name, for example `cpu_logical_cores`, `load_average_1_minute`, `nvidia_driver`."""
    devices: tuple[Device, ...]
    """The CPU first, then every visible GPU."""
    packages: dict[str, str]
    """Versions of the packages that can change a number."""

    def devices_of(self, kind: str) -> tuple[Device, ...]:
        """The devices of one kind, in order."""
        return tuple(device for device in self.devices if device.kind == kind)

    def fingerprint(self, kind: str, count: int) -> str:
        """Hash of what identifies the hardware of a row: kind, names, memory and how many; never a label."""
        devices = [(device.kind, device.name, device.memory_bytes) for device in self.devices_of(kind)[:count]]
        return canonical_sha256([devices, count])
