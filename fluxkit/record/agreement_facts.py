"""Whether a device computes what the others compute: the bands of the agreement certificate, and who is inside."""

from typing import NamedTuple

from fluxkit.spec.execution import InferencePrecision
from fluxkit.values import Amount, Frozen, Number


class AgreementFacts(Frozen):
    """How far a device lies from the float64 reference in one precision."""

    precision: InferencePrecision
    weights_equal: bool
    """Whether the weights made here have the hash of the reference's."""
    relative_l2: Amount | None
    """Of one forward pass: L2 norm of the error / that of the reference; null where it is not finite."""
    largest_error: Amount | None
    """Of the same pass: largest absolute error / root mean square of the reference."""
    loss_errors: tuple[Amount | None, ...]
    """Relative error of the loss at each tuning step."""
    latents_psnr_db: Number | None
    """Of latents sampled in four steps after tuning; the peak is the reference's range."""
    seconds: Amount
    """What it took, outside of every phase."""


class Band(NamedTuple):
    """How far the certificate of a precision may lie from the float64 reference."""

    relative_l2: float
    """At most: L2 norm of the forward pass's error / that of the reference."""
    largest_error: float
    """At most: largest error of the forward pass / root mean square of the reference."""
    loss_error: float
    """At most: relative error of each tuning loss."""
    latents_psnr_db: float
    """At least: of the sampled latents, whose peak is the reference's range."""


# Each band is three to ten times what was seen, wide enough for sums in another order.
# FP32, CPU (AVX-512, AVX2 and neither; 1 and 2 threads alike): 2.1e-6, 1.0e-5, 2.5e-7 and 130 dB; much of it is the
# FP32 argument of the timestep's sine, which every device has. TF32 misses this band by 5 to 24 times.
# TF32, by arithmetic and not on a GPU: the operands of every product that cuBLAS computes in TF32 rounded to 10 bits of
# mantissa on the CPU gave 2.4e-4, 8.9e-4, 2e-5 and 92 dB.
# bfloat16, the same CPUs: 7.6e-3, 3.3e-2, 6e-4 and 41 dB.
# Results of before the reference was widened give about the same and are held to the same bands.
BANDS = {
    "ieee_float32": Band(relative_l2=1e-5, largest_error=4e-5, loss_error=2e-6, latents_psnr_db=115.0),
    "tf32": Band(relative_l2=2.5e-3, largest_error=1e-2, loss_error=5e-4, latents_psnr_db=70.0),
    "bfloat16": Band(relative_l2=3e-2, largest_error=1e-1, loss_error=5e-3, latents_psnr_db=32.0),
}


def departures_of(probe: AgreementFacts) -> list[str]:
    """What of a certificate is outside the band of its precision, as words with the number and the bound."""
    band = BANDS[probe.precision]
    words = [] if probe.weights_equal else ["weights of another hash"]
    for name, value, most in (
        ("relative L2 error", probe.relative_l2, band.relative_l2),
        ("largest error", probe.largest_error, band.largest_error),
        *(("loss error", error, band.loss_error) for error in probe.loss_errors),
    ):
        if value is None or value > most:
            words.append(f"{name} {_number(value)}, at most {most:g}")
    if probe.latents_psnr_db is None or probe.latents_psnr_db < band.latents_psnr_db:
        words.append(f"latents PSNR {_number(probe.latents_psnr_db)} dB, at least {band.latents_psnr_db:g} dB")
    return words


def _number(value: float | None) -> str:
    return "not a finite number" if value is None else f"{value:.3g}"
