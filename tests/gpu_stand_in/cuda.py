"""`torch.cuda` and what else of torch asks for CUDA, on made-up cards. For a process of its own: nothing is undone."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import safetensors.torch
import torch
import torch._dynamo
import torch._inductor.utils  # before there seems to be CUDA: both look for it when they are imported
import torch.distributed
from torch.utils._device import _device_constructors

from gpu_stand_in.attention import attention_with
from gpu_stand_in.tensor import CudaTensor, index_of, to_host
from gpu_stand_in.waits import HOST_READ, SYNCHRONIZE, live, waits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from gpu_stand_in.cards import Installed

CUDA, CUDNN = "13.0", 92000
FUSED_ON_CUDA = ("silu_backward", "mish_backward")
"""Operators that autograd takes apart, and rounds in between, where a device has no kernel for them."""
kernels = torch.library.Library("aten", "IMPL")


class Queue:
    """When the device will have done all that it was told; never after now, unless a test gives it work."""

    def __init__(self) -> None:
        self._free_at = 0.0

    def add(self, seconds: float) -> None:
        """Work that takes the device so long after all before it, and the host no time."""
        self._free_at = self.now() + seconds

    def now(self) -> float:
        """The host's clock when the device has done what it was told so far."""
        return max(self._free_at, time.perf_counter())

    def wait(self) -> None:
        """Until then."""
        time.sleep(max(0.0, self._free_at - time.perf_counter()))


queue = Queue()


class Event(SimpleNamespace):
    """The moment at which the device has done what it was told before."""

    def __init__(self, enable_timing: bool = False, **_: Any) -> None:
        super().__init__(enable_timing=enable_timing, seconds=None, waits_before=0)

    def record(self, _stream: object = None) -> None:
        self.seconds, self.waits_before = queue.now(), len(waits.all)

    def elapsed_time(self, later: Event) -> float:
        """Milliseconds. What the host waited for in between counts as waited for within a measured time."""
        if not (self.enable_timing and later.enable_timing):
            raise ValueError("Both events must be created with argument 'enable_timing=True'.")
        waits.timed_between(self.waits_before, later.waits_before)
        return (later.seconds - self.seconds) * 1000

    def synchronize(self) -> None:
        waits.note(SYNCHRONIZE)

    def query(self) -> bool:
        return True

    def wait(self, _stream: object = None) -> None:
        """It is over."""


class Stream:
    """A name: everything is done in order."""

    def __init__(self, *_: Any, **__: Any) -> None:
        self.cuda_stream = 0

    def wait_stream(self, _other: object) -> None:
        """It is done."""

    def wait_event(self, _event: object) -> None:
        """It is over."""

    def record_event(self, event: Event | None = None) -> Event:
        event = event or Event()
        event.record()
        return event

    def synchronize(self) -> None:
        waits.note(SYNCHRONIZE)

    def query(self) -> bool:
        return True


class Generator(torch.Generator):
    """Draws on the host, and says on which device it would."""

    def __new__(cls, device: torch.device | str = "cpu") -> torch.Generator:
        return super().__new__(cls, "cpu") if index_of(device) is not None else torch._C.Generator(device)


def install(cards: Sequence[Installed]) -> None:
    """Makes torch believe in these cards, all alike but for their UUIDs."""
    os.environ["FLUXKIT_STAND_IN_DEVICES"] = str(len(cards))
    for name, value in {**_devices(cards), **_memory(cards), **_streams(), **_random()}.items():
        setattr(torch.cuda, name, value)
    torch.version.cuda = CUDA
    torch.backends.cudnn.version = lambda: CUDNN
    torch.nn.functional.scaled_dot_product_attention = attention_with(cards[0].card.compute_capability)
    _device_constructors()  # what `with torch.device(...)` means; it keeps what it finds when it is first asked
    torch.tensor = _tensor(torch.tensor)
    torch.Generator = Generator
    for name in FUSED_ON_CUDA:
        kernels.impl(name, _never_called, "CUDA")
    # A parameter on the host can't become one on a device in place.
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    safetensors.torch.save_file = _save_file(safetensors.torch.save_file)
    torch.distributed.init_process_group = _by_gloo(torch.distributed.init_process_group)
    torch.distributed.barrier = _barrier(torch.distributed.barrier)


def _never_called(*_: Any) -> Any:
    """Python comes first."""
    raise NotImplementedError


def _devices(cards: Sequence[Installed]) -> dict[str, Any]:
    current = 0

    def place(device: Any = None) -> int:
        if device is None:
            return current
        return device if isinstance(device, int) else index_of(device) or 0

    def set_device(device: Any) -> None:
        nonlocal current
        current = place(device)
        torch._C._accelerator_setDeviceIndex(current)

    def properties(device: Any = None) -> SimpleNamespace:
        installed = cards[place(device)]
        major, minor = installed.card.compute_capability
        return SimpleNamespace(
            name=installed.card.name, uuid=installed.uuid.removeprefix("GPU-"), major=major, minor=minor,
            total_memory=installed.card.memory_bytes, multi_processor_count=108,
        )  # fmt: skip

    @contextmanager
    def device(wanted: Any) -> Iterator[None]:
        before = current
        set_device(wanted)
        yield
        set_device(before)

    capability = cards[0].card.compute_capability
    return {
        "is_available": lambda: True,
        "is_initialized": lambda: True,
        "_is_compiled": lambda: True,
        "_is_in_bad_fork": lambda: False,
        "_lazy_init": lambda: None,
        "device_count": lambda: len(cards),
        "current_device": lambda: current,
        "set_device": set_device,
        "device": device,
        "get_device_properties": properties,
        "get_device_name": lambda device=None: properties(device).name,
        "get_device_capability": lambda _device=None: capability,
        "is_bf16_supported": lambda *_, **__: capability >= (8, 0),
        "synchronize": synchronize,
    }


def synchronize(_device: object = None) -> None:
    """Waits for the device."""
    waits.note(SYNCHRONIZE)
    queue.wait()


def _memory(cards: Sequence[Installed]) -> dict[str, Any]:
    """Of live tensors: nothing is kept, nothing lies in pieces. Every process has a card to itself."""
    total = cards[0].card.memory_bytes
    return {
        "empty_cache": lambda: None,
        "memory_allocated": lambda _device=None: live.now,
        "memory_reserved": lambda _device=None: live.now,
        "max_memory_allocated": lambda _device=None: live.peak,
        "max_memory_reserved": lambda _device=None: live.peak,
        "reset_peak_memory_stats": lambda _device=None: live.reset_peak(),
        "mem_get_info": lambda _device=None: (total - live.now, total),
    }


def _streams() -> dict[str, Any]:
    one = Stream()
    return {
        "Event": Event,
        "Stream": Stream,
        "current_stream": lambda _device=None: one,
        "default_stream": lambda _device=None: one,
        "stream": lambda _stream: nullcontext(),
    }


def _random() -> dict[str, Any]:
    """Devices have no stream of their own; the kit draws on the host."""
    return {
        "manual_seed": lambda _seed: None,
        "manual_seed_all": lambda _seed: None,
        "get_rng_state": lambda _device="cuda": torch.zeros(16, dtype=torch.uint8),
        "set_rng_state": lambda _state, _device="cuda": None,
    }


def _tensor(on_host: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """`torch.tensor`, which copies to the device past the dispatcher; the host waits for that as for any other."""

    def tensor(
        data: Any, *, dtype: torch.dtype | None = None, device: Any = None, requires_grad: bool = False, **more: Any
    ) -> torch.Tensor:
        there = device is not None and index_of(device) is not None
        made = on_host(data, dtype=dtype, device=None if there else device, **more)
        return (made.to(device) if there else made).requires_grad_(requires_grad)

    return tensor


def _save_file(from_host: Callable[..., None]) -> Callable[..., None]:
    """safetensors' own way to the host ends at the address of the memory."""

    def save_file(tensors: dict[str, torch.Tensor], filename: Any, metadata: dict[str, str] | None = None) -> None:
        if any(isinstance(tensor, CudaTensor) for tensor in tensors.values()):
            waits.note(HOST_READ)
        from_host({name: to_host(tensor) for name, tensor in tensors.items()}, filename, metadata)

    return save_file


def _by_gloo(init_process_group: Callable[..., None]) -> Callable[..., None]:
    """Gloo carries between processes what NCCL would."""

    def init(backend: str | None = None, **more: Any) -> None:
        if backend not in {"nccl", "cuda:nccl", "cpu:gloo,cuda:nccl"}:
            raise ValueError(f"processes on GPUs would talk by {backend}")
        init_process_group("gloo", **more)

    return init


def _barrier(by_gloo: Callable[..., Any]) -> Callable[..., Any]:
    """NCCL's takes the device, gloo's does not."""

    def barrier(group: Any = None, async_op: bool = False, device_ids: list[int] | None = None) -> Any:
        if device_ids not in (None, [torch.cuda.current_device()]):
            raise ValueError(f"barrier on device {device_ids}, but this process has {torch.cuda.current_device()}")
        return by_gloo(group, async_op)

    return barrier
