"""The stream of training samples: number p is the same image, noise and sigma in every process and attempt.

N images, B batch, C latent channels, H and W latent height and width, L tokens, D packed width.
"""

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


class Samples:
    """Gives the samples by their number."""

    def __init__(self, job: Job, prepared: Prepared, flux: Flux) -> None:
        self._tune, self._seed, self._flux = job.spec.tune, job.seed, flux
        tuned, regularization = prepared.of_split("tuning"), prepared.of_split("regularization")
        self._places = tuned * TUNED_PER_REGULARIZATION + regularization if regularization else tuned
        self._latents_NCHW, self._size = prepared.latents_NCHW, prepared.size
        self._captions = prepared.captions.to(flux.device, flux.dtype)
        self._empty = prepared.empty.to(flux.device, flux.dtype)
        self._epoch, self._order = -1, list[int]()

    def place(self, position: int) -> int:
        """Which pair sample `position` is: every pair of an epoch in a seeded order."""
        epoch, slot = divmod(position, len(self._places))
        if self._epoch != epoch:
            generator = flow.cpu_generator(self._seed, "order", epoch)
            self._epoch, self._order = epoch, torch.randperm(len(self._places), generator=generator).tolist()
        return self._places[self._order[slot]]

    def sigma(self, position: int) -> float:
        """Noise level of sample `position`."""
        generator = flow.cpu_generator(self._seed, "sigma", position)
        match self._tune.timestep_sampling:
            case "uniform":
                return torch.rand((), generator=generator).item()
            case "logit_normal":
                return torch.randn((), generator=generator).sigmoid().item()
            case "four_step":
                return FOUR_STEPS[int(torch.randint(len(FOUR_STEPS), (), generator=generator))]

    def loss(self, positions: range) -> Tensor:
        """Mean velocity loss of these samples, FP32, on the device; ready for backward."""
        places = [self.place(position) for position in positions]
        device = self._flux.device
        latents_BCHW = self._latents_NCHW[places]
        shape = latents_BCHW.shape[1:]
        noise_BCHW = torch.stack([flow.noise_of(shape, self._seed, "noise", position) for position in positions])
        sigma_B = self._flux.rounded_sigma(torch.tensor([self.sigma(position) for position in positions]))
        noisy_BLD = flow.sent(flow.pack(flow.add_noise(latents_BCHW, noise_BCHW, sigma_B)), device)
        captions = self._with_dropout(places, positions)
        velocity_BLD = self._flux.velocity(noisy_BLD, flow.sent(sigma_B, device), captions, self._size)
        latents_BLD = flow.sent(flow.pack(latents_BCHW), device)
        noise_BLD = flow.sent(flow.pack(noise_BCHW), device)
        return flow.velocity_loss(velocity_BLD, latents_BLD, noise_BLD).mean()

    def _with_dropout(self, places: list[int], positions: range) -> Embeddings:
        captions = self._captions.of(places)
        for row, position in enumerate(positions):
            generator = flow.cpu_generator(self._seed, "caption", position)
            if self._tune.caption_dropout and torch.rand((), generator=generator) < self._tune.caption_dropout:
                captions.prompt_NTE[row], captions.pooled_NP[row] = self._empty.prompt_NTE[0], self._empty.pooled_NP[0]
        return captions
