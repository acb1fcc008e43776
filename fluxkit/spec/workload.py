"""What is done, and must be equal for results to be comparable: the tables of a spec from [model] to [inference]."""

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from fluxkit.values import Seconds, Strict

MAX_CAPTION = 4000
MIN_SSIM_SIDE = 11
"""SSIM's Gaussian window is 11 pixels wide; a smaller image has no SSIM."""

Count = Annotated[int, Field(ge=1, le=10_000_000)]
RepoName = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}$")
]
Commit = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}$")]

MIN_HELD_OUT = 8
"""With fewer independent held-out photos a held-out score is indicative and decides nothing."""
MIN_TIMED_STEPS = 10
"""The inference speed is timed for at least so many steps."""


class ModelSpec(Strict):
    """[model]: which FLUX, and where its weights come from."""

    family: Literal["nano", "schnell"] = "nano"
    """`nano`: the small FLUX that ships with fluxkit. `schnell`: FLUX.1-schnell, 11,891,178,560 parameters."""
    weights: Literal["embedded", "pretrained", "random"] = "embedded"
    """`embedded`: nano as shipped. `pretrained`: schnell from `path` or `repo`. `random`: nano, to tune in full; or the
    whole architecture of schnell, for its speed, memory and energy, never its quality."""
    path: str | None = None
    """Folder of a pretrained pipeline in the diffusers layout, before `repo`. Not in the workload: hashed instead."""
    repo: RepoName | None = None
    """Repository name of a pretrained pipeline in the local hub cache."""
    revision: Commit | None = None
    """Full commit of `repo`: a branch name can move and would not be reproducible."""
    assistant_adapter: str | None = None
    """LoRA file or folder fused into the base while tuning and taken out for sampling; its content is hashed."""
    download: bool = False
    """Whether `repo` may be downloaded. Nothing is ever downloaded otherwise."""

    @property
    def can_draw(self) -> bool:
        """Whether its pictures mean anything: schnell with random weights has neither encoders nor quality."""
        return self.family == "nano" or self.weights == "pretrained"

    @model_validator(mode="after")
    def _weights_fit_family(self) -> Self:
        allowed = {"nano": ("embedded", "random"), "schnell": ("pretrained", "random")}[self.family]
        if self.weights not in allowed:
            raise ValueError(
                f"weights = {self.weights!r} does not exist for family {self.family!r}; allowed: {', '.join(allowed)}"
            )
        if self.weights == "pretrained" and self.path is None and self.repo is None:
            raise ValueError("pretrained weights need path (a local folder) or repo (in the hub cache)")
        if self.weights != "pretrained" and (self.path or self.repo):
            raise ValueError(f"path and repo belong to pretrained weights, not to {self.weights!r} ones")
        if self.repo and not self.revision:
            raise ValueError('repo needs revision = "<commit>", because a branch name can move')
        if self.assistant_adapter and self.weights == "random":
            raise ValueError("assistant_adapter assists the tuning of a model that can generate, not of random weights")
        return self


class DataSpec(Strict):
    """[data]: the captioned images that are tuned on and held out."""

    source: Literal["photos", "folder"] = "photos"
    """`photos`: the captioned photographs inside scikit-image's wheel. `folder`: your own images, in `path`."""
    path: str | None = None
    """Folder of images with captions. Not in the workload: its content is hashed."""
    caption: Annotated[str, StringConstraints(min_length=1, max_length=MAX_CAPTION)] | None = None
    """For every image of the folder that has no caption of its own."""
    trigger: Annotated[str, StringConstraints(min_length=1, max_length=200)] | None = None
    """The word that takes the place of `[trigger]` in captions."""
    held_out: Annotated[float, Field(ge=0, lt=1)] = 0.3
    """Share of a folder's images, by content hash, that tuning never sees; the photos carry their own split."""
    on_error: Literal["stop", "skip"] = "stop"
    """What an unusable image or a missing caption does: end the run before any tuning, or be skipped and counted."""
    resolution: Annotated[int, Field(ge=16, le=2048, multiple_of=16)] = 64
    """Side of the square images in pixels: shorter side scaled to it, then a centre crop."""

    @model_validator(mode="after")
    def _folder_has_path(self) -> Self:
        if (self.source == "folder") != (self.path is not None):
            raise ValueError('data.path = "FOLDER" and data.source = "folder" belong together')
        return self


class TuneSpec(Strict):
    """[tune]: what is learnt, how, and for how long: one trajectory serves both protocols."""

    method: Literal["lora", "full"] = "lora"
    """`lora`: FP32 adapters on the transformer blocks. `full`: every transformer parameter."""
    lora_rank: Annotated[int, Field(ge=1, le=512)] = 16
    """Rank r of the adapters."""
    lora_alpha: Annotated[float, Field(gt=0, le=4096)] = 16
    """Adapters are scaled by alpha / r."""
    optimizer: Literal["adamw"] = "adamw"
    """AdamW with decoupled weight decay."""
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 4e-3
    """Constant after the warm-up, never a function of the clock."""
    lr_warmup_steps: Annotated[int, Field(ge=0, le=1_000_000)] = 20
    """Optimiser steps over which the learning rate rises linearly."""
    adam_beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Decay of the first moment."""
    adam_beta2: Annotated[float, Field(ge=0, lt=1)] = 0.99
    """Decay of the second moment."""
    adam_epsilon: Annotated[float, Field(gt=0, le=1)] = 1e-8
    """Added to the denominator of the update."""
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Decoupled weight decay."""
    max_grad_norm: Annotated[float, Field(gt=0, le=1e6)] = 1.0
    """Gradients are clipped to this global L2 norm."""
    global_batch_size: Annotated[int, Field(ge=1, le=65_536)] = 8
    """Samples per optimiser step over all processes: the same on 1 and on N devices."""
    timestep_sampling: Literal["uniform", "logit_normal", "four_step"] = "uniform"
    """How sigma is drawn: uniform in (0, 1), sigmoid of a standard normal, or from schnell's own four."""
    caption_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of samples that see the encoding of the empty caption."""
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Decay per step of the exponential moving average; above 0 the averaged weights are graded."""
    iterations: Count = 200
    """The constant-iteration protocol reads the first so many optimiser steps."""
    seconds: Seconds = 120.0
    """The constant-time protocol reads the state after so many seconds of tuning."""
    max_seconds: Seconds = 3600.0
    """Tuning ends here at the latest; a cut iteration protocol states its coverage."""

    @model_validator(mode="after")
    def _limit_holds_budget(self) -> Self:
        if self.max_seconds < self.seconds:
            raise ValueError(f"max_seconds = {self.max_seconds:g} is less than seconds = {self.seconds:g}")
        return self


class EvaluateSpec(Strict):
    """[evaluate]: how quality is measured at every evaluation point."""

    num_inference_steps: Annotated[int, Field(ge=1, le=100)] = 4
    """Euler steps per image; schnell is distilled to 4."""
    num_images_per_prompt: Annotated[int, Field(ge=1, le=64)] = 4
    """Noise seeds per caption of the reconstruction protocol."""
    max_sequence_length: Annotated[int, Field(ge=8, le=512)] = 256
    """T5 tokens per caption; schnell takes at most 256, nano what its tokenizer says, if that is less."""
    sigmas: Annotated[int, Field(ge=1, le=64)] = 8
    """Midpoints (i + 1/2)/n at which the validation protocol noises held-out images."""
    noise_draws: Annotated[int, Field(ge=1, le=64)] = 2
    """Noise draws per held-out image and sigma."""


class InferenceSpec(Strict):
    """[inference]: the workload of the inference speed: transformer and scheduler on latents."""

    batch_size: Annotated[int, Field(ge=1, le=65_536)] = 256
    """Images denoised together; in micro-batches where they do not fit, which the result states."""
    num_inference_steps: Annotated[int, Field(ge=1, le=100)] = 4
    """Euler steps per image."""
    min_seconds: Annotated[float, Field(gt=0, le=86_400)] = 10.0
    """Timed at least this long, and at least 10 steps."""
    max_seconds: Annotated[float, Field(gt=0, le=604_800)] = 600.0
    """Timed at most about this long; whole micro-batches only, and coverage below 1 is stated."""

    @model_validator(mode="after")
    def _limit_holds_minimum(self) -> Self:
        if self.max_seconds < self.min_seconds:
            raise ValueError(f"max_seconds = {self.max_seconds:g} is less than min_seconds = {self.min_seconds:g}")
        return self
