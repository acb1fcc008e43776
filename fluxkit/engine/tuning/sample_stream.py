"""The stream of training samples: number p is the same image, noise and sigma in every process and attempt."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from fluxkit.engine.flux import flow

if TYPE_CHECKING:
    from torch import Tensor

    from fluxkit.engine.data.prepare import Prepared
    from fluxkit.engine.flux.transformer import Embeddings, Flux
    from fluxkit.plan.plan import Job

FOUR_STEPS = flow.schedule(4)[:-1]


class Samples:
    """The stream of training samples; number p is a function of the seed and p alone."""

    def __init__(self, job: Job, prepared: Prepared, flux: Flux) -> None:
        self._tune, self._seed, self._flux = job.spec.tune, job.seed, flux
        self._places = prepared.of_split("tuning")
        self._latents = prepared.latents_NCHW
        self._captions = prepared.captions.to(flux.device, flux.dtype)
        self._empty = prepared.empty.to(flux.device, flux.dtype)
        self._order: tuple[int, list[int]] = (-1, [])

    def place(self, position: int) -> int:
        """Which pair sample `position` is: every pair once per epoch, in a seeded order."""
        epoch, slot = divmod(position, len(self._places))
        if self._order[0] != epoch:
            generator = flow.cpu_generator(self._seed, "order", epoch)
            self._order = (epoch, torch.randperm(len(self._places), generator=generator).tolist())
        return self._places[self._order[1][slot]]

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
        latents = self._latents[places]
        noise = torch.stack([flow.noise_of(latents.shape[1:], self._seed, "noise", p) for p in positions])
        sigma = self._flux.seen(torch.tensor([self.sigma(position) for position in positions]))
        noisy = flow.pack(flow.add_noise(latents, noise, sigma)).to(self._flux.device, non_blocking=True)
        size = (latents.shape[2], latents.shape[3])
        captions = self._with_dropout(places, positions)
        velocity = self._flux.velocity(noisy, sigma.to(self._flux.device), captions, size)
        target = [flow.pack(each).to(self._flux.device, non_blocking=True) for each in (latents, noise)]
        return flow.velocity_loss(velocity, *target).mean()

    def _with_dropout(self, places: list[int], positions: range) -> Embeddings:
        captions = self._captions.of(places)
        for row, position in enumerate(positions):
            generator = flow.cpu_generator(self._seed, "caption", position)
            if self._tune.caption_dropout and torch.rand((), generator=generator) < self._tune.caption_dropout:
                captions.prompt_NTE[row], captions.pooled_NP[row] = self._empty.prompt_NTE[0], self._empty.pooled_NP[0]
        return captions
