"""A fact about the machine with its source, or the reason why there is none; and how the kernel's files are read."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import Field

from fluxkit.values import Frozen, Number, Whole

Value = bool | float | str | None
Look = tuple[str, Callable[[], Value]] | tuple[str, Callable[[], Value], str]
"""Source, how it is read, and what to say where there is none: the arguments of `attempt`."""

ROOT = Path("/")
"""Where /proc and /sys lie; tests read made-up machines from elsewhere."""
CPUS = "sys/devices/system/cpu"


class Reading(Frozen):
    """One fact about the machine."""

    value: bool | Annotated[int, Field(ge=-(2**64), le=2**64)] | Number | str | None
    """What was read; null where it could not be."""
    source: str
    """File, call or command it was read from."""
    unavailable: str | None = None
    """Why there is no value."""


class Device(Frozen):
    """One device that can run the workload, as seen at run time."""

    kind: str
    """`cpu` or `cuda`."""
    name: str
    """The maker's name of it."""
    memory_bytes: Whole | None
    """Memory that it may use."""
    uuid: str | None = None
    """The GPU's or MIG slice's own id."""


class PlacedDevice(NamedTuple):
    """A device that a process is put on, with what a plan asks of it."""

    name: str
    memory_bytes: int | None
    uuid: str | None = None
    reserved_bytes: int = 0
    """Of the memory, what the GPU's driver keeps to itself."""
    compute_capability: float | None = None
    """Generation of the GPU, as NVIDIA numbers them: 9.0 is Hopper."""


def attempt(source: str, read: Callable[[], Value], none: str = "it is not stated") -> Reading:
    """What `read` gives, or `unavailable` with the reason (`none` if it gives None): a probe never stops a run."""
    try:
        value = read()
    except Exception as error:  # noqa: BLE001 - whatever a foreign machine raises is a reason, not a crash
        return Reading(value=None, source=source, unavailable=reason(error))
    if value is None or value == "":
        return Reading(value=None, source=source, unavailable=none)
    return Reading(value=value, source=source)


def attempts(looks: Mapping[str, Look]) -> dict[str, Reading]:
    """A reading of each name; one that fails leaves the others alone."""
    return {name: attempt(*look) for name, look in looks.items()}


def reason(error: Exception) -> str:
    """Why, in words; an operating system's error leaves out the path, which the source already names."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error) or type(error).__name__


def read_text(file: Path) -> str:
    """What stands in one of the kernel's files.

    Raises:
        OSError: it can't be read.
    """
    return file.read_text("ascii", "replace").strip()


def read_number(file: Path) -> float:
    """The number in one of the kernel's files.

    Raises:
        OSError: it can't be read.
        ValueError: it holds no number.
    """
    return float(read_text(file))


def read_numbers(files: Iterable[Path]) -> list[float]:
    """The numbers in those of the kernel's files that have one: a sensor that is switched off has none."""
    numbers = []
    for file in files:
        with suppress(OSError, ValueError):
            numbers.append(read_number(file))
    return numbers


def read_words(file: Path) -> list[str]:
    """The words in one of the kernel's files; none where it can't be read."""
    try:
        return read_text(file).split()
    except OSError:
        return []


def read_counters(file: Path) -> dict[str, int]:
    """Counters by name, one a line, as in `cpu.stat`, `memory.events` and `vmstat`; none where it can't be read."""
    try:
        lines = [line.split() for line in read_text(file).splitlines()]
    except OSError:
        return {}
    return {line[0]: int(line[1]) for line in lines if len(line) == 2 and line[1].isdecimal()}  # noqa: PLR2004 - a pair


def control_groups(controller: str, root: Path = ROOT) -> list[Path]:
    """Folders of this process's control group and all around it: every limit on the way up holds.

    Raises:
        OSError: the kernel has no control groups.
    """
    folders = []
    for line in (root / "proc/self/cgroup").read_text("utf-8").splitlines():
        number, controllers, path = line.split(":", 2)
        if number != "0" and controller not in controllers.split(","):
            continue
        mount = root / "sys/fs/cgroup" / ("" if number == "0" else controller)
        parts = [part for part in path.split("/") if part not in {"", ".."}]
        folders += [mount.joinpath(*parts[:depth]) for depth in range(len(parts) + 1)]
    return folders


def core_of(cpu: Path) -> tuple[str, str] | None:
    """Package and core that a logical processor is on; None where the kernel does not say."""
    try:
        return read_text(cpu / "topology/physical_package_id"), read_text(cpu / "topology/core_id")
    except OSError:
        return None
