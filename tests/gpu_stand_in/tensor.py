"""Tensors that say they are on "cuda:N" and compute on the CPU, refusing what CUDA refuses.

A `CudaTensor` is a shell around a host tensor that nobody else can reach. Every operator on one, and every operator
that makes one, passes `dispatch`, which takes the shells off, computes and puts them on again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from gpu_stand_in.waits import BLOCKING_COPY, HOST_READ, PAGEABLE_COPY, PINNED_COPY, live, pinned, waits

if TYPE_CHECKING:
    from collections.abc import Sequence

aten = torch.ops.aten
HOST = torch.device("cpu")
INDEXING = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default, aten._index_put_impl_.default}
"""They take indices from the host, which are then copied to the device."""
READING = {
    aten._local_scalar_dense.default, aten.is_nonzero.default, aten.equal.default, aten.nonzero.default,
    aten.masked_select.default, aten._unique2.default,
}  # fmt: skip
"""Their result, or its size, is a value that the host must have."""
PRODUCTS = {aten.mm.default, aten.addmm.default, aten.bmm.default, aten.baddbmm.default}
"""They take no operand from the host, not even one number."""


class CudaTensor(torch.Tensor):
    """A tensor on a made-up device."""

    __torch_function__ = torch._C._disabled_torch_function_impl
    host: torch.Tensor

    @staticmethod
    def __new__(cls, host: torch.Tensor, index: int) -> Self:
        shell = torch.Tensor._make_wrapper_subclass(
            cls, host.size(), strides=host.stride(), storage_offset=host.storage_offset(), dtype=host.dtype,
            layout=host.layout, device=torch.device("cuda", index),
        )  # fmt: skip
        shell.host = host
        live.add(host)
        return shell

    @classmethod
    def __torch_dispatch__(cls, func: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return dispatch(func, args, kwargs or {})

    def __repr__(self) -> str:
        return f"CudaTensor({self.host!r}, device='{self.device}')"

    def __deepcopy__(self, memo: dict[int, Any]) -> CudaTensor:
        copied = memo[id(self)] = CudaTensor(self.host.detach().clone(), self.device.index)
        copied.requires_grad_(self.requires_grad)
        if isinstance(self, torch.nn.Parameter):
            copied._is_param = True
        return copied

    # What torch does in C++ without asking the dispatcher.

    @property
    def data(self) -> torch.Tensor:
        return self.detach()

    @data.setter
    def data(self, new: torch.Tensor) -> None:
        if not isinstance(new, CudaTensor):
            raise RuntimeError("the data of a tensor on a device must be on a device")  # noqa: TRY004 - as torch does
        torch.Tensor.data.__set__(self, new)
        self.host = new.host

    def untyped_storage(self) -> torch.UntypedStorage:
        return self.host.untyped_storage()

    def data_ptr(self) -> int:
        return self.host.data_ptr()

    def tolist(self) -> Any:
        waits.note(HOST_READ)
        return self.host.detach().tolist()

    def numpy(self, **_: Any) -> Any:
        raise TypeError(f"can't convert {self.device} device type tensor to numpy. Use Tensor.cpu() to copy it first.")

    def __array__(self, *_: Any, **__: Any) -> Any:
        return self.numpy()

    def record_stream(self, stream: object) -> None:
        """Memory of the stand-in is never used again too early."""

    def __getitem__(self, index: Any) -> torch.Tensor:
        return torch.Tensor.__getitem__(self, self._with_indices_here(index))

    def __setitem__(self, index: Any, value: Any) -> None:
        torch.Tensor.__setitem__(self, self._with_indices_here(index), value)

    def _with_indices_here(self, index: Any) -> Any:
        """Lists as tensors on the device: torch makes them on the host, and the host waits for their copy."""
        if isinstance(index, tuple):
            return tuple(self._with_indices_here(part) for part in index)
        return torch.tensor(index, device=HOST).to(self.device) if isinstance(index, list) else index


class OnDevices(TorchDispatchMode):
    """Operators that make tensors on a device out of nothing pass `dispatch` too."""

    def __torch_dispatch__(self, func: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return dispatch(func, args, kwargs or {})


on_devices = OnDevices()


def index_of(device: torch.device | str) -> int | None:
    """Of a made-up device; None for any other."""
    device = torch.device(device)
    if device.type != "cuda":
        return None
    return torch.cuda.current_device() if device.index is None else device.index


def dispatch(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """Calls an operator on hosts' tensors, and puts the result where CUDA would put it."""
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
    if others := [tensor for tensor in tensors if type(tensor) not in {torch.Tensor, torch.nn.Parameter, CudaTensor}]:
        return _of_another_kind(func, others[0], tensors, args, kwargs)
    shells = [tensor for tensor in tensors if isinstance(tensor, CudaTensor)]
    asked = kwargs.get("device")
    index = index_of(asked) if asked is not None else shells[0].device.index if shells else None
    if func is aten._pin_memory.default or kwargs.get("pin_memory"):
        return _pinned(func, args, kwargs)
    if func is aten.is_pinned.default:
        return not shells and args[0].untyped_storage()._cdata in pinned
    if not shells and index is None:
        return func(*args, **kwargs)
    _refuse_or_note(func, args, kwargs, tensors, shells)
    result = func(*tree_map(_bare, args), **{key: tree_map(_bare, value) for key, value in _hosted(kwargs).items()})
    if index is None or func in READING - {aten.nonzero.default, aten.masked_select.default, aten._unique2.default}:
        return result
    return _shelled(result, args, shells, index, func)


def _bare(value: Any) -> Any:
    return value.host if isinstance(value, CudaTensor) else value


def _hosted(kwargs: dict[str, Any]) -> dict[str, Any]:
    return kwargs if kwargs.get("device") is None else {**kwargs, "device": HOST}


def _shelled(result: Any, args: Sequence[Any], shells: list[CudaTensor], index: int, func: Any) -> Any:
    """The result in shells: what came in and was changed in place comes back as the object that it was."""
    if func is aten.copy_.default or torch.Tag.inplace_view in func.tags:
        return args[0]
    known = {id(shell.host): shell for shell in shells}

    def shelled(value: Any) -> Any:
        if not isinstance(value, torch.Tensor):
            return value
        shell = known.get(id(value))
        return CudaTensor(value, index) if shell is None else shell

    return tree_map(shelled, result)


def _of_another_kind(
    func: Any, one: torch.Tensor, tensors: list[torch.Tensor], args: Sequence[Any], kwargs: dict[str, Any]
) -> Any:
    """Tensors made of tensors: sharded ones, which C++ takes apart, and quantised ones, which Python takes apart."""
    if type(one).__name__ == "DTensor":
        return func(*args, **kwargs)
    with on_devices:
        return type(one).__torch_dispatch__(func, tuple({type(tensor) for tensor in tensors}), args, kwargs)


def _pinned(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> torch.Tensor:
    plain = {key: value for key, value in kwargs.items() if key not in {"pin_memory", "device"}}
    host = args[0].clone() if func is aten._pin_memory.default else func(*args, **plain)
    pinned.add(host)
    return host


def _refuse_or_note(
    func: Any, args: Sequence[Any], kwargs: dict[str, Any], tensors: list[torch.Tensor], shells: list[CudaTensor]
) -> None:
    """Raises: RuntimeError: the operands are not where CUDA would want them."""
    if func is aten._to_copy.default:
        _note_copy(args[0], kwargs.get("device"), bool(kwargs.get("non_blocking")))
    elif func is aten.copy_.default:
        non_blocking = kwargs.get("non_blocking", len(args) > 2 and args[2])
        _note_copy(args[1], args[0].device, bool(non_blocking), target=args[0])
    elif shells:
        _refuse_two_devices(func, args, tensors)
        if func in INDEXING:
            _note_indices(args[1])
    if func in READING:
        waits.note(HOST_READ)


def _note_copy(
    source: torch.Tensor, device: torch.device | str | None, non_blocking: bool, target: torch.Tensor | None = None
) -> None:
    if device is None or torch.device(device).type == source.device.type:
        return
    if isinstance(source, CudaTensor):
        # Torch pins what it makes for such a copy; into memory that is not pinned the host waits all the same.
        quick = non_blocking and (target is None or target.untyped_storage()._cdata in pinned)
        waits.note(PINNED_COPY if quick else HOST_READ)
    elif not non_blocking:
        waits.note(BLOCKING_COPY)
    else:
        waits.note(PINNED_COPY if source.untyped_storage()._cdata in pinned else PAGEABLE_COPY)


def _note_indices(indices: Sequence[torch.Tensor | None]) -> None:
    for index in indices:
        if index is not None and not isinstance(index, CudaTensor):
            waits.note(BLOCKING_COPY)
        if index is not None and index.dtype in {torch.bool, torch.uint8}:
            waits.note(HOST_READ)


def _refuse_two_devices(func: Any, args: Sequence[Any], tensors: list[torch.Tensor]) -> None:
    """A number from the host, a tensor of no dimension, goes with any device; an index is copied."""
    if func in INDEXING:
        indices = {id(index) for index in args[1] if index is not None}
        tensors = [tensor for tensor in tensors if id(tensor) not in indices]
    counted = [tensor for tensor in tensors if func in PRODUCTS or tensor.dim() or isinstance(tensor, CudaTensor)]
    devices = sorted({str(tensor.device) for tensor in counted}, reverse=True)
    if len(devices) > 1:
        raise RuntimeError(
            "Expected all tensors to be on the same device, but found at least two devices, "
            f"{devices[0]} and {devices[1]}! (in {func})"
        )


def to_host(value: torch.Tensor) -> torch.Tensor:
    """The host's copy of a tensor, without a word about it."""
    return value.host.detach().clone() if isinstance(value, CudaTensor) else value
