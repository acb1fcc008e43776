"""What a newcomer must know before any number: on which devices, when, and what the model is and is not."""

import re
from collections.abc import Iterable, Sequence

from fluxkit.compare.comparison import Comparison, Workload
from fluxkit.errors import printable
from fluxkit.record.result import RunResult
from fluxkit.text.number_format import listed, plain, quoted
from fluxkit.units import counted

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
    "It has learnt these photos mirrored, and tuning turns them round: what it gains shows that tuning works, not what "
    "unknown photos would gain."
)


def page_title(comparison: Comparison) -> str:
    """What tells this page from another one: the models and the devices, as seen at run time."""
    families = sorted({str(workload.tables["model"]["family"]) for workload in comparison.workloads})
    return f"{' and '.join(families) or 'FLUX'} on {_devices(comparison)}: what tuning costs and gives (fluxkit)"


def measured_sentence(comparison: Comparison, runs: Sequence[RunResult]) -> str:
    """How many runs of how many configurations, on what, when and in which studies."""
    rows = sum(len(workload.rows) for workload in comparison.workloads)
    days = sorted({day[0] for run in runs if (day := DAY.match(run.created))})
    when = "" if not days else f" on {days[0]}" if len(days) == 1 else f" from {days[0]} to {days[-1]}"
    studies = _some_of(quoted(printable(run.study)) for run in runs)
    return (
        f"{counted(len(runs), 'run')} of {counted(rows, 'configuration')} on {_devices(comparison)}, measured{when} "
        f"in {'study' if len({run.study for run in runs}) == 1 else 'studies'} {studies}."
    )


def work_sentence(workload: Workload) -> str:
    """The work that is the same for all configurations of a workload."""
    model, data, tune = (workload.tables[name] for name in ("model", "data", "tune"))
    how = f"LoRA tuning (rank {tune['lora_rank']})" if tune["method"] == "lora" else "Full tuning"
    pictures = f" on {counted(workload.tuned_pairs, 'picture')}" if workload.tuned_pairs else ""
    if workload.regularization_images:
        pictures += f", beside {counted(workload.regularization_images, 'regularization image')},"
    seconds = plain(float(tune["seconds"] or 0.0))
    return (
        f"{how} of {model['family']} ({model['weights']} weights){pictures} of {data['resolution']} px, "
        f"{tune['global_batch_size']} in a batch; compared after {seconds} s and after {tune['iterations']} iterations."
    )


def about_the_model(workload: Workload) -> tuple[str, ...]:
    """What the model is and is not, and what is odd about its quality."""
    model, source = workload.tables["model"], workload.tables["data"]["source"]
    kind = (str(model["family"]), str(model["weights"]))
    mirrored = kind == ("nano", "embedded") and source == "photos"
    return (*([MODELS[kind]] if kind in MODELS else []), *([MIRRORED] if mirrored else []))


def _devices(comparison: Comparison) -> str:
    return _some_of(device for workload in comparison.workloads for row in workload.rows for device in row.devices)


def _some_of(names: Iterable[str]) -> str:
    """The first of some names, in order, and how many others there are."""
    unique = sorted(set(names))
    return listed(unique) if unique else "no device"
