"""How quality is measured, as constants that every result carries: results compare only if these are equal."""

from fluxkit.spec.run_spec import RunSpec

# Source: Wang et al., "Image quality assessment: from error visibility to structural similarity" (2004), which
# scikit-image follows with these arguments of `structural_similarity`.
METRICS: dict[str, str | int | float | bool] = {
    "implementation": "scikit-image",
    "psnr_data_range": 255,
    "ssim_window": "gaussian 11x11 sigma 1.5",
    "ssim_k1": 0.01,
    "ssim_k2": 0.03,
    "ssim_covariance": "population",
    "ssim_border": "valid region",
    "channels": "mean of RGB",
    "dtype": "uint8",
    "resample": "PIL LANCZOS, centre crop",
    "identical_images": "left out of the mean, counted",
    "mean": "of per-image values",
}


def quality_definition(spec: RunSpec) -> dict[str, str | int | float | bool]:
    """The metrics' constants and the spec's evaluation settings, flat."""
    return {
        **METRICS,
        "resolution": spec.data.resolution,
        "num_inference_steps": spec.evaluate.num_inference_steps,
        "num_images_per_prompt": spec.evaluate.num_images_per_prompt,
        "max_sequence_length": spec.evaluate.max_sequence_length,
        "sigmas": spec.evaluate.sigmas,
        "noise_draws": spec.evaluate.noise_draws,
        "ema_decay": spec.tune.ema_decay,
    }
