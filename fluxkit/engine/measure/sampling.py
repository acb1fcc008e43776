"""Captions and noise become images, and the denoising steps that make them are timed.

B batch, C latent channels, H and W latent height and width, L tokens, D packed width.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fluxkit.engine.data.images import to_uint8
from fluxkit.engine.flux import flow
from fluxkit.engine.flux.autoencoder import Autoencoder
from fluxkit.engine.flux.captions import Embeddings
from fluxkit.engine.flux.transformer import Flux
from fluxkit.engine.measure.timing import LONG_SECONDS, WARM_UP_STEPS, synchronize
from fluxkit.machine.stop_requests import check_stop
from fluxkit.model.memory_formula import DECODED_LATENT_PIXELS
from fluxkit.spec.workload import MIN_TIMED_STEPS, InferenceSpec


@torch.no_grad()
def denoise(
    flux: Flux, noise_BCHW: Tensor, captions: Embeddings, num_inference_steps: int,
    after_step: Callable[[], None] | None = None,
) -> Tensor:  # fmt: skip
    """Latents (B, C, H, W), FP32 on the CPU, from noise: schnell's schedule, no guidance, no shift."""
    height, width = noise_BCHW.shape[2:]

    def predict(tokens_BLD: Tensor, sigma_B: Tensor) -> Tensor:
        return flux.velocity(tokens_BLD, sigma_B, captions, (height, width))

    noise_BLD, sigmas = flow.pack(noise_BCHW.to(flux.device)), flow.schedule(num_inference_steps)
    return flow.unpack(flow.euler(predict, noise_BLD, sigmas, after_step), height, width).cpu()


def images_of(autoencoder: Autoencoder, latents_BCHW: Tensor) -> list[NDArray[np.uint8] | None]:
    """uint8 RGB images (H, W, 3), decoded a few at a time so that memory does not grow with the batch.

    None where a value is not finite: the model has diverged, and there is no picture to score.
    """
    together = max(1, DECODED_LATENT_PIXELS // (latents_BCHW.shape[2] * latents_BCHW.shape[3]))
    decoded_BCHW = torch.cat([autoencoder.decode(part_BCHW) for part_BCHW in latents_BCHW.split(together)])
    return [to_uint8(image_CHW[None])[0] if image_CHW.isfinite().all() else None for image_CHW in decoded_BCHW]


@dataclass(frozen=True)
class LatentBatch:
    """The batch whose denoising is timed: fixed noise per image, captions cycled, prompts encoded before."""

    captions: Embeddings
    shape: tuple[int, int, int]
    """Of one image's latents (C, H, W)."""
    images: range
    """Images of the batch on this process."""
    micro_batch_size: int

    def micro_batch(self, first: int) -> tuple[Tensor, Embeddings]:
        """Noise (B, C, H, W) and captions of the micro-batch that begins at place `first`."""
        images = self.images[first : first + self.micro_batch_size]
        noise_BCHW = torch.stack([flow.noise_of(self.shape, "inference", image) for image in images])
        rows = len(self.captions.prompt_NTE)
        return noise_BCHW, self.captions.of([image % rows for image in images])


class StepTime(NamedTuple):
    """One denoising step of one micro-batch: transformer and scheduler."""

    issue_seconds: float
    """Until the host had issued it."""
    seconds: float
    """Until the device, synchronised, had done it."""


def step_times(flux: Flux, batch: LatentBatch, first: int, num_inference_steps: int) -> list[StepTime]:
    """Times of each denoising step of one micro-batch."""
    noise_BCHW, captions = batch.micro_batch(first)
    noise_BCHW, captions = noise_BCHW.to(flux.device), captions.to(flux.device, flux.dtype)
    ticks: list[tuple[float, float]] = []

    def tick() -> None:
        issued = time.perf_counter()
        synchronize(flux.device)
        ticks.append((issued, time.perf_counter()))

    tick()
    denoise(flux, noise_BCHW, captions, num_inference_steps, tick)
    return [StepTime(issued - before, after - before) for (_, before), (issued, after) in pairwise(ticks)]


def warm_up_seconds(flux: Flux, batch: LatentBatch) -> float:
    """Seconds of the untimed steps before the timed ones, of which one is enough where it takes long."""
    first = _seconds(step_times(flux, batch, 0, 1))
    return first if first > LONG_SECONDS else first + _seconds(step_times(flux, batch, 0, WARM_UP_STEPS - 1))


def _seconds(steps: list[StepTime]) -> float:
    return sum(step.seconds for step in steps)


def denoising_times(flux: Flux, batch: LatentBatch, settings: InferenceSpec) -> Iterator[list[StepTime]]:
    """Times of the steps of one micro-batch after the other, the batch again and again.

    Ends when `min_seconds` and `MIN_TIMED_STEPS` are reached. After `max_seconds` no further micro-batch begins.
    """
    spent, steps, first = 0.0, 0, 0
    while (spent < settings.min_seconds or steps < MIN_TIMED_STEPS) and spent < settings.max_seconds:
        check_stop()
        times = step_times(flux, batch, first, settings.num_inference_steps)
        yield times
        spent, steps, first = spent + _seconds(times), steps + len(times), first + batch.micro_batch_size
        first = first if first < len(batch.images) else 0
