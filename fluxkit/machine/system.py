"""What machine this is, probed without torch; each value with its source, or `unavailable` with the reason."""

from __future__ import annotations

import functools
import re
from functools import partial
from importlib.metadata import PackageNotFoundError, version

from pydantic import BaseModel

from fluxkit.machine.conditions import vitals
from fluxkit.machine.nvml_probe import gpus
from fluxkit.machine.readings import (
    Device,
    Reading,
    attempt,
    conditions,
    memory,
    operating_system,
    processor,
    surroundings,
)
from fluxkit.values import FROZEN, canonical_sha256

WHEELS = {"cuda": "nvidia-cuda-runtime", "cudnn": "nvidia-cudnn", "nccl": "nvidia-nccl"}
SUFFIXES = ("-cu13", "-cu12", "-cu11", "")
"""Of a wheel's name: the major version of CUDA that it is for, which newer ones leave out."""


def libraries() -> dict[str, Reading]:
    """CUDA, cuDNN and NCCL, or why not; CUDA also from the name of torch's build, which may bring it by itself."""
    return {
        f"{name}_version": attempt("metadata of the nvidia-* and torch packages", partial(_version, name))
        for name in WHEELS
    }


def _version(name: str) -> str:
    """Raises: LookupError: there is none, with the reason in words."""
    for suffix in SUFFIXES:
        if found := _installed(WHEELS[name] + suffix):
            return found
    torch = _installed("torch")
    if torch is None:
        raise LookupError("torch is not installed")
    build = torch.partition("+")[2]
    if build == "cpu":
        raise LookupError(f"torch {torch} is built for the CPU alone")
    digits = re.fullmatch(r"cu(\d+)(\d)", build)
    if name == "cuda" and digits:
        return f"{digits[1]}.{digits[2]}"
    raise LookupError(f"torch {torch} does not name it, and no {WHEELS[name]} package is installed")


def _installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


ENGINE_PACKAGES = (
    "torch", "diffusers", "transformers", "accelerate", "peft", "scikit-image", "safetensors", "pillow",
)  # fmt: skip
"""What `fluxkit[engine]` brings."""
PACKAGES = (
    "torch", "diffusers", "transformers", "accelerate", "peft", "scikit-image", "numpy", "tokenizers", "safetensors",
    "pillow", "torchao", "nvidia-cuda-runtime", "nvidia-cuda-runtime-cu12",
)  # fmt: skip
"""Packages that can change a number."""


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

    def number(self, name: str) -> float | None:
        """The value of a reading where it is a number, else None."""
        reading = self.readings.get(name)
        value = reading.value if reading else None
        return value if isinstance(value, int | float) else None

    def fingerprint(self, kind: str, count: int) -> str:
        """Hash of what identifies the hardware of a row: kind, names, memory and how many; never a label.

        A CPU is identified by its usable cores too: one name covers machines of 2 and of 128.
        """
        devices = tuple((device.kind, device.name, device.memory_bytes) for device in self.devices_of(kind)[:count])
        cores = self.number("cpu_usable_cores") if kind == "cpu" else None
        return _fingerprint(devices, cores, count)


@functools.lru_cache(maxsize=1024, typed=True)
def _fingerprint(devices: tuple[tuple[str, str, int | None], ...], cores: float | None, count: int) -> str:
    """Kept, because every contrast of a comparison asks for it again."""
    return canonical_sha256([devices, cores, count])


def probe() -> System:
    """One look at this machine, in milliseconds. No host name, user name or home path is in it."""
    readings = operating_system() | processor() | memory() | conditions() | surroundings() | vitals() | libraries()
    about_gpus, gpu_devices = gpus()
    return System(readings=readings | about_gpus, devices=(_cpu(readings), *gpu_devices), packages=installed_packages())


def installed_packages() -> dict[str, str]:
    """Versions of the packages of `PACKAGES` that are installed, from their metadata."""
    from importlib.metadata import PackageNotFoundError, version

    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


def _cpu(readings: dict[str, Reading]) -> Device:
    """The CPU with the memory that this process may use of it."""
    sizes = [readings[name].value for name in ("memory_total_bytes", "memory_limit_bytes")]
    return Device(
        kind="cpu",
        name=str(readings["cpu_model"].value or "CPU"),
        memory_bytes=min((size for size in sizes if isinstance(size, int)), default=None),
    )
