"""Memory that runs out: what proves it, and the smaller runs that follow."""

from __future__ import annotations

import pytest

from fluxkit.record.facts import RunFailure
from fluxkit.run.out_of_memory import MAX_HALVINGS, attempt_of, evidence, killed_for_memory, smaller


def failure(kind="Killed", message="The engine was ended by signal 9 (SIGKILL).", phase="tune"):
    return RunFailure(phase=phase, kind=kind, message=message)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("OutOfMemoryError", "CUDA out of memory. Tried to allocate 2.00 GiB."),
        ("RuntimeError", "[enforce fail at alloc_cpu.cpp:129] err == 0. DefaultCPUAllocator: can't allocate memory"),
        ("RuntimeError", "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)"),
        ("RuntimeError", "rank 1: CUDA out of memory"),
        ("DistBackendError", "NCCL error in: ProcessGroupNCCL.cpp:3690: Cuda failure 2 'out of memory'"),
        ("RuntimeError", "cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        ("RuntimeError", "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
        ("Killed", "The engine was ended by signal 6. Last lines of engine.log: what(): std::bad_alloc"),
        ("MemoryError", ""),
    ],
)
def test_an_allocator_that_says_so_is_evidence(kind, message):
    """What torch, the C++ library and Python say when they get no memory is known."""
    assert evidence(failure(kind, message), kills=0) is not None


def test_a_kill_alone_is_no_evidence():
    """A process that was killed ran out of memory only if the kernel counted such an end meanwhile."""
    assert evidence(failure(), kills=0) is None
    assert "The kernel counted 1 such end while it ran." in evidence(failure(), kills=1)


@pytest.mark.parametrize("kind", ["ValueError", "EngineDied", "Lost"])
def test_another_failure_is_no_shortage(kind):
    """A run that failed for another reason is not tried again, whoever else was killed meanwhile."""
    assert evidence(failure(kind, "something else"), kills=3) is None
    assert evidence(None, kills=3) is None


OUTER, OWN = "sys/fs/cgroup/job/memory.events", "sys/fs/cgroup/job/step/memory.events"
OF_VERSION_1 = {
    "proc/self/cgroup": "9:pids:/x\n4:cpu,memory:/job/step\n0::/\n",
    "sys/fs/cgroup/memory/job/memory.oom_control": "oom_kill_disable 0\noom_kill 3\n",
    "sys/fs/cgroup/memory/job/step/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n",
}


@pytest.mark.parametrize(
    ("files", "count"),
    [
        ({}, 0),
        ({"proc/vmstat": "pgfault 7\noom_kill 2\n"}, 0),
        ({OUTER: "oom 5\noom_kill 3\n", OWN: "low 0\noom_kill 0\n"}, 0),
        ({OUTER: "oom 5\noom_kill 3\n", OWN: "low 0\noom_kill 1\n"}, 1),
        (OF_VERSION_1, 1),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.events": "oom 1\noom_kill 1\n"}, 1),
    ],
    ids=["nothing", "the machine's", "a neighbour's", "one of three", "version 1", "a container"],
)
def test_one_kill_of_this_group_counts_once(tmp_path, files, count):
    """The innermost control group's counter is read; those around it and the machine's count neighbours too."""
    for name, text in ({"proc/self/cgroup": "0::/job/step\n"} | files if files else {}).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert killed_for_memory(tmp_path) == count


def ladder(spec, plan, phase):
    """Plans of the tries after the first, if memory runs out in `phase` each time."""
    attempts, plans = [], []
    while plan is not None:
        attempts.append(attempt_of(plan, "failed", failure("OutOfMemoryError", "out of memory", phase), 0))
        plan = smaller(spec, plan, attempts)
        plans += [plan] if plan else []
    return plans


def test_tuning_halves_its_micro_batch_and_keeps_the_global_batch(small_spec, small_plan):
    """8, 4, 2, 1: accumulation grows, inference stays, and after 1 there is nothing left to try."""
    plans = ladder(small_spec, small_plan, "warm_up")
    assert [(each.micro_batch_size, each.accumulation_steps) for each in plans] == [(4, 2), (2, 4), (1, 8)]
    assert {each.inference_micro_batch_size for each in plans} == {16}
    assert plans[0].notes[-1] == "Memory ran out, so the micro-batch of tuning from 8 became 4."


@pytest.mark.parametrize("phase", ["inference", "evaluate"])
def test_inference_halves_its_own_at_most_four_times(small_spec, small_plan, phase):
    """256, then 128, 64, 32 and 16: four halvings are the most, and tuning's micro-batch stays."""
    plan = small_plan.model_copy(update={"inference_micro_batch_size": 256})
    plans = ladder(small_spec, plan, phase)
    assert [each.inference_micro_batch_size for each in plans] == [128, 64, 32, 16]
    assert len(plans) == MAX_HALVINGS
    assert {each.micro_batch_size for each in plans} == {8}


def test_where_no_micro_batch_helps_none_is_tried(small_spec, small_plan):
    """Memory that runs out while the model is loaded does not depend on a micro-batch."""
    assert ladder(small_spec, small_plan, "load") == []


def test_the_prediction_follows_the_micro_batch(small_spec, small_plan):
    """What is held against the measured peak belongs to the micro-batch that ran."""
    plan = small_plan.model_copy(update={"predicted_peak_bytes": 10**12})
    first, *_, last = ladder(small_spec, plan, "tune")
    assert 0 < last.predicted_peak_bytes < first.predicted_peak_bytes < 10**12
