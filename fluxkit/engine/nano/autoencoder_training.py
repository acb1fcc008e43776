"""The autoencoder of `nano`: 64 px pictures to 16x16x16 latents and back, trained by the recipe.

B batch, C channels, H and W height and width. Pictures are FP32 in [-1, 1].
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from diffusers import AutoencoderKL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor

    Pass = Callable[[Any, Tensor, Callable[[Tensor], Tensor]], tuple[Tensor, Tensor]]

LATENT_CHANNELS = 16
FACTOR = 4
"""Pixels per latent, in each direction."""

BATCH_SIZE = 8

UNVARIED, INVERTED = 0.6, 0.25
"""Shares of the training pictures that keep their colours, and, of the others, that are inverted."""

NOISE = 0.15
"""Largest standard deviation of the noise that training adds to unit-variance latents.

It makes the decoder forgive what a flow model gets slightly wrong, and puts what matters most to the eye into
the largest latents.
"""


CONSTANT = 40.0
"""Size of the constant channels, in units of the data beside them; see `_straighten`."""


def build(channels: tuple[int, int, int] = (24, 32, 64)) -> Any:
    """An untrained AutoencoderKL laid out like FLUX's, in miniature; its weights follow torch's seed."""
    model = AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=channels,
        layers_per_block=1,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=1,
        sample_size=64,
        use_quant_conv=False,
        use_post_quant_conv=False,
        mid_block_add_attention=False,
        force_upcast=False,
        shift_factor=0.0,
    )
    for layer in _skeleton(model.encoder.down_blocks, model.encoder) + _skeleton(
        model.decoder.up_blocks, model.decoder
    ):
        torch.nn.init.orthogonal_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    for name, weight in model.named_parameters():
        if name.endswith(("conv2.weight", "conv2.bias")):
            torch.nn.init.zeros_(weight)
    return model


def _samplers(block: Any) -> list[Any]:
    """The down- or upsampler of a block: one or none."""
    return list(getattr(block, "downsamplers", None) or getattr(block, "upsamplers", None) or [])


def _skeleton(blocks: Any, half: Any) -> list[Any]:
    """The convolutions that remain of an encoder or decoder without its residual branches, norms and SiLUs."""
    layers = [half.conv_in]
    for block in blocks:
        layers += [resnet.conv_shortcut for resnet in block.resnets if resnet.conv_shortcut is not None]
        layers += [sampler.conv for sampler in _samplers(block)]
    return [*layers, half.conv_out]


def _stream(blocks: Any, half: Any, values: Tensor) -> Tensor:
    """What reaches the last norm of `half` when every residual branch is zero."""
    values = half.conv_in(values)
    for block in blocks:
        for resnet in block.resnets:
            values = values if resnet.conv_shortcut is None else resnet.conv_shortcut(values)
        for sampler in _samplers(block):
            values = sampler(values)
    return values


def _linear(blocks: Any, half: Any, values: Tensor) -> Tensor:
    """`half` as a linear map of the channels that `_straighten` can give a twin."""
    stream, paired = _stream(blocks, half, values), _paired(half)
    return half.conv_out(torch.cat([stream[:, :paired], torch.zeros_like(stream[:, paired:])], 1))


def _paired(half: Any) -> int:
    """How many channels before the last norm of `half` can have a twin, beside the two constants."""
    return int(half.conv_norm_out.num_channels - 2) // 2


def linear_pass(model: Any, pictures_BCHW: Tensor, disturb: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """Latents and decoded pictures of the linear skeleton; `disturb` adds noise to the latents in between."""
    moments = _linear(model.encoder.down_blocks, model.encoder, pictures_BCHW)
    latents = moments[:, :LATENT_CHANNELS]
    return latents, _linear(model.decoder.up_blocks, model.decoder, disturb(latents))


def full_pass(model: Any, pictures_BCHW: Tensor, disturb: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """The same through the whole autoencoder."""
    latents = model.encode(pictures_BCHW).latent_dist.mean
    return latents, model.decode(disturb(latents)).sample


@torch.no_grad()
def _straighten(blocks: Any, half: Any, values: Tensor) -> None:
    """Sets the last norm and SiLU of `half` so that the whole computes what its linear skeleton does.

    SiLU(x) - SiLU(-x) = x exactly, so every channel of the skeleton gets a negative twin. The group norm would
    wipe out brightness and contrast; but the twins leave its mean nothing to take away, and two large constant
    channels make its divisor nearly constant.
    """
    paired = _paired(half)
    stream = _stream(blocks, half, values)[:, :paired]
    spread, channels = stream.std().item(), half.conv_norm_out.num_channels
    source = [layer for layer in _skeleton(blocks, half)[:-1] if layer.weight.shape[0] == channels][-1]
    for weight in (source.weight, source.bias):
        weight[paired:] = 0.0
        weight[paired : 2 * paired] = -weight[:paired]
    last = half.mid_block.resnets[-1] if hasattr(half, "down_blocks") else half.up_blocks[-1].resnets[-1]
    constant = CONSTANT * spread
    last.conv2.bias[-2], last.conv2.bias[-1] = constant, -constant
    mean_square = (2 * paired * stream.square().mean().item() + 2 * constant**2) / channels
    half.conv_norm_out.weight.fill_(mean_square**0.5 / spread)
    half.conv_norm_out.bias.zero_()
    half.conv_out.weight.mul_(spread)
    half.conv_out.weight[:, paired:] = 0.0
    half.conv_out.weight[:, paired : 2 * paired] = -half.conv_out.weight[:, :paired]


def varied(pictures_BCHW: Tensor, generator: torch.Generator) -> Tensor:
    """The pictures with their colours exchanged, weakened, inverted and shifted at random, still in [-1, 1].

    Five of the nine tuning photos are grey; without this the autoencoder would know few colours.
    """
    count = len(pictures_BCHW)
    order_BC = torch.rand(count, 3, generator=generator).argsort(1)
    pictures = pictures_BCHW.gather(1, order_BC[:, :, None, None].expand_as(pictures_BCHW))
    # A grey picture becomes a tinted one: each channel gets its own contrast and brightness.
    strength = torch.rand(count, 1, 1, 1, generator=generator) * 0.6
    gain = 1 - strength * torch.rand(count, 3, 1, 1, generator=generator)
    shift = (1 - gain.abs()) * (2 * torch.rand(count, 3, 1, 1, generator=generator) - 1)
    sign = torch.where(torch.rand(count, 1, 1, 1, generator=generator) < INVERTED, -1.0, 1.0)
    changed = (pictures * gain + shift) * sign
    keep = torch.rand(count, 1, 1, 1, generator=generator) < UNVARIED
    return torch.where(keep, pictures_BCHW, changed)


def power_law_noise(count: int, size: int, generator: torch.Generator) -> Tensor:
    """Coloured noise (B, 3, size, size) in [-1, 1] with amplitude 1/f^a, a in [0.7, 1.8], as natural images have."""
    frequency = torch.hypot(torch.fft.fftfreq(size)[:, None], torch.fft.rfftfreq(size)[None, :])
    frequency[0, 0] = 1 / size
    exponent = 0.7 + 1.1 * torch.rand(count, 1, 1, 1, generator=generator)
    white = torch.fft.rfft2(torch.randn(count, 3, size, size, generator=generator))
    noise = torch.fft.irfft2(white * frequency ** (-exponent), s=(size, size))
    noise = noise - noise.mean((2, 3), keepdim=True)
    noise = noise / noise.std((1, 2, 3), keepdim=True)
    mix = torch.rand(count, 1, 1, 1, generator=generator)
    noise = mix * noise.mean(1, keepdim=True) + (1 - mix) * noise
    level = 0.2 + 0.4 * torch.rand(count, 1, 1, 1, generator=generator)
    offset = torch.rand(count, 3, 1, 1, generator=generator) - 0.5
    return (noise * level + offset).clamp(-1, 1)


def train(
    model: Any,
    pictures_BCHW: Tensor,
    *,
    linear_iterations: int,
    iterations: int,
    seed: int = 0,
    progress: Callable[[str], None] = print,
) -> None:
    """Trains `model` in place: its linear skeleton first, which is fast, then all of it; then sets shift and scale.

    Args:
        model: from `build`.
        pictures_BCHW: FP32 in [-1, 1].
        linear_iterations: optimiser steps of the skeleton.
        iterations: optimiser steps of the whole autoencoder.
        seed: of order, colours and noise.
        progress: told a line now and then.
    """
    generator = torch.Generator().manual_seed(seed)
    for line in _descend(model, pictures_BCHW, linear_pass, generator, steps=linear_iterations, peak=6e-3):
        progress(line)
    sample = pictures_BCHW[:: max(1, len(pictures_BCHW) // 128)]
    with torch.no_grad():
        latents, _ = linear_pass(model, sample, lambda clean: clean)
    _straighten(model.encoder.down_blocks, model.encoder, sample)
    _straighten(model.decoder.up_blocks, model.decoder, latents)
    for line in _descend(model, pictures_BCHW, full_pass, generator, steps=iterations, peak=5e-4):
        progress(line)
    calibrate(model, pictures_BCHW)


def _descend(
    model: Any, pictures_BCHW: Tensor, forward: Pass, generator: torch.Generator, *, steps: int, peak: float
) -> Iterator[str]:
    """AdamW on `reconstruction_loss`, the learning rate a cosine from `peak`; a line of progress now and then."""
    weights = list(model.parameters())
    optimizer = torch.optim.AdamW(weights, lr=peak, betas=(0.9, 0.99), weight_decay=0.0, fused=True)
    for step in range(steps):
        decay = 0.5 + 0.5 * math.cos(math.pi * step / steps)
        optimizer.param_groups[0]["lr"] = peak * min(1.0, (step + 1) / 50) * (0.01 + 0.99 * decay)
        chosen = torch.randint(len(pictures_BCHW), (BATCH_SIZE,), generator=generator)
        loss = reconstruction_loss(model, varied(pictures_BCHW[chosen], generator), forward, generator)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if step % 100 == 0 or step == steps - 1:
            yield f"autoencoder, {forward.__name__} {step + 1}/{steps}: loss {loss.item():.3f}"


def reconstruction_loss(model: Any, pictures_BCHW: Tensor, forward: Pass, generator: torch.Generator) -> Tensor:
    """Mean over pictures of ln MSE, decoded from noisy latents: its minimum is the best mean PSNR."""
    amount = NOISE * torch.rand(len(pictures_BCHW), 1, 1, 1, generator=generator)

    def disturb(latents: Tensor) -> Tensor:
        noise = torch.randn(latents.shape, generator=generator)
        return latents + amount * latents.std() * noise

    latents, decoded = forward(model, pictures_BCHW, disturb)
    error = (decoded - pictures_BCHW).square().mean((1, 2, 3))
    # The scale of the latents is free (the noise follows it), so a weak pull keeps it near one.
    return (error + 1e-4).log().mean() + 1e-2 * latents.std().log().square() + 1e-2 * latents.mean().square()


@torch.no_grad()
def calibrate(model: Any, pictures_BCHW: Tensor) -> None:
    """Sets shift and scale so that (z - shift) x scale has mean 0 and variance 1 over `pictures_BCHW`."""
    latents = torch.cat([model.encode(part).latent_dist.mean for part in pictures_BCHW.split(64)])
    # Five digits: enough for latents, and stable text in config.json.
    model.register_to_config(
        shift_factor=round(latents.mean().item(), 5), scaling_factor=round(1 / latents.std().item(), 5)
    )
    # Training never used the posterior's variance: a sample of it is the mean, to the last bit that matters.
    convolution = model.encoder.conv_out
    convolution.weight[LATENT_CHANNELS:] = 0.0
    convolution.bias[LATENT_CHANNELS:] = -30.0


@torch.no_grad()
def encode(model: Any, pictures_BCHW: Tensor) -> Tensor:
    """Latents (B, 16, H/4, W/4) with about zero mean and unit variance: the posterior's mean, shifted and scaled."""
    latents: Tensor = model.encode(pictures_BCHW).latent_dist.mode()
    return (latents - model.config.shift_factor) * model.config.scaling_factor


@torch.no_grad()
def decode(model: Any, latents_BCHW: Tensor) -> Tensor:
    """The inverse of `encode`: pictures, about [-1, 1]."""
    latents = latents_BCHW / model.config.scaling_factor + model.config.shift_factor
    pictures: Tensor = model.decode(latents).sample
    return pictures
