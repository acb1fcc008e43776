"""Which attention kernels may run, by device and precision, and which one really ran.

Source: PyTorch `torch.nn.attention`. On CUDA flash and cuDNN attention take half precision only; FP32 goes through the
memory-efficient kernel, or where that does not fit the plain products. On a CPU torch's choice stands: it has one
fused kernel, for every precision.

On Hopper cuDNN's kernel is the fastest: 631 TFLOP/s against 329 of flash at 24 heads x 4608 tokens x 128 (PyTorch
issue 142132). On Ampere and Ada flash is.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext

import torch
from torch.nn import Module
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.profiler import ProfilerActivity, profile

from fluxkit.spec.execution import Attention

HALF = (SDPBackend.FLASH_ATTENTION, SDPBackend.CUDNN_ATTENTION, SDPBackend.EFFICIENT_ATTENTION)
HALF_ON_HOPPER = (SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION)
HOPPER = 9
"""The major part of its compute capability."""
SINGLE = (SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH)
NAMED = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "math": SDPBackend.MATH,
}
_OPERATOR = "aten::_scaled_dot_product_"


def allowed_backends(device: torch.device, precision: str, choice: Attention) -> tuple[SDPBackend, ...]:
    """The backends that may run, the preferred first; none named means torch's own choice.

    Without plain products in half precision: they would hold a number for every pair of tokens.
    """
    if choice != "auto":
        return (NAMED[choice],)
    if device.type != "cuda":
        return ()
    if precision != "bfloat16":
        return SINGLE
    return HALF_ON_HOPPER if torch.cuda.get_device_capability(device)[0] == HOPPER else HALF


def attention_backends(device: torch.device, precision: str, choice: Attention) -> AbstractContextManager[None]:
    """Only the allowed backends, for a while."""
    backends = allowed_backends(device, precision, choice)
    return sdpa_kernel([*backends], set_priority=True) if backends else nullcontext()


def observed_kernels(work: Callable[[], object], first_pass_of: Module | None = None) -> str:
    """Does the work and names torch's attention operators that it called, without their common beginning.

    With a module only its first forward pass is watched: watching takes memory, which is measured too.
    """
    with ExitStack() as watching:
        profiler = watching.enter_context(profile(activities=[ProfilerActivity.CPU]))
        if first_pass_of is not None:
            hook = first_pass_of.register_forward_hook(lambda *_: watching.close())
            watching.callback(hook.remove)
        work()
    names = {event.key for event in profiler.key_averages() if event.key.startswith(_OPERATOR)}
    forward = sorted(name.removeprefix(_OPERATOR) for name in names if not name.endswith("_backward"))
    return " + ".join(forward) or "none"
