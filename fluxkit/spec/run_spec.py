"""What is asked: `RunSpec`, one run as a whole, frozen, printable value. `fluxkit.spec.toml` reads it from TOML."""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, ValidationError, model_validator

from fluxkit.spec.execution import ExecutionSpec, HardwareSpec
from fluxkit.spec.prices import Prices
from fluxkit.spec.workload import DataSpec, EvaluateSpec, InferenceSpec, ModelSpec, TuneSpec
from fluxkit.values import Strict, canonical_sha256

SPEC_SCHEMA = "fluxkit.spec/2"

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]


class RunSpec(Strict):
    """One run, whole: what is tuned on what, how long, how it is judged, and on which hardware it runs."""

    schema_: Literal["fluxkit.spec/1", "fluxkit.spec/2"] = Field(alias="schema")
    """Version of this format; in the first one a price of 0 meant that none was given."""
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
    def _tables_agree(self) -> Self:
        # One contradiction is enough for a sentence: what comes after the first often follows from it.
        contradictions = chain(
            self._batch_contradictions(), self._method_contradictions(), self._process_contradictions(),
            self._attention_contradictions(), self._storage_contradictions(),
        )  # fmt: skip
        for contradiction in contradictions:
            raise ValueError(contradiction)
        return self

    def _batch_contradictions(self) -> Iterator[str]:
        processes = self.execution.processes
        for batch, size, key in (
            ("tune.global_batch_size", self.tune.global_batch_size, "micro_batch_size"),
            ("inference.batch_size", self.inference.batch_size, "inference_micro_batch_size"),
        ):
            if size % processes:
                yield f"{batch} = {size} is not divisible by execution.processes = {processes}"
            micro, share = getattr(self.execution, key), size // processes
            if micro != "auto" and share % micro:
                yield f"execution.{key} = {micro} does not divide the {share} of {batch} for each process"

    def _method_contradictions(self) -> Iterator[str]:
        if self.model.weights == "random" and self.model.can_draw and self.tune.method == "lora":
            yield 'model.weights = "random" leaves adapters nothing to adapt; use tune.method = "full"'
        if self.model.assistant_adapter and self.tune.method == "full":
            yield 'model.assistant_adapter needs tune.method = "lora": it is taken out of the frozen base again'
        yield from self._quantization_contradictions()
        if self.execution.device == "cpu" and self.execution.inference_precision == "tf32":
            yield 'execution.inference_precision = "tf32" exists on CUDA only; use "ieee_float32" on a CPU'

    def _process_contradictions(self) -> Iterator[str]:
        execution = self.execution
        if execution.processes % execution.nodes:
            yield f"execution.processes = {execution.processes} is not divisible by execution.nodes = {execution.nodes}"
        if execution.parallelism == "fsdp":
            yield from self._sharding_contradictions()

    def _sharding_contradictions(self) -> Iterator[str]:
        if self.execution.processes == 1:
            yield (
                'execution.parallelism = "fsdp" shares the weights out among processes; set execution.processes to '
                '2 or more, or use "ddp"'
            )
        if self.tune.method == "lora":
            yield (
                'execution.parallelism = "fsdp" shares out what is tuned, and adapters are small; use "ddp", or '
                'tune.method = "full"'
            )
        if self.execution.compile:
            yield (
                'execution.compile needs whole blocks, and "fsdp" puts them together as they run; use compile = '
                'false, or parallelism = "ddp"'
            )

    def _attention_contradictions(self) -> Iterator[str]:
        execution, kernel = self.execution, self.execution.attention
        if execution.device == "cpu" and kernel in {"cudnn", "efficient"}:
            yield f'execution.attention = "{kernel}" exists on CUDA only; use "auto" on a CPU'
        half = {execution.precision, execution.inference_precision} == {"bfloat16"}
        if execution.device == "cuda" and kernel in {"flash", "cudnn"} and not half:
            yield (
                f'execution.attention = "{kernel}" takes no FP32 on CUDA; use "auto" or "efficient", or set '
                'execution.precision and execution.inference_precision to "bfloat16"'
            )

    def _storage_contradictions(self) -> Iterator[str]:
        execution = self.execution
        if execution.inference_weights == "as_computed":
            return
        if execution.inference_precision == "bfloat16":
            yield (
                'execution.inference_weights = "bfloat16" stores what FP32 computes with; inference_precision = '
                '"bfloat16" stores it so already'
            )
        if self.tune.method == "full":
            yield (
                'execution.inference_weights = "bfloat16" would round weights that were tuned in FP32; use '
                '"as_computed", or tune.method = "lora"'
            )

    def _quantization_contradictions(self) -> Iterator[str]:
        if self.execution.quantization == "none":
            return
        if self.tune.method == "full":
            yield 'execution.quantization = "int8" freezes the weights; use tune.method = "lora"'
        if self.execution.compile:
            yield (
                'execution.compile is not proven with execution.quantization = "int8"; use compile = false, or '
                'quantization = "none"'
            )
        if self.execution.processes > 1:
            yield (
                'execution.quantization = "int8" runs in one process: torch cannot send such weights to others; set '
                'execution.processes = 1, or quantization = "none"'
            )
        if {self.execution.precision, self.execution.inference_precision} != {"bfloat16"}:
            yield (
                'execution.quantization = "int8" computes in bfloat16; set execution.precision and '
                'execution.inference_precision to "bfloat16"'
            )

    def changed(self, settings: Sequence[tuple[str, object]]) -> Self | None:
        """The spec with other values by `table.key`; None where that is no change, or contradicts itself."""
        values = self.model_dump(mode="json", by_alias=True)
        for key, value in settings:
            table, name = key.split(".")
            if values[table][name] == value:
                return None
            values[table][name] = value
        try:
            return self.model_validate(values)
        except ValidationError:
            return None

    def prices(self) -> Prices:
        """What its machine costs."""
        given = self.hardware.usd_per_hour, self.hardware.usd_per_kwh
        return Prices(*given) if self.schema_ == SPEC_SCHEMA else Prices(*(price or None for price in given))

    def paths(self) -> dict[str, str]:
        """The files that it names, by their keys."""
        named = {
            "model.path": self.model.path,
            "model.assistant_adapter": self.model.assistant_adapter,
            "data.path": self.data.path,
        }
        return {key: path for key, path in named.items() if path}

    def in_this_version(self) -> Self:
        """The same spec in the newest format."""
        hardware = self.hardware.model_copy(update=self.prices()._asdict())
        return self.model_copy(update={"schema_": SPEC_SCHEMA, "hardware": hardware})

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
