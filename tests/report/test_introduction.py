"""`fluxkit.report.introduction`: what the page says before any number."""

import builders
import pytest

from fluxkit.compare.compare import compare
from fluxkit.machine.readings import Reading
from fluxkit.report.introduction import (
    about_the_model,
    machine_lines,
    measured_sentence,
    mirrored,
    page_heading,
    page_title,
    work_sentence,
)


def test_the_first_sentence_names_days_and_studies():
    """How many runs, from which day to which, and the studies by name."""
    runs = builders.study()
    assert measured_sentence(compare(runs), runs) == (
        "7 runs of 2 configurations, measured from 2026-01-01 to 2026-01-03 in study “example”."
    )
    odd = [runs[0].model_copy(update={"created": "</title>"})]
    assert "measured in study" in measured_sentence(compare(odd), odd)


def test_titles_tell_pages_apart():
    """Pages of different devices or models have different titles."""
    cpu = page_title(compare([builders.result()]))
    gpu = page_title(compare([builders.result(of=builders.spec(execution={"device": "cuda"}), gpu=True)]))
    assert cpu.startswith("Tuning a small FLUX (nano): Example CPU 8-core")
    assert gpu.startswith("Tuning a small FLUX (nano): Example GPU 48GB")


def test_nano_is_never_taken_for_schnell():
    """The page says that nano is another model, and that it knew the tuned photos mirrored; schnell needs neither."""
    (workload,) = compare([builders.result()]).workloads
    assert "nano is not FLUX.1-schnell" in about_the_model(workload)
    assert "“Untuned” is mirrored because" in mirrored(workload)
    random = builders.spec(model={"family": "schnell", "weights": "random"})
    (workload,) = compare([builders.result(of=random)]).workloads
    assert "random weights" in about_the_model(workload)
    assert "nano" not in about_the_model(workload)
    assert mirrored(workload) == ""


def test_the_work_is_said_once_for_all():
    """The tuning, its pictures and both budgets stand in one sentence."""
    (workload,) = compare([builders.result()]).workloads
    assert work_sentence(workload) == (
        "LoRA tuning (rank 16) of nano (embedded weights) on 4 pictures of 64 px, 8 in a batch; "
        "compared after 60 s and after 200 iterations."
    )
    beside = work_sentence(workload.model_copy(update={"regularization_images": 27}))
    assert "on 4 pictures of 64 px, beside 27 regularization images (tuned on, never scored), 8 in a batch" in beside


@pytest.mark.parametrize(
    ("family", "weights", "heading"),
    [
        ("nano", "embedded", "Tuning a small FLUX (nano)"),
        ("nano", "random", "Tuning a small FLUX (nano) from random weights"),
        ("schnell", "random", "Tuning FLUX.1-schnell's architecture (random weights)"),
    ],
)
def test_the_heading_names_the_model(family, weights, heading):
    """What was tuned is the page's heading."""
    tune = {"method": "full"} if (family, weights) == ("nano", "random") else {}
    run = builders.result(of=builders.spec(model={"family": family, "weights": weights}, tune=tune))
    assert page_heading(compare([run])) == heading


def test_each_machine_is_one_line():
    """Cores, processor, whether it is virtual, and memory; before them the GPUs that were used; each machine once."""

    def on(gpu, **readings):
        run = builders.result(of=builders.spec(execution={"device": "cuda"}), gpu=True) if gpu else builders.result()
        known = {name: Reading(value=value, source="made up") for name, value in readings.items()}
        before = run.system.before.model_copy(update={"readings": known})
        return run.model_copy(update={"system": run.system.model_copy(update={"before": before})})

    cpu = {"cpu_usable_cores": 2, "cpu_model": "AMD EPYC", "memory_total_bytes": 25276502016}
    assert machine_lines([on(False, **cpu, virtual_machine=True)] * 2) == (
        "2 cores of an AMD EPYC virtual machine, 24 GB",
    )
    assert machine_lines([on(True, **cpu)]) == (
        "1 \N{MULTIPLICATION SIGN} Example GPU 48GB; 2 cores of an AMD EPYC, 24 GB",
    )
    assert machine_lines([on(False)]) == ("Example CPU 8-core",)
