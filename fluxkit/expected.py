"""What a plan expects of memory, time and disk, where it is known."""

from __future__ import annotations

import tomllib
from importlib import resources
from typing import TYPE_CHECKING

from fluxkit.dataset import list_folder
from fluxkit.devices import flops_per_second, peaks_of

if TYPE_CHECKING:
    from fluxkit.execution import InferencePrecision
    from fluxkit.pipeline import PipelineSizes
    from fluxkit.spec import RunSpec
    from fluxkit.workload import DataSpec

FLOAT32 = 4
TEXT_BYTES = {"nano": 4, "schnell": 2}
"""Per number of an encoded caption, in the precision that the text encoders are published in."""


def expected_cache_bytes(spec: RunSpec, sizes: PipelineSizes) -> int:
    """Bytes of the encoded images and captions that a run keeps for the next, the empty caption included."""
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


def expected_peak_bytes(spec: RunSpec, peaks: tuple[int, int]) -> int | None:
    """Peak bytes of the tensors of all processes, of the `peaks` of one; None where those are a lower bound only."""
    if spec.tune.method == "full" and spec.execution.precision == "bfloat16":
        return None
    return max(peaks) * spec.execution.processes


def expected_seconds(spec: RunSpec, device_name: str, flops: int) -> float | None:
    """Seconds of `tune.iterations` steps of `flops` each; None on a device, or for work, without known efficiency."""
    device = peaks_of(device_name)
    rate = flops_per_second(device, spec.model.family, "tuning", tuning_precision(spec)) if device else None
    return spec.tune.iterations * flops / (rate * devices_at_work(spec)) if rate else None


def devices_at_work(spec: RunSpec) -> int:
    """One for each process of a GPU run; the processes of a CPU run share one."""
    return spec.execution.processes if spec.execution.device == "cuda" else 1


def tuning_precision(spec: RunSpec) -> InferencePrecision:
    """The precision of tuning under the name that tells TF32 and IEEE apart; tuning never uses TF32."""
    return "ieee_float32" if spec.execution.precision == "float32" else "bfloat16"
