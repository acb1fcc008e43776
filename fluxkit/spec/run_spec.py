"""What is asked: `RunSpec`, one run as a whole, frozen, printable value. `fluxkit.spec.toml` reads it from TOML."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, StringConstraints, model_validator

from fluxkit.spec.execution import ExecutionSpec, HardwareSpec
from fluxkit.spec.workload import DataSpec, EvaluateSpec, InferenceSpec, ModelSpec, TuneSpec
from fluxkit.values import STRICT, canonical_sha256

SPEC_SCHEMA = "fluxkit.spec/1"

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]


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
        if self.model.weights == "random" and self.model.can_draw and self.tune.method == "lora":
            raise ValueError('model.weights = "random" leaves adapters nothing to adapt; use tune.method = "full"')
        if self.model.assistant_adapter and self.tune.method == "full":
            raise ValueError(
                'model.assistant_adapter needs tune.method = "lora": it is taken out of the frozen base again'
            )
        self._quantization_fits()
        if self.execution.device == "cpu" and self.execution.inference_precision == "tf32":
            raise ValueError('execution.inference_precision = "tf32" exists on CUDA only; use "ieee_float32" on a CPU')
        return self

    @model_validator(mode="after")
    def _processes_fit(self) -> Self:
        execution = self.execution
        if execution.processes % execution.nodes:
            raise ValueError(
                f"execution.processes = {execution.processes} is not divisible by execution.nodes = {execution.nodes}"
            )
        if execution.parallelism == "fsdp":
            if execution.processes == 1:
                raise ValueError(
                    'execution.parallelism = "fsdp" shares the weights out among processes; set execution.processes to '
                    '2 or more, or use "ddp"'
                )
            if self.tune.method == "lora":
                raise ValueError(
                    'execution.parallelism = "fsdp" shares out what is tuned, and adapters are small; use "ddp", or '
                    'tune.method = "full"'
                )
            if execution.compile:
                raise ValueError(
                    'execution.compile needs whole blocks, and "fsdp" puts them together as they run; use compile = '
                    'false, or parallelism = "ddp"'
                )
        return self

    @model_validator(mode="after")
    def _attention_fits(self) -> Self:
        execution, asked = self.execution, self.execution.attention
        if execution.device == "cpu" and asked in {"cudnn", "efficient"}:
            raise ValueError(f'execution.attention = "{asked}" exists on CUDA only; use "auto" on a CPU')
        half = {execution.precision, execution.inference_precision} == {"bfloat16"}
        if execution.device == "cuda" and asked in {"flash", "cudnn"} and not half:
            raise ValueError(
                f'execution.attention = "{asked}" takes no FP32 on CUDA; use "auto" or "efficient", or set '
                'execution.precision and execution.inference_precision to "bfloat16"'
            )
        return self

    @model_validator(mode="after")
    def _storage_fits(self) -> Self:
        execution = self.execution
        if execution.inference_weights == "as_computed":
            return self
        if execution.inference_precision == "bfloat16":
            raise ValueError(
                'execution.inference_weights = "bfloat16" stores what FP32 computes with; inference_precision = '
                '"bfloat16" stores it so already'
            )
        if self.tune.method == "full":
            raise ValueError(
                'execution.inference_weights = "bfloat16" would round weights that were tuned in FP32; use '
                '"as_computed", or tune.method = "lora"'
            )
        return self

    def _quantization_fits(self) -> None:
        if self.execution.quantization == "none":
            return
        if self.tune.method == "full":
            raise ValueError('execution.quantization = "int8" freezes the weights; use tune.method = "lora"')
        if self.execution.compile:
            raise ValueError(
                'execution.compile is not proven with execution.quantization = "int8"; use compile = false, or '
                'quantization = "none"'
            )
        if self.execution.processes > 1:
            raise ValueError(
                'execution.quantization = "int8" runs in one process: torch cannot send such weights to others; set '
                'execution.processes = 1, or quantization = "none"'
            )
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
