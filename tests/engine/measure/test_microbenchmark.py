"""The canary on this machine's CPU."""

from __future__ import annotations

import json
import time

import pytest
import torch
from bench.looking import LIMIT, shares

from fluxkit.engine.flux.precision import set_fp32_products
from fluxkit.engine.measure import microbenchmark

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _ieee():
    set_fp32_products("ieee")


def test_a_canary_has_plausible_rates():
    """A product of FP32 matrices takes 2 n^3 FLOPs, is exact to float32, and takes well below a second."""
    began = time.process_time()
    rates = microbenchmark.measure_rates(CPU, "ieee_float32")
    assert rates.matmul_size >= 1024
    assert 1e9 < rates.matmul_flops_per_second < 1e15
    assert 1e8 < rates.copy_bytes_per_second < 1e13
    assert rates.matmul_relative_error < 1e-6
    assert time.process_time() - began < 10


def test_bfloat16_is_recognised_by_its_error():
    """The relative error of a bfloat16 product is a thousand times that of float32."""
    assert 1e-4 < microbenchmark.measure_rates(CPU, "bfloat16").matmul_relative_error < 1e-2


def test_the_fastest_repetition_counts(monkeypatch):
    """A neighbour that slows some repetitions down does not change the rate."""
    lengths = iter([9.0, 9.0, 0.04, 0.02, 0.04])
    monkeypatch.setattr(microbenchmark, "_group_seconds", lambda _device, _work, _count: next(lengths, 0.04))
    monkeypatch.setattr(microbenchmark, "BUDGET_SECONDS", 9.05)
    assert microbenchmark._fastest(CPU, lambda: None) == 0.02


def test_a_gpu_is_warm_before_it_is_timed(monkeypatch):
    """Products go on for a second on a GPU, however cold it was, and none of them counts; a CPU is not kept waiting."""
    lengths = iter([0.3, 0.2, 0.2, 0.2, 0.2, 9.0])
    monkeypatch.setattr(microbenchmark, "_group_seconds", lambda _device, _work, _count: next(lengths, 9.0))
    assert microbenchmark._fastest(CPU, lambda: None, microbenchmark.WARM_UP_SECONDS["cuda"]) == 9.0
    assert list(lengths) == []
    assert microbenchmark.WARM_UP_SECONDS["cpu"] == 0


def test_a_run_has_its_four_canaries(short_run):
    """The engine sings before and after tuning and inference, in the precision of each."""
    seen = [(event.phase, event.when, event.precision) for event in short_run.events("canary")]
    assert seen == [
        ("tune", "before", "ieee_float32"),
        ("tune", "after", "ieee_float32"),
        ("inference", "before", "ieee_float32"),
        ("inference", "after", "ieee_float32"),
    ]


def test_the_canary_before_tuning_comes_before_warming_up(short_run):
    """What the canary takes from the allocator is there again when the first step is timed."""
    said = (short_run.folder / "events" / "rank-0.attempt-0.jsonl").read_text().splitlines()
    events = [json.loads(line) for line in said]
    order = [each.get("when") or each.get("phase") for each in events if each["event"] in {"canary", "phase_started"}]
    assert order[order.index("before") :][:4] == ["before", "warm_up", "tune", "after"]


def test_looking_costs_less_than_a_hundredth_of_two_minutes():
    """Four canaries, two looks at the machine and 240 samples cost below 1.2 of 120 processor seconds."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert sum(shares(time.process_time).values()) < LIMIT
    finally:
        torch.set_num_threads(threads)
