"""What a plan expects of memory, time and disk, where it is known."""

from __future__ import annotations

import math
import tomllib
from importlib import resources
from typing import TYPE_CHECKING, Literal, NamedTuple

from fluxkit.dataset.picture_folder import list_folder
from fluxkit.machine.device_peaks import device_named, flops_per_second, peaks_of
from fluxkit.model.memory_formula import BYTES_OF, FLOAT32
from fluxkit.spec.workload import MIN_TIMED_STEPS
from fluxkit.units import span

if TYPE_CHECKING:
    from fluxkit.model.pipeline_files import PipelineSizes
    from fluxkit.spec.execution import InferencePrecision
    from fluxkit.spec.run_spec import RunSpec
    from fluxkit.spec.workload import DataSpec

TEXT_BYTES = {"nano": 4, "schnell": 2}
"""Per number of an encoded caption, in the precision that the text encoders are published in."""
REFERENCE_CPU, REFERENCE_CORES = "laptop-cpu", 2
"""The CPU of `devices.toml`, and how many cores its rates are of."""


def expected_cache_bytes(spec: RunSpec, sizes: PipelineSizes) -> int:
    """Bytes of the encoded images and captions that a run keeps for the next, the empty caption included."""
    if not spec.model.can_draw:
        return 0
    transformer, images = sizes.transformer, image_count(spec.data)
    latents = sizes.image_tokens(spec.data.resolution) * transformer.in_channels * FLOAT32
    tokens = sizes.text_tokens(spec.evaluate.max_sequence_length)
    caption = tokens * transformer.joint_attention_dim + transformer.pooled_projection_dim
    return images * latents + (images + 1) * caption * TEXT_BYTES[spec.model.family]


def image_count(spec: DataSpec) -> int:
    """Images that the data names, usable or not."""
    if spec.source == "folder":
        listed, problems = list_folder(spec)
        return len(listed) + len(problems)
    photos = resources.files("fluxkit").joinpath("data", "photos.toml").read_text("utf-8")
    return len(tomllib.loads(photos)["photo"])


def captions_in_memory_bytes(spec: RunSpec, sizes: PipelineSizes) -> int:
    """Bytes of all encoded captions on the device of a process: FP32 on the host, and in the precision of tuning."""
    tokens = sizes.text_tokens(spec.evaluate.max_sequence_length)
    caption = tokens * sizes.transformer.joint_attention_dim + sizes.transformer.pooled_projection_dim
    on_host = FLOAT32 if spec.execution.device == "cpu" else 0
    return (image_count(spec.data) + 1) * caption * (on_host + BYTES_OF[spec.execution.precision])


def is_lower_bound(spec: RunSpec) -> bool:
    """Whether the formulas only bound the memory of tuning from below."""
    return spec.tune.method == "full" and spec.execution.precision == "bfloat16"


class Rate(NamedTuple):
    """FLOP/s to expect of all devices of a run together."""

    flops_per_second: float
    assumed: bool
    """Whether the device is not known, and its cores are taken for those of the one CPU that is."""


def expected_rate(
    spec: RunSpec, device_name: str, cores: int, work: Literal["tuning", "inference"], precision: InferencePrecision
) -> Rate | None:
    """FLOP/s of some work on the devices of a run, which has so many CPU `cores`; None where it is not known.

    CPUs differ by factors; a core is taken for one of the CPU in `devices.toml`, which tells minutes from days.
    """
    device = peaks_of(device_name)
    if device is None and spec.execution.device == "cpu":
        rate = flops_per_second(device_named(REFERENCE_CPU), spec.model.family, work, precision)
        return Rate(rate * cores / REFERENCE_CORES, assumed=True) if rate else None
    known = flops_per_second(device, spec.model.family, work, precision) if device else None
    return Rate(known * devices_at_work(spec), assumed=False) if known else None


class Times(NamedTuple):
    """What a plan expects of time; None where no rate is known."""

    tuning_seconds: float | None
    """Of `tune.iterations` steps."""
    batch_seconds: float | None
    """Of all steps of one whole batch of the inference speed."""
    inference_coverage: float | None
    """Share of that batch that the limits leave time for, in whole micro-batches."""
    notes: tuple[str, ...]


def expected_times(spec: RunSpec, device_name: str, cores: int, *, micro_batch: int, flops: tuple[int, int]) -> Times:
    """Times of tuning and inference.

    Args:
        spec: what is asked.
        device_name: of the first device.
        cores: CPU threads of all processes.
        micro_batch: images per forward pass of the inference speed on each process.
        flops: of one optimiser step, and of one forward pass of one sample.
    """
    precision = spec.execution.inference_precision
    tuning = expected_rate(spec, device_name, cores, "tuning", spec.execution.tuning_precision)
    inference = expected_rate(spec, device_name, cores, "inference", precision)
    tuning_seconds = spec.tune.iterations * flops[0] / tuning.flops_per_second if tuning else None
    image_steps = inference.flops_per_second / flops[1] if inference else None
    batch_seconds = (
        spec.inference.batch_size * spec.inference.num_inference_steps / image_steps if image_steps else None
    )
    together = micro_batch * spec.execution.processes
    coverage = inference_coverage(spec, together, image_steps) if image_steps else None
    notes = []
    if tuning_seconds is not None:
        notes.append(_tuning_note(spec, tuning_seconds))
    if batch_seconds is not None and coverage is not None:
        exact = expected_rate(spec, device_name, cores, "inference", "ieee_float32")
        in_fp32 = batch_seconds * inference.flops_per_second / exact.flops_per_second if inference and exact else None
        notes.append(_inference_note(spec, batch_seconds, in_fp32, coverage))
    if (tuning and tuning.assumed) or (inference and inference.assumed):
        reference = device_named(REFERENCE_CPU)
        notes.append(
            f"These times take its cores for those of “{reference.title}” in devices.toml; they may be far off."
        )
    return Times(tuning_seconds, batch_seconds, coverage, tuple(notes))


def inference_seconds(spec: RunSpec, together: int, image_steps_per_second: float) -> float:
    """Seconds that the inference speed is timed: whole micro-batches until both minima, or the limit, are reached."""
    step = together / image_steps_per_second
    trajectory = spec.inference.num_inference_steps * step
    wanted = min(max(spec.inference.min_seconds, MIN_TIMED_STEPS * step), spec.inference.max_seconds)
    return math.ceil(wanted / trajectory) * trajectory


def inference_coverage(spec: RunSpec, together: int, image_steps_per_second: float) -> float:
    """Share of one whole batch's steps that is timed in that."""
    timed = inference_seconds(spec, together, image_steps_per_second) * image_steps_per_second
    return min(1.0, timed / (spec.inference.batch_size * spec.inference.num_inference_steps))


def _tuning_note(spec: RunSpec, seconds: float) -> str:
    tune = spec.tune
    words = f"{tune.iterations} iterations take about {span(seconds)}"
    if seconds <= tune.max_seconds:
        return f"{words}."
    done = max(1, math.ceil(tune.iterations * tune.max_seconds / seconds))
    return f"{words}; tune.max_seconds = {tune.max_seconds:g} ends tuning after about {done}, and the result says so."


def _inference_note(spec: RunSpec, seconds: float, in_fp32: float | None, coverage: float) -> str:
    asked, precision = spec.inference, spec.execution.inference_precision
    words = f"One batch of {asked.batch_size} images takes about {span(seconds)} in {precision}"
    if in_fp32 and precision != "ieee_float32":
        words += f", and about {span(in_fp32)} in ieee_float32"
    if coverage >= 1:
        return f"{words}."
    return (
        f"{words}; inference.max_seconds = {asked.max_seconds:g} leaves time for {coverage:.1%} of it in whole"
        " micro-batches, which is the coverage that the result will state."
    )


def devices_at_work(spec: RunSpec) -> int:
    """One for each process of a GPU run; the processes of a CPU run share one."""
    return spec.execution.processes if spec.execution.device == "cuda" else 1
