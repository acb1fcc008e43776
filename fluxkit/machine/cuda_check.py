"""Why a GPU can't be used here, and what to do: none is shown, torch is built without CUDA, the driver is too old."""

from collections.abc import Sequence

from fluxkit.errors import MachineError
from fluxkit.machine.container import FLAGS, own_image_flags
from fluxkit.machine.readings import PlacedDevice
from fluxkit.machine.system import System
from fluxkit.spec.execution import NO_MPS
from fluxkit.spec.run_spec import RunSpec

OLDEST_DRIVER = {"11": 450, "12": 525, "13": 580}
"""First branch of NVIDIA's Linux driver that runs a major version of CUDA.

Source: NVIDIA, CUDA Compatibility, table of minor version compatibility.
"""


OLDEST_GPU = {"13": 7.5}
"""First compute capability that a major version of CUDA compiles kernels for. Source: NVIDIA, CUDA 13.0 release notes:
Maxwell, Pascal and Volta are gone."""


def no_gpu(spec: RunSpec, system: System) -> str:
    """What to tell who asks for a GPU where the driver shows none."""
    kernel = system.readings.get("kernel")
    if kernel and str(kernel.value).startswith("Darwin"):
        return f"{spec.name} asks for an NVIDIA GPU, which no Mac has; {NO_MPS}."
    container = system.readings.get("container")
    flags = FLAGS.get(str(container.value)) if container else None
    where = "this container" if flags else "this machine"
    mend = f"start the CUDA image with {flags.gpus}" if flags else "run it"
    return (
        f"{spec.name} asks for a GPU, but {where} shows no NVIDIA GPU ({_why_no_gpu(system)}); "
        f"{mend} on a machine with one, or use nano-laptop-cpu."
    )


def _why_no_gpu(system: System) -> str:
    driver = system.readings.get("nvidia_driver")
    if driver is None or driver.unavailable:
        return driver.unavailable if driver and driver.unavailable else "the driver was not asked"
    if lacking := gpu_not_there(system):
        return lacking
    if system.number("gpus_installed"):
        return "CUDA_VISIBLE_DEVICES hides those that are installed"
    return closed_gpus(system) or "the driver lists none"


def closed_gpus(system: System) -> str:
    """How many GPUs of the machine are not this process's; empty where all are."""
    count = int(system.number("gpus_closed") or 0)
    return f"{count} of the machine's GPUs {'is' if count == 1 else 'are'} closed to this process" if count else ""


def gpu_not_there(system: System) -> str:
    """Which device CUDA_VISIBLE_DEVICES names in vain, and which there are; empty where all are there."""
    lacking, count = system.readings.get("gpu_not_there"), int(system.number("gpus_installed") or 0)
    if lacking is None or not count:
        return ""
    there = "only 0 is" if count == 1 else f"0 to {count - 1} are"
    return f"CUDA_VISIBLE_DEVICES names {lacking.value}, which is not there; {there}"


def check_cuda(system: System, devices: Sequence[PlacedDevice]) -> None:
    """Whether torch is built for GPUs and for these, and the driver is new enough for its CUDA.

    Raises:
        MachineError: it is not.
    """
    torch = system.packages.get("torch", "")
    if torch.endswith("+cpu"):
        mend = "start the CUDA image" if own_image_flags() else "install a torch built for this machine's driver"
        raise MachineError(f"torch {torch} is built without CUDA; {mend} instead.")
    cuda = next((version for name, version in system.packages.items() if name.startswith("nvidia-cuda-runtime")), "")
    reading = system.readings.get("nvidia_driver")
    driver, needed = str(reading.value) if reading else "", OLDEST_DRIVER.get(cuda.partition(".")[0])
    branch = driver.partition(".")[0]
    if needed and branch.isdecimal() and int(branch) < needed:
        raise MachineError(
            f"torch {torch} is built for CUDA {cuda}, which needs driver {needed} or newer, but this machine has "
            f"{driver}; update its driver, or install a torch built for an older CUDA."
        )
    oldest = OLDEST_GPU.get(cuda.partition(".")[0], 0.0)
    for device in devices:
        if device.compute_capability is not None and device.compute_capability < oldest:
            raise MachineError(
                f"torch {torch} is built for CUDA {cuda}, which has kernels from compute capability {oldest} on, but "
                f"{device.name} has {device.compute_capability}; use a newer GPU, or install a torch built for an "
                "older CUDA."
            )
