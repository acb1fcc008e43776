"""Whole runs of the embedded model on the GPU, by the engine's own process."""

from __future__ import annotations

import pytest
from real_engine import run_engine, small_spec

from fluxkit.machine.system import probe

GPU = {"device": "cuda", "threads": 0}


@pytest.fixture(scope="module")
def on_gpu(tmp_path_factory):
    return run_engine(tmp_path_factory.mktemp("gpu"), small_spec(execution=GPU))


@pytest.fixture(scope="module")
def on_cpu(tmp_path_factory):
    return run_engine(tmp_path_factory.mktemp("cpu"), small_spec())


def test_a_run_completes(on_gpu):
    """The engine goes through all phases."""
    assert on_gpu.code == 0, on_gpu.output


def test_the_gpu_learns_what_the_cpu_learns(on_gpu, on_cpu):
    """One seed, one trajectory: the losses of both are equal but for rounding."""
    assert on_gpu.losses()[:12] == pytest.approx(on_cpu.losses()[:12], rel=1e-3)


def test_the_device_is_known_by_its_uuid(on_gpu):
    """The GPU that the engine computed on is one that the driver named before."""
    (started,) = on_gpu.events("started")
    assert started.device_uuid
    assert any(started.device_uuid in (device.uuid or "") for device in probe().devices)


def test_inference_says_what_it_ran_with(on_gpu):
    """The precision read back is IEEE on every backend."""
    (setting,) = on_gpu.events("inference_setting")
    assert setting.precision["dtype"] == "float32"
    assert setting.precision["cuda.matmul"] == "ieee"
    assert setting.attention
