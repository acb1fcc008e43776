"""A product that saturates the device and a copy in its memory, timed before and after each timed phase.

The product's rate is this machine's own ceiling: no transformer step of the same precision can do more FLOPs in a
second. If the rate moved during a phase, the machine was not the same at its end as at its beginning.
"""

import time
from collections.abc import Callable
from typing import NamedTuple

import torch

from fluxkit.engine.flux.precision import dtype_of
from fluxkit.engine.measure.timing import synchronize
from fluxkit.values import finite

WARM_UP_SECONDS = {"cpu": 0.0, "cuda": 1.0}
"""Of products before the timed ones: a GPU that was idle clocks higher or lower than one that has just worked, and only
alike can a rate before a phase and one after it be compared within 2 %."""
BUDGET_SECONDS = 0.06
"""Of the product and of the copy each, after repetitions to warm up: on a CPU four canaries take less than 1 % of
120 s."""
GROUP_SECONDS = 0.01
"""Repetitions are timed in groups at least this long, so that neither clock nor launch costs count."""
MATMUL_SIZE = {"cpu": 1024, "cuda": 8192}
"""n of the n x n product. 1024: 2 GFLOP, 4 MB a matrix; 8192: 1.1 TFLOP, enough for every tensor core of an H200."""
MANY_THREADS = 16
"""From here on a CPU gets matrices of twice the size, or threads would wait for each other."""
COPY_BYTES = {"cpu": 32 << 20, "cuda": 256 << 20}
"""Larger than the caches of a laptop's core or of a GPU."""
TILE_BYTES = 1 << 16
"""Random bytes of the copy, again and again: to draw all of them would take longer than to copy them."""
PROBE_SIZE = {"cpu": 192, "cuda": 1024}
"""n of the product whose error tells the precision: cuBLAS uses TF32 only where n reaches 512 (PyTorch pull 183355)."""


class Rates(NamedTuple):
    """What a canary measures."""

    matmul_size: int
    matmul_flops_per_second: float
    matmul_relative_error: float | None
    copy_bytes_per_second: float


def measure_rates(device: torch.device, precision: str) -> Rates:
    """The device's rates in `precision` ("ieee_float32", "tf32" or "bfloat16"), under the switches in force.

    The caller sets the switches, as for the phase itself: a canary that set its own could not tell of them.
    """
    dtype, size = dtype_of(precision), MATMUL_SIZE[device.type]
    if device.type == "cpu" and torch.get_num_threads() >= MANY_THREADS:
        size *= 2
    with torch.inference_mode():
        seconds = _matmul_seconds(device, dtype, size)
        rates = Rates(size, 2 * size**3 / seconds, _relative_error(device, dtype), _copy_rate(device))
    if device.type == "cuda":
        torch.cuda.empty_cache()  # or the phase's peak of reserved memory would hold the canary's
    return rates


def _matmul_seconds(device: torch.device, dtype: torch.dtype, size: int) -> float:
    # Random numbers: a GPU multiplies constant ones faster, because fewer bits change and so it draws less power.
    draw = torch.Generator(device).manual_seed(0)
    left, right = (torch.randn(size, size, generator=draw, device=device).to(dtype) for _ in range(2))
    out = torch.empty_like(left)
    return _fastest(device, lambda: torch.mm(left, right, out=out), WARM_UP_SECONDS[device.type])


def _copy_rate(device: torch.device) -> float:
    """Bytes read and written in a second."""
    count = COPY_BYTES[device.type]
    drawn = torch.randint(256, (TILE_BYTES,), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    source = drawn.to(device).repeat(count // TILE_BYTES)
    target = torch.empty_like(source)
    return 2 * count / _fastest(device, lambda: target.copy_(source))


def _relative_error(device: torch.device, dtype: torch.dtype) -> float | None:
    """Relative L2 error of a small product against float64 of the same, already rounded, numbers."""
    draw = torch.Generator().manual_seed(0)
    size = PROBE_SIZE[device.type]
    left, right = (torch.randn(size, size, generator=draw).to(dtype) for _ in range(2))
    exact = left.double() @ right.double()
    product = (left.to(device) @ right.to(device)).cpu().double()
    return finite((product - exact).norm() / exact.norm())


def _fastest(device: torch.device, work: Callable[[], object], warm_up_seconds: float = 0.0) -> float:
    """Seconds of one repetition in the fastest group: what the device can do, not what its neighbours leave."""
    warm = _group_seconds(device, work, 1)
    while warm < warm_up_seconds:
        warm += _group_seconds(device, work, 1)
    first = _group_seconds(device, work, 1)
    count = max(1, round(GROUP_SECONDS / max(first, 1e-9)))
    best, spent = first, first
    while spent < BUDGET_SECONDS:
        seconds = _group_seconds(device, work, count)
        best, spent = min(best, seconds / count), spent + seconds
    return best


def _group_seconds(device: torch.device, work: Callable[[], object], count: int) -> float:
    synchronize(device)
    began = time.perf_counter()
    for _ in range(count):
        work()
    synchronize(device)
    return time.perf_counter() - began
