"""`fluxkit.report.introduction`: what the page says before any number."""

import builders

from fluxkit.compare.compare import compare
from fluxkit.report.introduction import about_the_model, measured_sentence, page_title, work_sentence


def test_the_first_sentence_names_devices_days_and_studies():
    """How many runs, on which devices as seen at run time, from which day to which, and the studies by name."""
    runs = builders.study()
    assert measured_sentence(compare(runs), runs) == (
        "7 runs of 2 configurations on Example CPU 8-core, measured from 2026-01-01 to 2026-01-03 in study “example”."
    )
    odd = [runs[0].model_copy(update={"created": "</title>"})]
    assert "measured in study" in measured_sentence(compare(odd), odd)


def test_titles_tell_pages_apart():
    """Pages of different devices or models have different titles."""
    cpu = page_title(compare([builders.result()]))
    gpu = page_title(compare([builders.result(of=builders.spec(execution={"device": "cuda"}), gpu=True)]))
    assert cpu.startswith("nano on Example CPU 8-core: ")
    assert gpu.startswith("nano on Example GPU 48GB: ")


def test_nano_is_never_taken_for_schnell():
    """The page says that nano is another model, and that it knew the tuned photos mirrored; schnell needs neither."""
    (workload,) = compare([builders.result()]).workloads
    about = " ".join(about_the_model(workload))
    assert "nano is not FLUX.1-schnell" in about
    assert "mirrored" in about
    random = builders.spec(model={"family": "schnell", "weights": "random"})
    (workload,) = compare([builders.result(of=random)]).workloads
    assert "random weights" in about_the_model(workload)[0]
    assert "nano" not in " ".join(about_the_model(workload))


def test_the_work_is_said_once_for_all():
    """The tuning, its pictures and both budgets stand in one sentence."""
    (workload,) = compare([builders.result()]).workloads
    assert work_sentence(workload) == (
        "LoRA tuning (rank 16) of nano (embedded weights) on 4 pictures of 64 px, 8 in a batch; "
        "compared after 60.0 s and after 200 iterations."
    )
