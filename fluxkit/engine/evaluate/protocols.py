"""Both quality protocols at one state of the model, and the anchors that need no model.

`reconstruction`: samples for the captions of tuned pairs against their real images: how well the tuning set was
learnt. `validation`: held-out images noised to fixed sigmas with fixed noise: velocity loss and one-step estimate.
All noise comes from the content hash of the image, never from the run's seed or a place in a batch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image

from fluxkit.engine.evaluate.psnr_ssim import flat_colour, score
from fluxkit.engine.flux import flow
from fluxkit.engine.measure.sampling import denoise, images_of
from fluxkit.record.events import Anchor, Progress, Reconstruction, Validation

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from fluxkit.engine.data.prepare import Prepared
    from fluxkit.engine.flux.autoencoder import Autoencoder
    from fluxkit.engine.flux.transformer import Flux
    from fluxkit.engine.process.event_log import EventLog
    from fluxkit.spec.workload import EvaluateSpec

KEPT_SEED = 0
"""The sample of this seed is kept as an image, for the report."""


def save_image(folder: Path, relative: str, image_HWC: NDArray[np.uint8]) -> str:
    """Writes a lossless PNG below the run folder and gives back its relative path."""
    path = folder / relative
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image_HWC).save(path, optimize=True)
    return relative


class Evaluator:
    """Grades states of a model by what does not change between them: data, noise, sigmas and a share of the work."""

    def __init__(
        self, spec: EvaluateSpec, prepared: Prepared, autoencoder: Autoencoder, folder: Path, log: EventLog,
        *, micro_batch_size: int, processes: int,
    ) -> None:  # fmt: skip
        self._spec, self._prepared, self._autoencoder = spec, prepared, autoencoder
        self._folder, self._log = folder, log
        self._micro_batch_size, self._processes = micro_batch_size, processes
        self._references = [np.asarray(pair.image) for pair in prepared.pairs]

    def _share(self, items: Sequence[tuple[int, int, int]]) -> list[list[tuple[int, int, int]]]:
        """This rank's part of the work, in micro-batches."""
        mine = items[self._log.rank :: self._processes]
        return [
            list(mine[first : first + self._micro_batch_size]) for first in range(0, len(mine), self._micro_batch_size)
        ]

    def anchors(self) -> None:
        """Scores of the autoencoder's round trip and of the flat mean colour for every pair."""
        for place in range(self._log.rank, len(self._references), self._processes):
            pair, reference = self._prepared.pairs[place], self._references[place]
            decoded = images_of(self._autoencoder, self._prepared.latents_NCHW[place : place + 1])[0]
            image = save_image(self._folder, f"samples/autoencoder/{pair.id}.png", decoded)
            trip, flat = score(decoded, reference), score(flat_colour(reference), reference)
            self._log.write(Anchor, anchor="autoencoder_reconstruction", pair=pair.id, image=image, **trip._asdict())
            self._log.write(Anchor, anchor="flat_colour", pair=pair.id, **flat._asdict())

    def grade(self, flux: Flux, iteration: int, marks: list[str]) -> None:
        """Writes the scores of the model's state after `iteration` steps under each of `marks`."""
        flux.transformer.eval()
        self._reconstruction(flux, f"iteration-{iteration}", marks)
        self._validation(flux, marks)

    def _reconstruction(self, flux: Flux, folder: str, marks: list[str]) -> None:
        seeds = range(self._spec.num_images_per_prompt)
        items = [(place, seed, 0) for place in self._prepared.of_split("tuning") for seed in seeds]
        batches = self._share(items)
        for done, batch in enumerate(batches):
            self._log.write(Progress, done=done, total=len(batches), what=f"samples at {marks[0]}")
            places = [place for place, _, _ in batch]
            shape = self._prepared.latents_NCHW.shape[1:]
            hashes = [self._prepared.pairs[place].pixels_sha256 for place in places]
            noise = torch.stack(
                [
                    flow.noise_of(shape, "reconstruction", key, seed)
                    for key, (_, seed, _) in zip(hashes, batch, strict=True)
                ]
            )
            latents = denoise(flux, noise, self._prepared.captions.of(places), self._spec.num_inference_steps)
            for (place, seed, _), image in zip(batch, images_of(self._autoencoder, latents), strict=True):
                self._write_sample(place, seed, image, marks, f"samples/{folder}")

    def _write_sample(self, place: int, seed: int, image_HWC: NDArray[np.uint8], marks: list[str], folder: str) -> None:
        pair = self._prepared.pairs[place]
        result = score(image_HWC, self._references[place])
        kept = save_image(self._folder, f"{folder}/{pair.id}.png", image_HWC) if seed == KEPT_SEED else None
        for mark in marks:
            self._log.write(Reconstruction, mark=mark, pair=pair.id, seed=seed, image=kept, **result._asdict())

    def _validation(self, flux: Flux, marks: list[str]) -> None:
        sigmas = flow.midpoints(self._spec.sigmas)
        draws = range(self._spec.noise_draws)
        held_out = self._prepared.of_split("held_out")
        items = [(place, step, draw) for place in held_out for step in range(len(sigmas)) for draw in draws]
        batches = self._share(items)
        for done, batch in enumerate(batches):
            self._log.write(Progress, done=done, total=len(batches), what=f"held-out images at {marks[0]}")
            self._validate(flux, batch, sigmas, marks)

    @torch.no_grad()
    def _validate(self, flux: Flux, batch: list[tuple[int, int, int]], sigmas: list[float], marks: list[str]) -> None:
        places = [place for place, _, _ in batch]
        latents = self._prepared.latents_NCHW[places]
        noise = torch.stack(
            [
                flow.noise_of(latents.shape[1:], "validation", self._prepared.pairs[place].pixels_sha256, step, draw)
                for place, step, draw in batch
            ]
        )
        sigma = flux.rounded_sigma(torch.tensor([sigmas[step] for _, step, _ in batch]))
        noisy = flow.add_noise(latents, noise, sigma)
        captions = self._prepared.captions.of(places)
        velocity = flux.velocity(flow.pack(noisy).to(flux.device), sigma.to(flux.device), captions, self._prepared.size)
        velocity = flow.unpack(velocity.float().cpu(), *self._prepared.size)
        losses = flow.velocity_loss(velocity, latents, noise).tolist()
        images = images_of(self._autoencoder, flow.denoised(noisy, velocity, sigma))
        for (place, step, draw), loss, image in zip(batch, losses, images, strict=True):
            result = score(image, self._references[place])
            facts = {"loss": loss, "psnr_db": result.psnr_db, "ssim": result.ssim}
            for mark in marks:
                self._log.write(
                    Validation, mark=mark, pair=self._prepared.pairs[place].id, sigma=sigmas[step], draw=draw, **facts
                )
