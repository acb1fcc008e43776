"""The autoencoder of a FLUX pipeline: images in [-1, 1] to scaled latents and back, in FP32.

B batch, C latent channels, H and W height and width.
"""

import torch
from diffusers import AutoencoderKL
from torch import Tensor

from fluxkit.engine.process.error_message import reading
from fluxkit.model.pipeline_files import pipeline_folder
from fluxkit.spec.workload import ModelSpec


class Autoencoder:
    """Scales latents as the pipeline does, so that they have about zero mean and unit variance."""

    def __init__(self, vae: AutoencoderKL, device: torch.device) -> None:
        self.device = device
        self._vae = vae.to(device).eval().requires_grad_(requires_grad=False)

    @torch.no_grad()
    def encode(self, images_BCHW: Tensor) -> Tensor:
        """Scaled latents (B, C, H/f, W/f) on the CPU: the posterior's mode, so that nothing is drawn here."""
        config = self._vae.config
        latents_BCHW = self._vae.encode(images_BCHW.to(self.device)).latent_dist.mode()
        return ((latents_BCHW - (config.shift_factor or 0.0)) * config.scaling_factor).cpu()

    @torch.no_grad()
    def decode(self, latents_BCHW: Tensor) -> Tensor:
        """Images (B, 3, H, W), nominally in [-1, 1], on the CPU."""
        config = self._vae.config
        unscaled_BCHW = latents_BCHW.to(self.device) / config.scaling_factor + (config.shift_factor or 0.0)
        return self._vae.decode(unscaled_BCHW, return_dict=False)[0].cpu()


def load_autoencoder(spec: ModelSpec, device: torch.device) -> Autoencoder:
    """The autoencoder of the pipeline that the spec names."""
    folder = pipeline_folder(spec)
    with reading(folder / "vae"):
        vae = AutoencoderKL.from_pretrained(
            folder, subfolder="vae", dtype=torch.float32, use_safetensors=True, local_files_only=True
        )
    return Autoencoder(vae, device)
