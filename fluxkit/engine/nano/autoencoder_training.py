"""The autoencoder of `nano`: 64 px pictures to 16x16x16 latents and back, trained by the recipe.

B batch, C channels, H and W height and width. Pictures are FP32 in [-1, 1]. The encoder or the decoder is a "half".
"""

from collections.abc import Callable
from typing import Any

import torch
from diffusers import AutoencoderKL
from torch import Tensor

from fluxkit.dataset.photos import photos
from fluxkit.engine.nano.descent import descend
from fluxkit.engine.nano.pictures import RESOLUTION, autoencoder_pictures

Pass = Callable[[Any, Tensor, Callable[[Tensor], Tensor]], tuple[Tensor, Tensor]]

LATENT_CHANNELS = 16
AUTOENCODER_BATCH_SIZE = 8
UNVARIED, INVERTED = 0.6, 0.25
"""Shares of the training pictures that keep their colours, and, of the others, that are inverted."""
LATENT_NOISE = 0.15
"""Largest standard deviation of the noise that training adds to unit-variance latents.

It makes the decoder forgive what a flow model gets slightly wrong, and puts what matters most to the eye into
the largest latents.
"""
CONSTANT = 40.0
"""Size of the constant channels, in units of the data beside them; see `_straighten`."""


def build_autoencoder() -> AutoencoderKL:
    """An untrained AutoencoderKL laid out like FLUX's, in miniature; its weights follow torch's seed."""
    model = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3, up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(24, 32, 64), layers_per_block=1, latent_channels=LATENT_CHANNELS, norm_num_groups=1,
        sample_size=64, use_quant_conv=False, use_post_quant_conv=False, mid_block_add_attention=False,
        force_upcast=False, shift_factor=0.0,
    )  # fmt: skip
    for convolution in _convolutions(model.encoder) + _convolutions(model.decoder):
        torch.nn.init.orthogonal_(convolution.weight)
        torch.nn.init.zeros_(convolution.bias)
    for name, weight in model.named_parameters():
        if name.endswith(("conv2.weight", "conv2.bias")):
            torch.nn.init.zeros_(weight)
    return model


def _skeleton(half: Any) -> list[Any]:
    """The layers that lead to the last norm of a half without its residual branches, norms and SiLUs."""
    layers = [half.conv_in]
    for block in half.down_blocks if hasattr(half, "down_blocks") else half.up_blocks:
        layers += [resnet.conv_shortcut for resnet in block.resnets if resnet.conv_shortcut is not None]
        layers += getattr(block, "downsamplers", None) or getattr(block, "upsamplers", None) or []
    return layers


def _convolutions(half: Any) -> list[Any]:
    """The convolutions of the skeleton and the last one; a down- or upsampler holds its own."""
    return [*(getattr(layer, "conv", layer) for layer in _skeleton(half)), half.conv_out]


def _before_last_norm(half: Any, values_BCHW: Tensor) -> Tensor:
    """What reaches the last norm of a half when every residual branch is zero."""
    for layer in _skeleton(half):
        values_BCHW = layer(values_BCHW)
    return values_BCHW


def _paired(half: Any) -> int:
    """How many channels before the last norm can have a twin, beside the two constants."""
    return int(half.conv_norm_out.num_channels - 2) // 2


def _linear_map(half: Any, values_BCHW: Tensor) -> Tensor:
    """A half as a linear map of the channels that `_straighten` can give a twin."""
    values_BCHW, paired = _before_last_norm(half, values_BCHW), _paired(half)
    return half.conv_out(torch.cat([values_BCHW[:, :paired], torch.zeros_like(values_BCHW[:, paired:])], 1))


def linear_pass(model: Any, pictures_BCHW: Tensor, disturb: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """Latents and decoded pictures of the linear skeleton; `disturb` adds noise to the latents in between."""
    latents_BCHW = _linear_map(model.encoder, pictures_BCHW)[:, :LATENT_CHANNELS]
    return latents_BCHW, _linear_map(model.decoder, disturb(latents_BCHW))


def full_pass(model: Any, pictures_BCHW: Tensor, disturb: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """The same through the whole autoencoder."""
    latents_BCHW = model.encode(pictures_BCHW).latent_dist.mean
    return latents_BCHW, model.decode(disturb(latents_BCHW)).sample


@torch.no_grad()
def _straighten(half: Any, values_BCHW: Tensor) -> None:
    """Sets the last norm and SiLU of a half so that the whole computes what its linear skeleton does.

    SiLU(x) - SiLU(-x) = x exactly, so every channel of the skeleton gets a negative twin. The group norm would
    wipe out brightness and contrast. But the twins leave its mean nothing to take away, and two large constant
    channels make its divisor nearly constant.
    """
    paired, channels = _paired(half), half.conv_norm_out.num_channels
    values_BCHW = _before_last_norm(half, values_BCHW)[:, :paired]
    deviation = values_BCHW.std().item()
    source = [layer for layer in _convolutions(half)[:-1] if layer.weight.shape[0] == channels][-1]
    for weight in (source.weight, source.bias):
        weight[paired:] = 0.0
        weight[paired : 2 * paired] = -weight[:paired]
    last = half.mid_block.resnets[-1] if hasattr(half, "down_blocks") else half.up_blocks[-1].resnets[-1]
    constant = CONSTANT * deviation
    last.conv2.bias[-2], last.conv2.bias[-1] = constant, -constant
    mean_square = (2 * paired * values_BCHW.square().mean().item() + 2 * constant**2) / channels
    half.conv_norm_out.weight.fill_(mean_square**0.5 / deviation)
    half.conv_norm_out.bias.zero_()
    half.conv_out.weight.mul_(deviation)
    half.conv_out.weight[:, paired:] = 0.0
    half.conv_out.weight[:, paired : 2 * paired] = -half.conv_out.weight[:, :paired]


def _varied(pictures_BCHW: Tensor, generator: torch.Generator) -> Tensor:
    """The pictures with their colours exchanged, weakened, inverted and shifted at random, still in [-1, 1].

    Five of the nine tuning photos are grey; without this the autoencoder would know few colours.
    """
    count = len(pictures_BCHW)
    order_BC = torch.rand(count, 3, generator=generator).argsort(1)
    exchanged_BCHW = pictures_BCHW.gather(1, order_BC[:, :, None, None].expand_as(pictures_BCHW))
    # A grey picture becomes a tinted one: each channel gets its own contrast and brightness.
    strength = torch.rand(count, 1, 1, 1, generator=generator) * 0.6
    gain = 1 - strength * torch.rand(count, 3, 1, 1, generator=generator)
    shift = (1 - gain.abs()) * (2 * torch.rand(count, 3, 1, 1, generator=generator) - 1)
    sign = torch.where(torch.rand(count, 1, 1, 1, generator=generator) < INVERTED, -1.0, 1.0)
    keep = torch.rand(count, 1, 1, 1, generator=generator) < UNVARIED
    return torch.where(keep, pictures_BCHW, (exchanged_BCHW * gain + shift) * sign)


def power_law_noise(count: int, size: int, generator: torch.Generator) -> Tensor:
    """Coloured noise (B, 3, size, size) in [-1, 1] with amplitude 1/f^a, a in [0.7, 1.8], as natural images have."""
    frequency = torch.hypot(torch.fft.fftfreq(size)[:, None], torch.fft.rfftfreq(size)[None, :])
    frequency[0, 0] = 1 / size
    exponent = 0.7 + 1.1 * torch.rand(count, 1, 1, 1, generator=generator)
    white = torch.fft.rfft2(torch.randn(count, 3, size, size, generator=generator))
    noise_BCHW = torch.fft.irfft2(white * frequency ** (-exponent), s=(size, size))
    noise_BCHW = noise_BCHW - noise_BCHW.mean((2, 3), keepdim=True)
    noise_BCHW = noise_BCHW / noise_BCHW.std((1, 2, 3), keepdim=True)
    grey = torch.rand(count, 1, 1, 1, generator=generator)
    noise_BCHW = grey * noise_BCHW.mean(1, keepdim=True) + (1 - grey) * noise_BCHW
    level = 0.2 + 0.4 * torch.rand(count, 1, 1, 1, generator=generator)
    offset = torch.rand(count, 3, 1, 1, generator=generator) - 0.5
    return (noise_BCHW * level + offset).clamp(-1, 1)


def train_autoencoder(linear_iterations: int, iterations: int, seed: int) -> AutoencoderKL:
    """An autoencoder trained on crops of the tuning photos and on coloured noise, frozen.

    First its linear skeleton, which is fast, then all of it, each for so many optimiser steps.
    """
    generator = torch.Generator().manual_seed(seed)
    crops_BCHW = autoencoder_pictures(photos("tuning"), per_photo=200, generator=generator)
    pictures_BCHW = torch.cat([crops_BCHW, power_law_noise(200, RESOLUTION, generator)])
    torch.manual_seed(seed)
    model = build_autoencoder()
    generator.manual_seed(seed)

    def train(forward: Pass, steps: int, peak: float) -> None:
        def loss_of_batch() -> Tensor:
            chosen = torch.randint(len(pictures_BCHW), (AUTOENCODER_BATCH_SIZE,), generator=generator)
            return _reconstruction_loss(model, _varied(pictures_BCHW[chosen], generator), forward, generator)

        descend(model, loss_of_batch, name=f"autoencoder, {forward.__name__}", steps=steps, peak=peak, warm_up=50)

    train(linear_pass, linear_iterations, 6e-3)
    sample_BCHW = pictures_BCHW[:: max(1, len(pictures_BCHW) // 128)]
    with torch.no_grad():
        latents_BCHW, _ = linear_pass(model, sample_BCHW, lambda clean: clean)
    _straighten(model.encoder, sample_BCHW)
    _straighten(model.decoder, latents_BCHW)
    train(full_pass, iterations, 5e-4)
    _calibrate(model, pictures_BCHW)
    return model.eval().requires_grad_(requires_grad=False)


def _reconstruction_loss(model: Any, pictures_BCHW: Tensor, forward: Pass, generator: torch.Generator) -> Tensor:
    """Mean over pictures of ln MSE, decoded from noisy latents: its minimum is the best mean PSNR."""
    amount = LATENT_NOISE * torch.rand(len(pictures_BCHW), 1, 1, 1, generator=generator)

    def disturb(latents_BCHW: Tensor) -> Tensor:
        noise_BCHW = torch.randn(latents_BCHW.shape, generator=generator)
        return latents_BCHW + amount * latents_BCHW.std() * noise_BCHW

    latents_BCHW, decoded_BCHW = forward(model, pictures_BCHW, disturb)
    error_B = (decoded_BCHW - pictures_BCHW).square().mean((1, 2, 3))
    # The scale of the latents is free (the noise follows it), so a weak pull keeps it near one.
    scale, centre = latents_BCHW.std().log().square(), latents_BCHW.mean().square()
    return (error_B + 1e-4).log().mean() + 1e-2 * scale + 1e-2 * centre


@torch.no_grad()
def _calibrate(model: Any, pictures_BCHW: Tensor) -> None:
    """Sets shift and scale so that (z - shift) x scale has mean 0 and variance 1 over `pictures_BCHW`."""
    latents_BCHW = torch.cat([model.encode(part_BCHW).latent_dist.mean for part_BCHW in pictures_BCHW.split(64)])
    # Five digits: enough for latents, and stable text in config.json.
    model.register_to_config(
        shift_factor=round(latents_BCHW.mean().item(), 5), scaling_factor=round(1 / latents_BCHW.std().item(), 5)
    )
    # Training never used the posterior's variance: a sample of it is the mean, to the last bit that matters.
    convolution = model.encoder.conv_out
    convolution.weight[LATENT_CHANNELS:] = 0.0
    convolution.bias[LATENT_CHANNELS:] = -30.0
