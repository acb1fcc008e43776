"""What a newcomer must know before any number: which model, on which machines, when, and what the model is not."""

import re
from collections.abc import Sequence

from fluxkit.compare.comparison import Comparison, Workload
from fluxkit.errors import printable
from fluxkit.record.result import RunResult
from fluxkit.text.number_format import listed, quoted, seconds_text
from fluxkit.units import counted

GIBIBYTE = 2**30
DAY = re.compile(r"\d{4}-\d\d-\d\d(?=T)")
MODELS = {
    ("nano", "embedded"): (
        "nano is not FLUX.1-schnell: it is a small model with FLUX's own layers that ships with fluxkit, made for "
        "laptops, and its numbers do not carry over."
    ),
    ("nano", "random"): (
        "nano is not FLUX.1-schnell: it is a small model with FLUX's own layers, made for laptops, and here it begins "
        "from random weights. Its numbers do not say how FLUX.1-schnell would tune or run."
    ),
    ("schnell", "pretrained"): "The model is FLUX.1-schnell itself, with its published weights.",
    ("schnell", "random"): (
        "This is FLUX.1-schnell's whole architecture with random weights: its speed, memory and energy are real, and "
        "it has no quality."
    ),
}
"""By family and weights. Source of what nano is: fluxkit/data/nano/README.md."""
MIRRORED = (
    "“Untuned” is mirrored because nano was trained on mirror images of these photos, so that tuning has something to "
    "learn: what it gains shows that tuning works, not what unknown photos would gain."
)
HEADINGS = {
    ("nano", "random"): "a small FLUX (nano) from random weights",
    ("schnell", "pretrained"): "FLUX.1-schnell",
    ("schnell", "random"): "FLUX.1-schnell's architecture (random weights)",
}
"""What is tuned, by family and weights."""


def page_heading(comparison: Comparison) -> str:
    """What was tuned: the page's heading."""
    kinds = dict.fromkeys(_kind(workload) for workload in comparison.workloads)
    names = [HEADINGS.get(kind, "a small FLUX (nano)") for kind in kinds]
    return f"Tuning {' and '.join(names) or 'FLUX'}"


def page_title(comparison: Comparison) -> str:
    """What tells this page from another one: the models and the devices, as seen at run time."""
    devices = sorted({device for workload in comparison.workloads for row in workload.rows for device in row.devices})
    return f"{page_heading(comparison)}: {listed(devices) if devices else 'no device'} (fluxkit)"


def machine_lines(runs: Sequence[RunResult]) -> tuple[str, ...]:
    """A line per machine: “2 cores of an AMD EPYC virtual machine, 24 GB”, and before it the GPUs that were used."""
    return tuple(dict.fromkeys(_machine_line(run) for run in runs))


def _machine_line(run: RunResult) -> str:
    readings = {name: reading.value for name, reading in run.system.before.readings.items()}
    cores = readings.get("cpu_usable_cores") or readings.get("cpu_logical_cores")
    memory = readings.get("memory_limit_bytes") or readings.get("memory_total_bytes")
    cpus = [device.name for device in run.system.before.devices if device.kind == "cpu"]
    name = printable(str(readings.get("cpu_model") or next(iter(cpus), "") or "unknown processor"))
    article = "an" if name[:1].upper() in "AEIOU" else "a"
    parts = [f"{counted(int(cores), 'core')} of {article} {name}" if isinstance(cores, int) else name]
    if readings.get("virtual_machine") is True:
        parts[0] += " virtual machine"
    if isinstance(memory, int):
        parts.append(f"{memory / GIBIBYTE:.0f} GB")
    if run.plan.device == "cuda":
        used = [printable(name) for name in run.plan.device_names]
        cards = [f"{used.count(name)} \N{MULTIPLICATION SIGN} {name}" for name in dict.fromkeys(used)]
        return f"{', '.join(cards)}; {', '.join(parts)}"
    return ", ".join(parts)


def measured_sentence(comparison: Comparison, runs: Sequence[RunResult]) -> str:
    """How many runs of how many configurations, when and in which studies."""
    rows = sum(len(workload.rows) for workload in comparison.workloads)
    days = sorted({day[0] for run in runs if (day := DAY.match(run.created))})
    when = "" if not days else f" on {days[0]}" if len(days) == 1 else f" from {days[0]} to {days[-1]}"
    studies = sorted({quoted(printable(run.study)) for run in runs})
    return (
        f"{counted(len(runs), 'run')} of {counted(rows, 'configuration')}, measured{when} "
        f"in {'study' if len(studies) == 1 else 'studies'} {listed(studies) if studies else ''}."
    )


def work_sentence(workload: Workload) -> str:
    """The work that is the same for all configurations of a workload."""
    model, data, tune = (workload.tables[name] for name in ("model", "data", "tune"))
    how = f"LoRA tuning (rank {tune['lora_rank']})" if tune["method"] == "lora" else "Full tuning"
    pictures = f" on {counted(workload.tuned_pairs, 'picture')}" if workload.tuned_pairs else ""
    seconds = seconds_text(float(tune["seconds"] or 0.0))
    also = workload.regularization_images
    beside = f", beside {counted(also, 'regularization image')} (tuned on, never scored)" if also else ""
    return (
        f"{how} of {model['family']} ({model['weights']} weights){pictures} of {data['resolution']} px{beside}, "
        f"{tune['global_batch_size']} in a batch; compared after {seconds} s and after {tune['iterations']:,} "
        "iterations."
    )


def about_the_model(workload: Workload) -> str:
    """What the model is and is not."""
    return MODELS.get(_kind(workload), "")


def mirrored(workload: Workload) -> str:
    """Why the untuned model's pictures are mirrored, where they are."""
    nano = _kind(workload) == ("nano", "embedded") and workload.tables["data"]["source"] == "photos"
    return MIRRORED if nano else ""


def _kind(workload: Workload) -> tuple[str, str]:
    model = workload.tables["model"]
    return str(model["family"]), str(model["weights"])
