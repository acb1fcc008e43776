"""What is asked: `RunSpec`, one run as a whole, frozen, printable value. `fluxkit.specfile` reads it from TOML."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

SPEC_SCHEMA = "fluxkit.spec/1"
MAX_CAPTION = 4000
MIN_SSIM_SIDE = 11
"""SSIM's Gaussian window is 11 pixels wide; a smaller image has no SSIM."""

# A frozen, complete value: unknown keys are refused and the text under a field is its description.
FROZEN = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, protected_namespaces=())
STRICT = ConfigDict(**FROZEN, strict=True, allow_inf_nan=False)

Count = Annotated[int, Field(ge=1, le=10_000_000)]
Seconds = Annotated[float, Field(gt=0, le=2_592_000)]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
RepoName = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}$")
]
Commit = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}$")]
Precision = Literal["float32", "bfloat16"]
InferencePrecision = Literal["ieee_float32", "tf32", "bfloat16"]


class ModelSpec(BaseModel):
    """[model]: which FLUX, and where its weights come from."""

    model_config = STRICT

    family: Literal["nano", "schnell"] = "nano"
    """`nano`: the small FLUX that ships with fluxkit. `schnell`: FLUX.1-schnell, 11,891,178,560 parameters."""
    weights: Literal["embedded", "pretrained", "random"] = "embedded"
    """`embedded`: nano as shipped. `pretrained`: schnell from `path` or `repo`. `random`: nano, to tune in full."""
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

    @model_validator(mode="after")
    def _weights_fit_family(self) -> Self:
        allowed = {"nano": ("embedded", "random"), "schnell": ("pretrained",)}[self.family]
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
            raise ValueError("assistant_adapter assists the tuning of a model that can draw, not of random weights")
        return self


class DataSpec(BaseModel):
    """[data]: the captioned images that are tuned on and held out."""

    model_config = STRICT

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


class TuneSpec(BaseModel):
    """[tune]: what is learnt, how, and for how long: one trajectory serves both protocols."""

    model_config = STRICT

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


class EvaluateSpec(BaseModel):
    """[evaluate]: how quality is measured at every mark."""

    model_config = STRICT

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


class InferenceSpec(BaseModel):
    """[inference]: the workload of the inference speed: transformer and scheduler on latents."""

    model_config = STRICT

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


class ExecutionSpec(BaseModel):
    """[execution]: how it is run; may differ between the results compared."""

    model_config = STRICT

    device: Literal["cpu", "cuda"] = "cpu"
    """Kind of device."""
    processes: Annotated[int, Field(ge=1, le=1024)] = 1
    """One process per device, by torchrun and accelerate."""
    threads: Annotated[int, Field(ge=0, le=1024)] = 0
    """CPU threads per process; 0: the plan divides the cores it may use and says how."""
    precision: Precision = "float32"
    """Of tuning. bfloat16: LoRA on a bf16 base with FP32 adapters; full tuning keeps FP32 weights under autocast."""
    inference_precision: InferencePrecision = "ieee_float32"
    """Of the inference speed. TF32 is its own precision and never called FP32."""
    micro_batch_size: Annotated[int, Field(ge=1, le=65_536)] | Literal["auto"] = "auto"
    """Samples per forward pass of tuning; accumulation = global batch / (processes x micro-batch)."""
    inference_micro_batch_size: Annotated[int, Field(ge=1, le=65_536)] | Literal["auto"] = "auto"
    """Images per forward pass of the inference speed on each process."""
    quantization: Literal["none", "int8"] = "none"
    """Of the frozen weights under LoRA: `int8` stores the blocks' matrices in 8 bits and computes in bfloat16."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, about a third more work."""
    checkpoint_seconds: Seconds = 60.0
    """Tuning seconds between checkpoints; writing them is off the budget's clock."""


class HardwareSpec(BaseModel):
    """[hardware]: what the machine is called and what it costs; names a row, never identifies it."""

    model_config = STRICT

    label: Annotated[str, StringConstraints(min_length=1, max_length=80)] = "This machine"
    """What a reader calls this configuration."""
    usd_per_hour: Annotated[float, Field(ge=0, le=1e6)] = 0.0
    """Price of the whole instance in US dollars per hour; 0: not given."""


class RunSpec(BaseModel):
    """One run, whole: what is tuned on what, how long, how it is judged, and on which hardware it runs."""

    model_config = STRICT

    schema_: Literal["fluxkit.spec/1"] = Field(alias="schema")
    """Version of this format."""
    name: Name
    """Becomes a folder: lower-case letters, digits, dot, underscore, hyphen; at most 64."""
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0
    """Of everything random in tuning; repeat r of a study adds r."""
    model: ModelSpec = ModelSpec()
    data: DataSpec = DataSpec()
    tune: TuneSpec = TuneSpec()
    evaluate: EvaluateSpec = EvaluateSpec()
    inference: InferenceSpec = InferenceSpec()
    execution: ExecutionSpec = ExecutionSpec()
    hardware: HardwareSpec = HardwareSpec()

    @model_validator(mode="after")
    def _batches_split(self) -> Self:
        processes = self.execution.processes
        for batch, size, key in (
            ("tune.global_batch_size", self.tune.global_batch_size, "micro_batch_size"),
            ("inference.batch_size", self.inference.batch_size, "inference_micro_batch_size"),
        ):
            if size % processes:
                raise ValueError(f"{batch} = {size} is not divisible by execution.processes = {processes}")
            micro, share = getattr(self.execution, key), size // processes
            if micro != "auto" and share % micro:
                raise ValueError(f"execution.{key} = {micro} does not divide the {share} of {batch} for each process")
        return self

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        if self.model.weights == "random" and self.tune.method == "lora":
            raise ValueError('model.weights = "random" leaves adapters nothing to adapt; use tune.method = "full"')
        if self.model.assistant_adapter and self.tune.method == "full":
            raise ValueError(
                'model.assistant_adapter needs tune.method = "lora": it is taken out of the frozen base again'
            )
        self._quantization_fits()
        if self.execution.device == "cpu" and self.execution.inference_precision == "tf32":
            raise ValueError('execution.inference_precision = "tf32" exists on CUDA only; use "ieee_float32" on a CPU')
        return self

    def _quantization_fits(self) -> None:
        if self.execution.quantization == "none":
            return
        if self.tune.method == "full":
            raise ValueError('execution.quantization = "int8" freezes the weights; use tune.method = "lora"')
        if {self.execution.precision, self.execution.inference_precision} != {"bfloat16"}:
            raise ValueError(
                'execution.quantization = "int8" computes in bfloat16; set execution.precision and '
                'execution.inference_precision to "bfloat16"'
            )

    def workload(self) -> dict[str, Any]:
        """What must be equal for results to be comparable; the weights themselves are hashed elsewhere."""
        tables = self.model_dump(mode="json", include={"model", "data", "tune", "evaluate", "inference"})
        for key in ("path", "repo", "revision", "download", "assistant_adapter"):
            tables["model"].pop(key)
        tables["data"].pop("path")
        return tables

    def workload_sha256(self) -> str:
        """Hash of `workload()`."""
        return canonical_sha256(self.workload())


def canonical_sha256(value: Any) -> str:
    """SHA-256 of JSON with sorted keys and no spaces: equal values, equal hash."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
