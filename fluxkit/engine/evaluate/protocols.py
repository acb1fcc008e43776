"""Both quality protocols at one state of the model, and the anchors that need no model.

`reconstruction`: samples for the captions of tuned pairs against their real images: how well the tuning set was
learnt. `validation`: held-out images noised to fixed sigmas with fixed noise: velocity loss and one-step estimate.
All noise comes from the content hash of the image, never from the run's seed or a place in a batch.

N images of the data, B batch, C latent channels, H and W height and width, L tokens, D packed width.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from fluxkit.engine.data.prepare import Prepared
from fluxkit.engine.evaluate.graded import GradedBefore, Key
from fluxkit.engine.evaluate.psnr_ssim import DIVERGED, flat_colour, score
from fluxkit.engine.flux import flow
from fluxkit.engine.flux.autoencoder import Autoencoder
from fluxkit.engine.flux.transformer import Flux
from fluxkit.engine.measure.sampling import denoise, images_of
from fluxkit.engine.process.event_log import EventLog
from fluxkit.errors import RunError
from fluxkit.files.atomic_file import written_whole
from fluxkit.machine.stop_requests import check_stop
from fluxkit.plan.plan import Job
from fluxkit.record.events import Anchor, Progress, Reconstruction, Validation
from fluxkit.values import finite

Item = tuple[int, ...]
"""One image to make: the place of its pair, then a seed, or a step of the sigmas and a draw of the noise."""
KEPT_SEED = 0
"""The sample of this seed is kept as an image, for the report."""


def save_image(folder: Path, relative: str, image_HWC: NDArray[np.uint8]) -> str:
    """Writes a lossless PNG below the run folder and gives back its relative path."""
    with written_whole(folder / relative, below=folder) as temporary:
        Image.fromarray(image_HWC).save(temporary, format="PNG", optimize=True)
    return relative


class Evaluator:
    """Grades states of a model by what does not change between them: data, noise and sigmas."""

    def __init__(self, job: Job, prepared: Prepared, autoencoder: Autoencoder, folder: Path, log: EventLog) -> None:
        self._spec, self._plan = job.spec.evaluate, job.plan
        self._prepared, self._autoencoder = prepared, autoencoder
        self._folder, self._log = folder, log
        self._references = [np.asarray(pair.image) for pair in prepared.pairs]
        self._before = GradedBefore(folder, job, log.rank)

    def _samples(self) -> list[Item]:
        """Pair and seed of every sample."""
        seeds = range(self._spec.num_images_per_prompt)
        return [(place, seed) for place in self._prepared.of_split("tuning") for seed in seeds]

    def _estimates(self) -> list[Item]:
        """Pair, step of the sigmas and draw of every one-step estimate."""
        steps, draws = range(self._spec.sigmas), range(self._spec.noise_draws)
        held_out = self._prepared.of_split("held_out")
        return [(place, step, draw) for place in held_out for step in steps for draw in draws]

    def has_graded(self, marks: Sequence[str]) -> bool:
        """Whether an earlier attempt has graded this rank's part of the work under each of `marks`."""
        return not any(self._left(items, marks) for items in (self._samples(), self._estimates()))

    def _left(self, items: Sequence[Item], marks: Sequence[str]) -> list[Sequence[Item]]:
        """The micro-batches of this rank's part that no earlier attempt has graded whole.

        Always cut alike, so that every picture is made beside the same others and comes out the same to the last bit.
        """
        own, size = items[self._log.rank :: self._plan.processes], self._plan.inference_micro_batch_size
        batches = [own[first : first + size] for first in range(0, len(own), size)]
        return [
            batch
            for batch in batches
            if not all(self._before.has_score(self._key(mark, item)) for item in batch for mark in marks)
        ]

    def _key(self, mark: str, item: Item) -> Key:
        place, first, *draw = item
        number = flow.midpoints(self._spec.sigmas)[first] if draw else first
        return (mark, self._prepared.pairs[place].id, number, *draw)

    def _micro_batches(self, items: Sequence[Item], marks: Sequence[str], what: str) -> Iterator[Sequence[Item]]:
        """What is left of this rank's part, with its progress in the log; between two it may stop."""
        left = self._left(items, marks)
        for done, batch in enumerate(left):
            check_stop()
            self._log.write(Progress, done=done, total=len(left), what=what)
            yield batch

    def anchors(self) -> None:
        """Scores of the autoencoder's round trip and of the flat mean colour for every pair that is scored."""
        scored = [*self._prepared.of_split("tuning"), *self._prepared.of_split("held_out")]
        for place in scored[self._log.rank :: self._plan.processes]:
            pair, reference = self._prepared.pairs[place], self._references[place]
            if self._before.has_anchors(pair.id):
                continue
            check_stop()
            decoded = images_of(self._autoencoder, self._prepared.latents_NCHW[place : place + 1])[0]
            if decoded is None:
                raise RunError(f"The autoencoder gave values that are not finite for the picture {pair.id}.")
            image = save_image(self._folder, f"samples/autoencoder/{pair.id}.png", decoded)
            kept, flat = score(decoded, reference), score(flat_colour(reference), reference)
            self._log.write(Anchor, anchor="autoencoder_reconstruction", pair=pair.id, image=image, **kept._asdict())
            self._log.write(Anchor, anchor="flat_colour", pair=pair.id, **flat._asdict())

    def grade(self, flux: Flux, iteration: int, marks: list[str]) -> None:
        """Writes the scores of the model's state after `iteration` steps under each of `marks`."""
        flux.transformer.eval()
        for batch in self._micro_batches(self._samples(), marks, f"samples at {marks[0]}"):
            self._reconstruct(flux, batch, f"samples/iteration-{iteration}", marks)
        for batch in self._micro_batches(self._estimates(), marks, f"held-out images at {marks[0]}"):
            self._validate(flux, batch, marks)

    def _noise(self, protocol: str, batch: Sequence[Item]) -> Tensor:
        """Noise (B, C, H, W) of these items, each from the picture's hash and its own numbers."""
        shape, pairs = self._prepared.latents_NCHW.shape[1:], self._prepared.pairs
        return torch.stack(
            [flow.noise_of(shape, protocol, pairs[place].pixels_sha256, *numbers) for place, *numbers in batch]
        )

    def _reconstruct(self, flux: Flux, batch: Sequence[Item], folder: str, marks: list[str]) -> None:
        captions = self._prepared.captions.of([place for place, _ in batch])
        noise_BCHW = self._noise("reconstruction", batch)
        latents_BCHW = denoise(flux, noise_BCHW, captions, self._spec.num_inference_steps)
        for (place, seed), image_HWC in zip(batch, images_of(self._autoencoder, latents_BCHW), strict=True):
            pair = self._prepared.pairs[place]
            facts, kept = DIVERGED._asdict(), None
            if image_HWC is not None:
                facts = score(image_HWC, self._references[place])._asdict()
                kept = save_image(self._folder, f"{folder}/{pair.id}.png", image_HWC) if seed == KEPT_SEED else None
            for mark in marks:
                self._log.write(Reconstruction, mark=mark, pair=pair.id, seed=seed, image=kept, **facts)

    @torch.no_grad()
    def _validate(self, flux: Flux, batch: Sequence[Item], marks: list[str]) -> None:
        places = [place for place, _, _ in batch]
        captions, size = self._prepared.captions.of(places), self._prepared.size
        sigmas = [flow.midpoints(self._spec.sigmas)[step] for _, step, _ in batch]
        sigma_B = flux.rounded_sigma(torch.tensor(sigmas))
        latents_BCHW, noise_BCHW = self._prepared.latents_NCHW[places], self._noise("validation", batch)
        noisy_BCHW = flow.add_noise(latents_BCHW, noise_BCHW, sigma_B)
        noisy_BLD = flow.pack(noisy_BCHW).to(flux.device)
        velocity_BLD = flux.velocity(noisy_BLD, sigma_B.to(flux.device), captions, size)
        velocity_BCHW = flow.unpack(velocity_BLD.float().cpu(), *size)
        losses = flow.velocity_loss(velocity_BCHW, latents_BCHW, noise_BCHW).tolist()
        images = images_of(self._autoencoder, flow.denoised(noisy_BCHW, velocity_BCHW, sigma_B))
        for (place, _, draw), sigma, loss, image_HWC in zip(batch, sigmas, losses, images, strict=True):
            result = DIVERGED if image_HWC is None else score(image_HWC, self._references[place])
            facts = {"sigma": sigma, "draw": draw, "loss": finite(loss), "psnr_db": result.psnr_db, "ssim": result.ssim}
            for mark in marks:
                self._log.write(Validation, mark=mark, pair=self._prepared.pairs[place].id, **facts)
