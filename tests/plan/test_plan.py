"""What a spec becomes on a machine, and what is refused before anything is loaded."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from made_up import NANO_SIZES, SCHNELL, write_header, write_pipeline

from fluxkit.errors import ExitCode, MachineError
from fluxkit.machine.readings import Reading
from fluxkit.model.pipeline_files import pipeline_folder
from fluxkit.model.tensor_names import vae_tensors
from fluxkit.model.transformer_size import Transformer
from fluxkit.plan.plan import Plan, make_plan
from fluxkit.plan.sizes import sizes_of
from fluxkit.spec.toml import load_spec
from fluxkit.spec.workload import ModelSpec

COMMIT = "741f7c3ce8b383c54771c7003378a50191e9efe9"

pytestmark = pytest.mark.usefixtures("small_pipeline")


def refused(spec, system, **options):
    with pytest.raises(MachineError) as caught:
        make_plan(spec, system, **options)
    assert caught.value.exit_code == ExitCode.MACHINE
    assert "\n" not in str(caught.value)
    return str(caught.value)


def schnell(spec, path, **tables):
    return spec(model={"family": "schnell", "weights": "pretrained", "path": str(path)}, **tables)


def test_the_plan_of_the_laptop_preset(machine):
    """On two cores the laptop preset runs as one process of two threads, without accumulation."""
    plan = make_plan(load_spec("nano-laptop-cpu"), machine(cores=2))
    assert (plan.device, plan.device_names) == ("cpu", ("Test CPU",))
    assert (plan.processes, plan.threads_per_process) == (1, 2)
    assert (plan.micro_batch_size, plan.accumulation_steps) == (8, 1)
    assert plan.inference_micro_batch_size == 64


def test_the_work_follows_from_the_configuration_files(machine, spec):
    """64 pixels at 4 per latent are 64 tokens beside the tokenizer's 20, and parameters follow from the sizes."""
    plan = make_plan(spec(), machine())
    sizes = Transformer.from_config(NANO_SIZES, "test")
    assert plan.parameters == sizes.parameters
    assert plan.trainable_parameters == sizes.lora_parameters(16)
    assert plan.forward_flops_per_sample == sizes.forward_flops(64, 20)
    assert plan.train_flops_per_iteration == sizes.train_flops(64, 20, 8, lora_rank=16)


def test_full_tuning_changes_every_parameter(machine, spec):
    """Full tuning trains all parameters, checkpointing costs a forward pass more."""
    full = {"model": {"weights": "random"}, "tune": {"method": "full"}}
    plan = make_plan(spec(**full), machine())
    again = make_plan(spec(**full, execution={"gradient_checkpointing": True}), machine())
    assert plan.trainable_parameters == plan.parameters
    assert plan.train_flops_per_iteration < again.train_flops_per_iteration


@pytest.mark.parametrize("name", ["nano-laptop-cpu", "nano-two-process", "nano-multi-gpu"])
def test_the_plan_of_a_preset_is_pinned(machine, golden, name):
    """What a preset becomes on a stated machine changes only together with the file that pins it."""
    plan = make_plan(load_spec(name), machine(cores=8, gpus=4))
    golden(f"{name}.plan.json", json.dumps(plan.model_dump(mode="json"), indent=1) + "\n")


def test_it_round_trips_through_json(machine, spec):
    """A plan written as JSON reads back equal."""
    plan = make_plan(spec(), machine())
    assert Plan.model_validate_json(plan.model_dump_json()) == plan


@pytest.mark.parametrize(
    ("cores", "processes", "asked", "threads"),
    [(2, 1, 0, 2), (2, 2, 0, 1), (1, 2, 0, 1), (16, 4, 0, 4), (7, 2, 0, 3), (2, 1, 1, 1), (2, 2, 3, 3)],
)
def test_threads(machine, spec, cores, processes, asked, threads):
    """The physical cores are shared out between the processes, at least one each, unless the spec says how many."""
    execution = {"processes": processes, "threads": asked}
    assert make_plan(spec(execution=execution), machine(cores)).threads_per_process == threads


@pytest.mark.parametrize(
    ("cores", "gpus", "asked", "threads"), [(64, 1, 0, 4), (64, 4, 0, 4), (2, 1, 0, 2), (64, 1, 9, 9)]
)
def test_a_gpu_takes_few_threads(machine, cores, gpus, asked, threads):
    """The host of a GPU has little to compute: four threads at most, said so, unless the spec asks for others."""
    settings = [f"execution.processes={gpus}", f"execution.threads={asked}"]
    plan = make_plan(load_spec("nano-multi-gpu", settings), machine(cores=cores, gpus=gpus))
    assert plan.threads_per_process == threads
    assert any("A GPU's host needs no more." in note for note in plan.notes) == (cores > threads and not asked)


def test_two_threads_of_a_core_are_not_two_cores(machine, spec):
    """Threads are counted by physical cores, because two hardware threads share one set of arithmetic units."""
    assert make_plan(spec(), machine(cores=4, threads_per_core=2)).threads_per_process == 4


def test_the_plan_says_how_threads_were_chosen(machine, spec):
    """The notes give the decision and its reason."""
    notes = make_plan(spec(execution={"processes": 2}), machine(cores=2)).notes
    assert "1 thread per process: 2 usable physical cores, 2 processes." in notes


def test_oversubscription_is_noted(machine, spec):
    """More threads than usable cores is allowed, and said."""
    notes = make_plan(spec(execution={"threads": 6}), machine(cores=2)).notes
    assert "6 threads share 2 usable cores, so each is slowed down." in notes


def test_gross_oversubscription_is_refused(machine, spec):
    """More than four threads per logical core would measure the scheduler."""
    assert "2 x 5 threads on 2 logical cores" in refused(spec(execution={"processes": 2, "threads": 5}), machine(2))


def test_a_machine_that_does_not_tell_its_cores_gets_one_thread(machine, spec):
    """Unavailable readings lead to the cautious choice."""
    system = machine().model_copy(update={"readings": {}})
    assert make_plan(spec(), system).threads_per_process == 1


def test_a_gpu_preset_without_a_gpu_is_refused(machine):
    """The sentence names the reason and what would work."""
    assert refused(load_spec("nano-single-gpu"), machine()) == (
        "nano-single-gpu asks for a GPU, but this machine shows no NVIDIA GPU (NVML Shared Library Not Found); "
        "run it on a machine with one, or use nano-laptop-cpu."
    )


def test_hidden_gpus_are_told_apart_from_missing_ones(machine):
    """Where CUDA_VISIBLE_DEVICES hides every GPU, the sentence says so."""
    system = machine(gpus=2)
    readings = system.readings | {"gpus_installed": Reading(value=2, source="test")}
    hidden = system.model_copy(update={"readings": readings, "devices": system.devices_of("cpu")})
    assert "(CUDA_VISIBLE_DEVICES hides those that are installed)" in refused(load_spec("nano-single-gpu"), hidden)


def test_more_processes_than_gpus_are_refused(machine):
    """One process has one GPU."""
    assert "asks for 4 processes on this machine, one per GPU, but it shows 2" in refused(
        load_spec("nano-multi-gpu"), machine(gpus=2)
    )


def test_the_multi_gpu_preset_splits_the_batches(machine):
    """Four GPUs take two photos and 64 images each."""
    plan = make_plan(load_spec("nano-multi-gpu"), machine(cores=16, gpus=4))
    assert (plan.device, len(plan.device_names)) == ("cuda", 4)
    assert (plan.micro_batch_size, plan.accumulation_steps, plan.inference_micro_batch_size) == (2, 1, 64)


def test_a_gpu_takes_the_whole_batch_of_nano(machine):
    """On CUDA nano denoises all 256 images in one pass."""
    assert make_plan(load_spec("nano-single-gpu"), machine(gpus=1)).inference_micro_batch_size == 256


def test_a_torch_without_cuda_is_refused(machine):
    """A CPU build of torch beside a GPU is told apart from a missing GPU."""
    system = machine(gpus=1)
    system = system.model_copy(update={"packages": system.packages | {"torch": "2.13.0+cpu"}})
    assert "torch 2.13.0+cpu is built without CUDA" in refused(load_spec("nano-single-gpu"), system)


def test_a_missing_engine_is_refused(machine, spec):
    """Without the engine's packages nothing is started, and the sentence says what to install."""
    system = machine().model_copy(update={"packages": {"numpy": "2.0"}})
    assert "pip install 'fluxkit[engine]'" in refused(spec(), system)


def test_a_plan_can_be_read_without_the_engine(machine, spec):
    """A plan that is only printed needs no torch, and says that running it does."""
    system = machine().model_copy(update={"packages": {}})
    assert any("fluxkit[engine]" in note for note in make_plan(spec(), system, to_run=False).notes)


def test_a_given_micro_batch_is_kept(machine, spec):
    """Micro-batches that the spec gives are used, and the rest is accumulated."""
    execution = {"micro_batch_size": 2, "inference_micro_batch_size": 16}
    plan = make_plan(spec(execution=execution), machine())
    assert (plan.micro_batch_size, plan.accumulation_steps, plan.inference_micro_batch_size) == (2, 4, 16)


def test_a_micro_batch_divides_the_images_of_a_process(machine, spec):
    """Only whole micro-batches are timed, so the largest divisor within the limit is taken."""
    assert make_plan(spec(inference={"batch_size": 100}), machine()).inference_micro_batch_size == 50


def test_schnell_is_planned_from_its_folder(machine, spec, tmp_path):
    """A pretrained folder is read by its configuration files alone."""
    folder = write_pipeline(tmp_path / "schnell", SCHNELL.model_dump(), longest=512)
    tables = {"data": {"resolution": 256}, "execution": {"inference_precision": "bfloat16", "precision": "bfloat16"}}
    plan = make_plan(schnell(spec, folder, **tables), machine(memory_bytes=64 * 10**9))
    assert plan.parameters == 11_891_178_560
    assert (plan.micro_batch_size, plan.accumulation_steps, plan.inference_micro_batch_size) == (1, 8, 1)


def test_what_cannot_fit_is_refused(machine, spec, tmp_path):
    """More memory than the device has is refused with both numbers and what would help."""
    folder = write_pipeline(tmp_path / "schnell", SCHNELL.model_dump())
    sentence = refused(schnell(spec, folder), machine())
    assert "needs about 55.3 GB of memory, but Test CPU has 16.0 GB" in sentence


def test_processes_on_one_cpu_share_its_memory(machine, spec, tmp_path):
    """Each process has weights of its own: what fits once need not fit twice."""
    folder = write_pipeline(tmp_path / "schnell", SCHNELL.model_dump())
    big = machine(memory_bytes=64 * 10**9)
    assert make_plan(schnell(spec, folder), big).parameters == SCHNELL.parameters
    twice = refused(schnell(spec, folder, execution={"processes": 2}), big)
    assert "needs about 55.3 GB of memory, but Test CPU has 32.0 GB for each process" in twice


def test_the_plan_predicts_memory(machine, spec):
    """The notes give the peak bytes of tuning and of inference."""
    notes = make_plan(spec(), machine()).notes
    assert "Predicted peak of each process: 616 MB while tuning, 636 MB in inference." in notes


def test_a_missing_folder_is_refused(machine, spec, tmp_path):
    """A path that leads nowhere is refused as that."""
    assert "nothing' is not there." in refused(schnell(spec, tmp_path / "nothing"), machine())


def test_a_folder_of_something_else_is_refused(machine, spec, tmp_path):
    """A pipeline folder whose configuration is not FLUX's is refused by file and key."""
    folder = write_pipeline(tmp_path / "other", {"sample_size": 64})
    assert "does not describe a FLUX transformer: num_layers" in refused(schnell(spec, folder), machine())


@pytest.mark.parametrize("text", ["{", "[]", '{"block_out_channels": 3}'])
def test_a_broken_configuration_is_refused(machine, spec, tmp_path, text):
    """A configuration file that is no JSON object, or lacks what it should say, is named."""
    folder = write_pipeline(tmp_path / "broken", SCHNELL.model_dump())
    (folder / "vae" / "config.json").write_text(text)
    assert "vae/config.json" in refused(schnell(spec, folder), machine())


def test_a_resolution_off_the_grid_is_refused(machine, spec, tmp_path):
    """An autoencoder with more levels needs a coarser resolution."""
    folder = write_pipeline(tmp_path / "coarse", SCHNELL.model_dump())
    config = {"block_out_channels": [1, 1, 1, 1, 1]}
    (folder / "vae" / "config.json").write_text(json.dumps(config))
    write_header(folder / "vae" / "diffusion_pytorch_model.safetensors", dict.fromkeys(vae_tensors(config), (1,)))
    assert "data.resolution = 48 is not divisible by 32" in refused(
        schnell(spec, folder, data={"resolution": 48}), machine()
    )


def test_a_snapshot_is_found_in_the_hub_cache(tmp_path, monkeypatch):
    """A repository is looked up by its revision in the cache folder, without any network."""
    snapshot = tmp_path / "models--maker--schnell" / "snapshots" / COMMIT
    write_pipeline(snapshot)
    model = ModelSpec(family="schnell", weights="pretrained", repo="maker/schnell", revision=COMMIT)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert pipeline_folder(model) == snapshot


def test_a_snapshot_that_is_not_there_is_refused(tmp_path, monkeypatch):
    """A revision that was never fetched is refused with the command that fetches it."""
    model = ModelSpec(family="schnell", weights="pretrained", repo="maker/schnell", revision=COMMIT)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(MachineError, match=f"hf download maker/schnell --revision {COMMIT}"):
        pipeline_folder(model)


@pytest.mark.parametrize(
    ("environment", "folder"),
    [
        ({"HF_HUB_CACHE": "/a"}, "/a"),
        ({"HF_HOME": "/b"}, "/b/hub"),
        ({"XDG_CACHE_HOME": "/c"}, "/c/huggingface/hub"),
        ({"HF_HUB_CACHE": "/a", "HF_HOME": "/b"}, "/a"),
        ({"HUGGINGFACE_HUB_CACHE": "/old"}, "/old"),
        ({"HF_HOME": "~/models", "HOME": "/h"}, "/h/models/hub"),
        ({"HF_HUB_CACHE": "$SCRATCH/hub", "SCRATCH": "/s"}, "/s/hub"),
    ],
)
def test_where_the_hub_cache_lies(environment, folder):
    """It is where huggingface_hub itself looks: every variable that counts there, in its order, with ~ and $NAME."""
    code = "from fluxkit.model.pipeline_files import hub_cache; print(hub_cache())"
    kept = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=kept | environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == folder


def test_a_tokenizer_without_a_limit_takes_what_is_asked(small_pipeline, spec):
    """Captions are as long as asked where the tokenizer states no limit."""
    (small_pipeline / "tokenizer_2" / "tokenizer_config.json").write_text("{}")
    assert sizes_of(spec()).sample.text_tokens == 256
