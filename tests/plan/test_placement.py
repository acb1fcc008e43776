"""Where processes are put: by name, on one machine or several."""

import pytest

from fluxkit.errors import MachineError
from fluxkit.machine.readings import Device, Reading
from fluxkit.plan.placement import RENDEZVOUS
from fluxkit.plan.plan import make_plan
from fluxkit.run.engine_process import engine_command, engine_environment
from fluxkit.spec.toml import load_spec


def several(**execution):
    """The preset of several GPUs, with other values."""
    return load_spec("nano-multi-gpu", [f"execution.{key}={value}" for key, value in execution.items()])


def test_the_engine_gets_its_devices_by_uuid(machine, monkeypatch):
    """Whatever the variable was, the engine sees the planned devices, in order, by names that no driver renumbers."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,1")
    system = machine(cores=8, gpus=0)
    cards = [Device(kind="cuda", name="Test GPU", memory_bytes=80 * 10**9, uuid=f"GPU-{name}") for name in "db"]
    system = machine(cores=8, gpus=2).model_copy(update={"devices": (*system.devices, *cards)})
    spec = several(processes=2)
    plan = make_plan(spec, system)
    assert plan.device_uuids == ("GPU-d", "GPU-b")
    assert engine_environment(spec, plan)["CUDA_VISIBLE_DEVICES"] == "GPU-d,GPU-b"


def test_a_slice_is_a_device_of_its_own(machine):
    """One process on a MIG slice sees that slice."""
    card = Device(kind="cuda", name="Test GPU MIG 1g.10gb", memory_bytes=10 * 10**9, uuid="MIG-a")
    system = machine(gpus=1)
    system = system.model_copy(update={"devices": (system.devices[0], card)})
    spec = load_spec("nano-single-gpu")
    plan = make_plan(spec, system)
    assert engine_environment(spec, plan)["CUDA_VISIBLE_DEVICES"] == "MIG-a"


def test_a_device_without_a_name_is_left_to_cuda(machine, monkeypatch):
    """Where the driver tells no UUID, the variable stays as it was."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    system = machine(gpus=1)
    system = system.model_copy(update={"devices": tuple(d.model_copy(update={"uuid": None}) for d in system.devices)})
    spec = load_spec("nano-single-gpu")
    assert engine_environment(spec, make_plan(spec, system))["CUDA_VISIBLE_DEVICES"] == "1"


@pytest.mark.parametrize(("count", "there"), [(1, "only 0 is"), (2, "0 to 1 are")])
def test_a_name_in_vain_is_told(machine, count, there):
    """Where the variable names a device that is not there, the refusal says which one, and which would do."""
    system = machine(gpus=count)
    lacking = {
        "gpu_not_there": Reading(value="7", source="test"), "gpus_installed": Reading(value=count, source="test")
    }  # fmt: skip
    system = system.model_copy(update={"readings": system.readings | lacking})
    words = rf"CUDA_VISIBLE_DEVICES names 7, which is not there; {there}"
    with pytest.raises(MachineError, match=words):
        make_plan(several(processes=4), system)
    with pytest.raises(MachineError, match=words):
        make_plan(several(processes=1), system.model_copy(update={"devices": system.devices_of("cpu")}))


def test_closed_gpus_are_said(machine):
    """A job on part of a node is told how many GPUs it may not open, in the plan and where too few are left."""
    system = machine(gpus=1)
    closed = {"gpus_closed": Reading(value=3, source="NVML: Insufficient Permissions")}
    system = system.model_copy(update={"readings": system.readings | closed})
    assert "3 of the machine's GPUs are closed to this process." in make_plan(several(processes=1), system).notes
    with pytest.raises(MachineError, match=r"it shows 1 \(3 of the machine's GPUs are closed to this process\)"):
        make_plan(several(processes=2), system)
    none = system.model_copy(update={"devices": system.devices_of("cpu")})
    with pytest.raises(MachineError, match=r"no NVIDIA GPU \(3 of the machine's GPUs are closed"):
        make_plan(several(processes=1), none)


def test_unlike_gpus_are_named(machine):
    """Where GPUs differ, the plan says which it takes, and how to name another."""
    system = machine(gpus=1)
    order = {"gpu_order": Reading(value="the fastest first, as CUDA does", source="test")}
    system = system.model_copy(update={"readings": system.readings | order})
    notes = " ".join(make_plan(several(processes=1), system).notes)
    assert "Their order is the fastest first, as CUDA does: Test GPU (GPU-0)." in notes


def test_a_cpu_run_has_no_device_names(machine, spec):
    """On a CPU there is nothing to name."""
    assert make_plan(spec(), machine(gpus=1)).device_uuids == ()


def test_machines_share_the_processes(machine, monkeypatch, tmp_path):
    """Two machines of two GPUs run four processes, two each; torchrun is told so and finds the others by itself."""
    monkeypatch.setenv(RENDEZVOUS, "node1:29500")
    plan = make_plan(several(processes=4, nodes=2), machine(cores=8, gpus=2))
    assert (plan.processes, plan.nodes, len(plan.device_names), len(plan.device_uuids)) == (4, 2, 4, 2)
    assert plan.threads_per_process == 4
    words = engine_command(tmp_path / "run", plan)
    assert {"--nnodes=2", "--nproc-per-node=2", "--rdzv-backend=c10d", "--rdzv-id=run"} <= set(words)
    assert "--standalone" not in words


def test_machines_that_would_not_meet_are_refused(machine, monkeypatch):
    """Without the variable that torchrun reads, nothing is started; a plan that is only read says so."""
    monkeypatch.delenv(RENDEZVOUS, raising=False)
    spec, system = several(processes=4, nodes=2), machine(cores=8, gpus=2)
    with pytest.raises(MachineError, match=r"execution.nodes = 2 needs PET_RDZV_ENDPOINT=HOST:PORT"):
        make_plan(spec, system)
    assert any("PET_RDZV_ENDPOINT" in note for note in make_plan(spec, system, to_run=False).notes)


def test_more_processes_than_devices_of_all_machines_are_refused(machine, monkeypatch):
    """What would work is said for all machines together."""
    monkeypatch.setenv(RENDEZVOUS, "node1:29500")
    with pytest.raises(MachineError, match=r"set execution.processes to 4 or less"):
        make_plan(several(processes=8, nodes=2), machine(cores=8, gpus=2))
