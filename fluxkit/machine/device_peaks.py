"""What a device should deliver: peaks with source and date, and the share of them that FLUX reaches; pure data.

Source: `data/devices.toml`, in which every number has its own.
"""

import re
import tomllib
from functools import cache
from importlib.resources import files
from typing import Literal, NamedTuple, get_args

from fluxkit.errors import UsageError
from fluxkit.spec.execution import InferencePrecision
from fluxkit.values import Frozen

Work = Literal["tuning", "inference"]
WORKS: tuple[Work, ...] = get_args(Work)
PRECISIONS: tuple[InferencePrecision, ...] = get_args(InferencePrecision)
REFERENCE_CPU, REFERENCE_CORES = "laptop-cpu", 2
"""The CPU of `devices.toml`, and how many cores its rates are of."""


class Peaks(Frozen):
    """One entry of `devices.toml`."""

    name: str
    """What `fluxkit plan --device` calls it."""
    title: str
    kind: Literal["cpu", "cuda"]
    match: tuple[str, ...]
    """Patterns of the names under which drivers know it."""
    memory_bytes: int
    memory_source: str
    ieee_float32: float
    """Dense FLOP/s of float32 products in IEEE arithmetic."""
    tf32: float | None = None
    """The same in TF32, where the device has it."""
    bfloat16: float
    """The same in bfloat16."""
    flops_source: str
    bandwidth_bytes_per_second: float
    bandwidth_source: str
    date: str
    """Of the source, or of the measurement."""

    def peak_flops_per_second(self, precision: InferencePrecision) -> float | None:
        """Dense FLOP/s in a precision; None where the device does not have it."""
        return {"ieee_float32": self.ieee_float32, "tf32": self.tf32, "bfloat16": self.bfloat16}[precision]


class Efficiency(Frozen):
    """Which share of the peak a kind of work reaches, and how that is known."""

    family: Literal["nano", "schnell"]
    work: Work
    precision: InferencePrecision
    devices: tuple[str, ...]
    """Names of the devices it is stated for."""
    share: float
    """Achieved FLOP/s / peak FLOP/s."""
    origin: str
    """Measured where, published where, or assumed why."""


class Compiling(Frozen):
    """What compiled blocks give a kind of tuning, what compiling them takes, and how that is known."""

    family: Literal["nano", "schnell"]
    precision: InferencePrecision
    devices: tuple[str, ...]
    """Names of the devices it is stated for."""
    step_share: float
    """Seconds of a compiled step / seconds of one that is not."""
    seconds: float
    """Of compiling, once a run."""
    origin: str
    """Measured where, published where, or assumed why."""


class Saturation(Frozen):
    """With how many tokens in one pass a kind of device denoises an image no faster than with more; and the source."""

    family: Literal["nano", "schnell"]
    kind: Literal["cpu", "cuda"]
    tokens: int
    """Of all images of a pass together."""
    origin: str
    """Measured where, published where, or assumed why."""


class _File(Frozen):
    device: tuple[Peaks, ...]
    efficiency: tuple[Efficiency, ...]
    compiling: tuple[Compiling, ...]
    saturation: tuple[Saturation, ...]


@cache
def _file() -> _File:
    return _File.model_validate(tomllib.loads((files("fluxkit") / "data/devices.toml").read_text("utf-8")))


def known_devices() -> tuple[Peaks, ...]:
    """Every device of the file, in its order."""
    return _file().device


def device_named(name: str) -> Peaks:
    """The device that a user names; letter case does not matter.

    Raises:
        UsageError: there is none of that name.
    """
    for device in known_devices():
        if device.name.lower() == name.lower():
            return device
    names = ", ".join(device.name for device in known_devices())
    raise UsageError(f"No device {name!r} is known; there are: {names}.")


def peaks_of(device_name: str) -> Peaks | None:
    """The entry of a device by its driver's name; None for one that is not known, or a MIG slice of one."""
    if "MIG" in device_name:
        return None
    for device in known_devices():
        if device_name == device.title or any(re.search(pattern, device_name) for pattern in device.match):
            return device
    return None


def efficiency(device: Peaks, family: str, work: Work, precision: InferencePrecision) -> Efficiency | None:
    """The stated efficiency of some work on a device; None where none is."""
    for entry in _file().efficiency:
        kind = (entry.family, entry.work, entry.precision)
        if kind == (family, work, precision) and device.name in entry.devices:
            return entry
    return None


def compiling(device: Peaks, family: str, precision: InferencePrecision) -> Compiling | None:
    """What compiled blocks give tuning on a device; None where nothing is known of it."""
    for entry in _file().compiling:
        if (entry.family, entry.precision) == (family, precision) and device.name in entry.devices:
            return entry
    return None


def saturation(family: str, kind: str) -> Saturation:
    """What saturates a kind of device; stated for every family and kind."""
    return next(entry for entry in _file().saturation if (entry.family, entry.kind) == (family, kind))


def flops_per_second(device: Peaks, family: str, work: Work, precision: InferencePrecision) -> float | None:
    """FLOP/s to expect: peak x stated efficiency; None where either is not known."""
    peak, reached = device.peak_flops_per_second(precision), efficiency(device, family, work, precision)
    return peak * reached.share if peak and reached else None


class ExpectedRates(NamedTuple):
    """What to expect of a device for one family of models."""

    device: Peaks
    assumed: bool
    """Whether a CPU is not known, and taken for the one of `devices.toml`."""
    flops_per_second: dict[tuple[Work, InferencePrecision], float]
    """Of the work and precisions for which an efficiency is stated."""
    compiling: dict[InferencePrecision, Compiling]
    """By the precisions of tuning for which it is known."""


def expected_rates(device_name: str, kind: str, family: str) -> ExpectedRates | None:
    """The rates of a device by its driver's name; None for a GPU that is not known."""
    known = peaks_of(device_name)
    device = device_named(REFERENCE_CPU) if known is None and kind == "cpu" else known
    if device is None:
        return None
    rates = {
        (work, precision): rate
        for work in WORKS
        for precision in PRECISIONS
        if (rate := flops_per_second(device, family, work, precision))
    }
    compiled = {precision: entry for precision in PRECISIONS if (entry := compiling(device, family, precision))}
    return ExpectedRates(device, known is None, rates, compiled)
