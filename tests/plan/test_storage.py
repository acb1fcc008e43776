"""What a run writes, and which disk and host memory it needs for it."""

from __future__ import annotations

import pytest
from made_up import SCHNELL

from fluxkit.errors import MachineError
from fluxkit.machine.conditions import disk_free
from fluxkit.machine.readings import Reading
from fluxkit.model.pipeline_files import SCHNELL_FOLDER
from fluxkit.plan.plan import make_plan
from fluxkit.plan.sizes import sizes_of
from fluxkit.plan.storage import checkpoint_interval_seconds, grace_seconds, patience_seconds, stop_note, written
from fluxkit.spec.toml import load_spec

GB = 10**9
PARAMETERS = SCHNELL.parameters
FULL = ("tune.method=full", "execution.parallelism=fsdp")


def plan(machine, *settings, disk=2000 * GB, memory=512 * GB, preset="schnell-multi-gpu"):
    """On four cards of 80 GB, with schnell's sizes and without its files."""
    spec = load_spec(preset, [*FULL, *settings])
    system = machine(cores=32, gpus=4, memory_bytes=memory)
    readings = system.readings | {"disk_free_bytes": Reading(value=disk, source="test")}
    there = system.model_copy(update={"readings": readings})
    return make_plan(spec, there, to_run=False, sizes=sizes_of(spec, SCHNELL_FOLDER))


@pytest.mark.parametrize(("decay", "checkpoint"), [(0.0, 142.7), (0.98, 190.3)])
def test_full_tuning_writes_whole_weights_and_moments(decay, checkpoint):
    """Schnell's checkpoints have 143 GB, 190 with an average, and a mark 47.6."""
    writes = written(load_spec("schnell-multi-gpu", [*FULL, f"tune.ema_decay={decay}"]), PARAMETERS)
    assert writes.checkpoint / GB == pytest.approx(checkpoint, abs=0.05)
    assert writes.mark / GB == pytest.approx(47.6, abs=0.05)


def test_full_tuning_on_four_cards_is_planned_with_its_disk(machine):
    """The plan says what it writes, how often, and how long before its end a job has to be told."""
    made = plan(machine)
    assert (made.micro_batch_size, made.inference_micro_batch_size) == (1, 64)
    notes = " ".join(made.notes)
    assert "up to 665.9 GB at a time: two checkpoints of 142.7 GB and 8 evaluation points of 47.6 GB" in notes
    assert "--signal=B:USR1@2914" in notes


def test_a_disk_that_does_not_suffice_is_refused(machine):
    """The sentence has both sizes, and what to do."""
    with pytest.raises(MachineError, match=r"665.9 GB at a time .* has 500.0 GB free; .*--out"):
        plan(machine, disk=500 * GB)


@pytest.mark.parametrize(
    ("settings", "memory", "words"),
    [
        ((), 128, "gathers each checkpoint"),
        (("model.weights=pretrained",), 195, "loads the weights"),
        (("tune.method=lora", "execution.parallelism=ddp", "execution.precision=float32"), 128, "loads the weights"),
    ],
)
def test_a_host_that_does_not_suffice_is_refused(machine, settings, memory, words):
    """A checkpoint lies whole in the first process's memory; and each loads FP32 weights there."""
    if not settings:
        settings = ("model.weights=random",)  # made on the cards, so nothing is loaded
    with pytest.raises(MachineError, match=f"of the host's memory .*{words}"):
        plan(machine, *settings, memory=memory * GB)


def test_adapters_in_bfloat16_are_pages_of_their_file(machine):
    """Four processes that tune adapters share what the file's pages hold, and a host of 32 GB suffices."""
    settings = ("tune.method=lora", "execution.parallelism=ddp")
    assert plan(machine, *settings, disk=10 * GB, memory=32 * GB).processes == 4


def test_interval_grace_and_patience_grow_with_the_bytes():
    """Writing takes a tenth of the time at most; what is small stays as asked, what is large is waited for."""
    small, large = load_spec("nano-multi-gpu"), load_spec("schnell-multi-gpu", [*FULL])
    assert checkpoint_interval_seconds(small, 143_360) == 60
    assert checkpoint_interval_seconds(large, PARAMETERS) == pytest.approx(10 * 142.7e9 / 5e8, rel=1e-3)
    assert grace_seconds(small, 143_360) == pytest.approx(60, abs=0.1)
    assert grace_seconds(large, PARAMETERS) > 142.7e9 / 1e8
    assert grace_seconds(small, 143_360, step_seconds=80.0) == pytest.approx(60 + 3 * 80, abs=0.1)
    assert patience_seconds(small, 2_000_000, 143_360) == pytest.approx(600, abs=1)
    assert patience_seconds(large, PARAMETERS, PARAMETERS) > grace_seconds(large, PARAMETERS)


def test_the_disk_is_that_of_the_folder(tmp_path):
    """A folder that is not there yet lies on the disk of the one that holds it."""
    reading = disk_free(tmp_path / "not" / "yet")["disk_free_bytes"]
    assert reading.value > 0
    assert reading.source == "statvfs of the folder for results"


def test_a_folder_that_may_not_be_looked_into_lies_on_the_disk_of_the_one_that_holds_it(tmp_path):
    """The plan of a folder whose name no disk takes is made all the same; who writes there says why it can't."""
    assert disk_free(tmp_path / ("a" * 300) / "run")["disk_free_bytes"].value > 0


@pytest.mark.parametrize(
    ("step_seconds", "micro_batch", "words"),
    [
        (1.0, 8, ""),
        (9.0, 8, ""),
        (79.0, 1, ""),  # eight micro-batches of less than ten seconds
        (640.0, 1, "in about 80 s. It is given 1980 s"),
        (80.0, 8, "in about 80 s (sooner with execution.micro_batch_size = 1). It is given 300 s"),
    ],
)
def test_a_plan_says_how_long_a_stop_takes_where_it_is_longer_than_others_wait(step_seconds, micro_batch, words):
    """A step may stop between two micro-batches; what takes longer than docker stop waits is said, with the number."""
    spec = load_spec("nano-laptop-cpu")
    note = stop_note(spec, sizes_of(spec), step_seconds, micro_batch)
    assert words in note
    assert bool(words) == bool(note)
    if words:
        assert all(part in note for part in ("--signal=B:USR1@", "docker stop --time", "30 s (KillWait)"))
