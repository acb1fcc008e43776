"""The stream of training samples: number p is the same image, noise and sigma in every process and attempt.

N images, B batch, C latent channels, H and W latent height and width, L tokens, D packed width.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from fluxkit.engine.data.prepare import Prepared
from fluxkit.engine.flux import flow
from fluxkit.engine.flux.captions import Embeddings
from fluxkit.engine.flux.transformer import Flux
from fluxkit.plan.plan import Job

FOUR_STEPS = flow.schedule(4)[:-1]
TUNED_PER_REGULARIZATION = 7
"""How often a pair that is scored comes for each time that a regularization image does: with nine photos and three
details of every photo, seven samples of ten are whole photos."""
AHEAD_SAMPLES, AHEAD_BYTES = 32, 1 << 22
"""As many samples are drawn together, but no more noise than this: an operator that is called between two passes of the
model finds nothing of it in the processor's caches and costs many times what it costs in a row."""


@dataclass(frozen=True)
class Batch:
    """Samples as the model and the loss read them, on the device."""

    positions: range
    places_B: Tensor
    """Which pairs they are."""
    sigma_B: Tensor
    noisy_BLD: Tensor
    target_BLD: Tensor
    """The velocity to be predicted: noise minus image."""


class Samples:
    """Gives the samples by their number."""

    def __init__(self, job: Job, prepared: Prepared, flux: Flux) -> None:
        self._tune, self._seed, self._flux = job.spec.tune, job.seed, flux
        self._batch_here = job.spec.tune.global_batch_size // job.plan.processes
        tuned, regularization = prepared.of_split("tuning"), prepared.of_split("regularization")
        self._places = tuned * TUNED_PER_REGULARIZATION + regularization if regularization else tuned
        self._latents_NCHW, self._size = prepared.latents_NCHW, prepared.size
        self._captions = prepared.captions.to(flux.device, flux.dtype)
        self._empty = prepared.empty.to(flux.device, flux.dtype)
        self._epoch, self._order = -1, list[int]()
        self._generator = torch.Generator("cpu")
        self._ahead = dict[range, Batch]()

    def place(self, position: int) -> int:
        """Which pair sample `position` is: every pair of an epoch in a seeded order."""
        epoch, slot = divmod(position, len(self._places))
        if self._epoch != epoch:
            generator = flow.cpu_generator(self._seed, "order", epoch)
            self._epoch, self._order = epoch, torch.randperm(len(self._places), generator=generator).tolist()
        return self._places[self._order[slot]]

    def sigma(self, position: int) -> float:
        """Noise level of sample `position`."""
        generator = self._seeded("sigma", position)
        match self._tune.timestep_sampling:
            case "uniform":
                return torch.rand((), generator=generator).item()
            case "logit_normal":
                return torch.randn((), generator=generator).sigmoid().item()
            case "four_step":
                return FOUR_STEPS[int(torch.randint(len(FOUR_STEPS), (), generator=generator))]

    def loss(self, positions: range) -> Tensor:
        """Mean velocity loss of these samples, FP32, on the device; ready for backward."""
        if positions not in self._ahead:
            self._ahead = {batch.positions: batch for batch in self._drawn(self._following(positions))}
        batch = self._ahead.pop(positions)
        captions = self._with_dropout(batch.places_B, positions)
        velocity_BLD = self._flux.velocity(batch.noisy_BLD, batch.sigma_B, captions, self._size)
        return flow.squared_error(velocity_BLD, batch.target_BLD).mean()

    def _following(self, positions: range) -> list[range]:
        """These samples and those of the micro-batches that this process needs after them."""
        size, noise_bytes = len(positions), 4 * self._latents_NCHW[0].numel()
        batches = [positions]
        while len(batches) < min(AHEAD_SAMPLES, AHEAD_BYTES // noise_bytes) // size:
            start = batches[-1].stop
            if start % self._batch_here == 0:  # the rest of the step is the other processes'
                start += self._tune.global_batch_size - self._batch_here
            batches.append(range(start, start + size))
        return batches

    def _drawn(self, batches: list[range]) -> list[Batch]:
        """The samples of all batches, drawn and mixed together."""
        positions = [position for batch in batches for position in batch]
        places = torch.tensor([self.place(position) for position in positions])
        latents_BCHW = self._latents_NCHW[places]
        noise_BCHW = torch.empty_like(latents_BCHW)
        for row, position in zip(noise_BCHW, positions, strict=True):
            row.normal_(generator=self._seeded("noise", position))
        sigma_B = self._flux.rounded_sigma(torch.tensor([self.sigma(position) for position in positions]))
        latents_BLD, noise_BLD = flow.pack(latents_BCHW), flow.pack(noise_BCHW)
        mixed = (places, sigma_B, flow.add_noise(latents_BLD, noise_BLD, sigma_B), noise_BLD - latents_BLD)
        parts = (flow.sent(tensor, self._flux.device).split(len(batches[0])) for tensor in mixed)
        return [Batch(*values) for values in zip(batches, *parts, strict=True)]

    def _with_dropout(self, places_B: Tensor, positions: range) -> Embeddings:
        captions = self._captions.of(places_B)
        if not self._tune.caption_dropout:
            return captions
        for row, position in enumerate(positions):
            if torch.rand((), generator=self._seeded("caption", position)) < self._tune.caption_dropout:
                captions.prompt_NTE[row], captions.pooled_NP[row] = self._empty.prompt_NTE[0], self._empty.pooled_NP[0]
        return captions

    def _seeded(self, kind: str, position: int) -> torch.Generator:
        """The generator at the start of a stream; it is one object, so the stream is drawn from at once."""
        return self._generator.manual_seed(flow.seed_of(self._seed, kind, position))
