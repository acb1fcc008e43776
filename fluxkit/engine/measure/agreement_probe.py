"""The agreement certificate: a fixed small FLUX on this device, in this precision, against a float64 reference.

    python -m fluxkit.engine.measure.agreement_probe          # measures this machine, a line of JSON each precision
    python -m fluxkit.engine.measure.agreement_probe --write  # makes fluxkit/data/agreement.json again, in float64

Weights and inputs are drawn as integers, which are the same on every processor, and become halves and powers of two of
them, which bfloat16 holds exactly. So what is compared is how a device computes, not how it rounds its inputs.

The blocks are 512 wide and get 32 rows at a time, because cuBLAS computes smaller products in IEEE FP32 even where TF32
is on: it uses TF32 from 16 rows, 512 terms and 512 columns on (PyTorch pull 183355, seen on an H100).

B batch 2, C latent channels 4, H and W latent height and width 8, L tokens 16, D packed width 16.
"""

import argparse
import hashlib
import json
import math
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from diffusers import FluxTransformer2DModel
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from fluxkit.engine.flux import flow
from fluxkit.engine.flux.captions import Embeddings
from fluxkit.engine.flux.precision import dtype_of, fp32_products
from fluxkit.engine.flux.transformer import Flux, add_lora, silence_libraries
from fluxkit.engine.measure.sampling import denoise
from fluxkit.values import finite

REFERENCE_FILE = Path(str(resources.files("fluxkit"))) / "data" / "agreement.json"
CONFIG: dict[str, Any] = {
    "patch_size": 1,
    "in_channels": 16,
    "num_layers": 1,
    "num_single_layers": 1,
    "attention_head_dim": 128,
    "num_attention_heads": 4,
    "joint_attention_dim": 32,
    "pooled_projection_dim": 32,
    "guidance_embeds": False,
    "axes_dims_rope": [16, 56, 56],
}
SEED = 84
RANK, LEARNING_RATE, TUNING_STEPS = 8, 3e-3, 3
SIGMAS = (0.25, 0.5)
"""The model scales them by 1000 in its own dtype, and bfloat16 holds 250 and 500."""
LATENTS, TEXT, POOLED = (2, 4, 8, 8), (2, 16, 32), (2, 32)


@dataclass(frozen=True)
class ProbeOutput:
    """The numbers of the probe on one device in one precision."""

    velocity_BLD: Tensor
    """Of one forward pass, float64 on the CPU."""
    losses: list[float]
    """Before each of the tuning steps."""
    latents_BCHW: Tensor
    """Of four Euler steps after them, float64 on the CPU."""


class Float64(TorchDispatchMode):
    """Nothing is rounded to float32 inside: the model's own casts to it become casts to float64."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Calls the operator, with float64 wherever float32 is asked for."""
        del types
        widened = {key: torch.float64 if value is torch.float32 else value for key, value in (kwargs or {}).items()}
        return func(*args, **widened)


class _ProbeFlux(Flux):
    """Gives tokens the dtype of the weights, float64 too."""

    @property
    def dtype(self) -> torch.dtype:
        return self.transformer.dtype


def halves(shape: Sequence[int], *parts: str | int) -> Tensor:
    """Halves from -1.5 to 1.5, FP32, with variance 1."""
    generator = flow.cpu_generator("agreement", SEED, *parts)
    return torch.randint(-3, 4, tuple(shape), generator=generator).float() / 2


def weight(name: str, shape: Sequence[int]) -> Tensor:
    """A parameter, exact in bfloat16: matrices of about unit gain, gains about 1, small biases, adapters B of zero."""
    if "lora_B" in name:
        return torch.zeros(tuple(shape))
    drawn = halves(shape, name)
    if name.endswith("bias"):
        return drawn / 16
    return 1 + drawn / 16 if len(shape) == 1 else drawn * gain(shape[1])


def gain(inputs: int) -> float:
    """About 1/sqrt(inputs): a power of two, or three quarters of one."""
    wanted = inputs**-0.5
    power = 2.0 ** math.ceil(math.log2(wanted))
    return power if wanted > power * 7 / 8 else power * 3 / 4


def build_probe_transformer() -> FluxTransformer2DModel:
    """The small transformer with LoRA adapters, every parameter from `weight`, on the CPU in FP32."""
    # Adding adapters seeds the host's stream, which is a run's own; nobody draws on a device.
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        transformer = FluxTransformer2DModel.from_config(CONFIG).requires_grad_(requires_grad=False)
        add_lora(transformer, RANK, RANK, SEED)
    transformer.to_empty(device="cpu")
    with torch.no_grad():
        for name, parameter in transformer.named_parameters():
            parameter.copy_(weight(name, parameter.shape))
    return transformer


def parameters_sha256(transformer: FluxTransformer2DModel) -> str:
    """Hash over names and FP32 values of all parameters."""
    digest = hashlib.sha256()
    for name, parameter in sorted(transformer.named_parameters()):
        digest.update(name.encode() + parameter.detach().contiguous().numpy().tobytes())
    return digest.hexdigest()


def run_probe(
    transformer: FluxTransformer2DModel, device: torch.device, dtype: torch.dtype, *, autocast: bool = False
) -> ProbeOutput:
    """Forward pass, tuning steps and a four-step sample of the probe's transformer, which is changed by it."""
    clean_BCHW, noise_BCHW, start_BCHW = (halves(LATENTS, name) for name in ("latents", "noise", "start"))
    captions = Embeddings(halves(TEXT, "text"), halves(POOLED, "pooled"))
    for parameter in transformer.parameters():
        # Adapters stay FP32, as in a run, and become float64 with a float64 base.
        if dtype == torch.float64 or not parameter.requires_grad:
            parameter.data = parameter.data.to(dtype)
    with Float64() if dtype == torch.float64 else nullcontext():  # type: ignore[no-untyped-call]  # torch's constructor
        flux = _ProbeFlux(transformer, device, autocast=autocast)
        clean_BLD, noise_BLD = flow.pack(clean_BCHW.to(device)), flow.pack(noise_BCHW.to(device))
        sigma_B = torch.tensor(SIGMAS, device=device)
        noisy_BLD = flow.add_noise(clean_BLD, noise_BLD, sigma_B)
        with torch.no_grad():
            velocity_BLD = flux.velocity(noisy_BLD, sigma_B, captions, LATENTS[2:])
        optimizer = torch.optim.AdamW(flux.trainable().values(), lr=LEARNING_RATE, weight_decay=0.0, fused=True)
        losses = []
        for _ in range(TUNING_STEPS):
            tuned_BLD = flux.velocity(noisy_BLD, sigma_B, captions, LATENTS[2:])
            loss = flow.velocity_loss(tuned_BLD, clean_BLD, noise_BLD).mean()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            losses.append(loss.item())
        latents_BCHW = denoise(flux, start_BCHW, captions, 4)
    return ProbeOutput(velocity_BLD.cpu().double(), losses, latents_BCHW.double())


def certify(device: torch.device, precision: str, *, autocast: bool = False) -> dict[str, Any]:
    """How far `device` in `precision` lies from the reference, as facts of an `Agreement` event, in about a second.

    `precision` is `ieee_float32`, `tf32` or `bfloat16`, and FP32 products are IEEE afterwards. `autocast` reaches
    bfloat16 by autocast over FP32 weights, as in full tuning. A CPU's numbers are those of one thread.
    """
    began, reference = time.perf_counter(), read_reference()
    dtype = torch.float32 if autocast else dtype_of(precision)
    with _one_thread(), fp32_products("tf32" if precision == "tf32" else "ieee"):
        transformer = build_probe_transformer()
        equal = parameters_sha256(transformer) == reference["weights_sha256"]
        errors = distances(run_probe(transformer, device, dtype, autocast=autocast), reference)
    return {"precision": precision, "weights_equal": equal, **errors, "seconds": time.perf_counter() - began}


@contextmanager
def _one_thread() -> Iterator[None]:
    """Several give the same numbers, but on a busy machine they wait for each other at thousands of small operators."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def distances(output: ProbeOutput, reference: dict[str, Any]) -> dict[str, Any]:
    """Errors of the probe's output against the reference, each None where it is not a finite number."""
    velocity = torch.tensor(reference["velocity_BLD"], dtype=torch.float64)
    latents = torch.tensor(reference["latents_BCHW"], dtype=torch.float64)
    error = output.velocity_BLD.flatten() - velocity
    latents_error = (output.latents_BCHW.flatten() - latents).square().mean().sqrt()
    loss_errors = [abs(loss / exact - 1) for loss, exact in zip(output.losses, reference["losses"], strict=True)]
    return {
        "relative_l2": finite(error.norm() / velocity.norm()),
        "largest_error": finite(error.abs().max() / velocity.square().mean().sqrt()),
        "loss_errors": [finite(error) for error in loss_errors],
        "latents_psnr_db": finite(20 * torch.log10((latents.max() - latents.min()) / latents_error)),
    }


def read_reference() -> dict[str, Any]:
    """The stored float64 reference."""
    reference: dict[str, Any] = json.loads(REFERENCE_FILE.read_text("utf-8"))
    return reference


def make_reference() -> dict[str, Any]:
    """The reference, computed here in float64 on the CPU."""
    transformer = build_probe_transformer()
    sha256 = parameters_sha256(transformer)  # of the weights before the probe tunes them
    output = run_probe(transformer, torch.device("cpu"), torch.float64)
    return {
        "schema": "fluxkit.agreement/2",
        "seed": SEED,
        "config": CONFIG,
        "weights_sha256": sha256,
        "losses": output.losses,
        "velocity_BLD": output.velocity_BLD.flatten().tolist(),
        "latents_BCHW": output.latents_BCHW.flatten().tolist(),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line: measure, or write the reference."""
    parser = argparse.ArgumentParser(prog="python -m fluxkit.engine.measure.agreement_probe", description=__doc__)
    parser.add_argument("--write", action="store_true", help="write the reference anew")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    options = parser.parse_args(arguments)
    silence_libraries()
    if options.write:
        REFERENCE_FILE.write_text(json.dumps(make_reference(), indent=0) + "\n", "utf-8")
        return
    for precision in ("ieee_float32", "bfloat16") if options.device == "cpu" else ("ieee_float32", "tf32", "bfloat16"):
        sys.stdout.write(json.dumps(certify(torch.device(options.device), precision)) + "\n")


if __name__ == "__main__":
    main()
