"""How a workload is done, and where: the tables [execution] and [hardware] of a spec."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, field_validator

from fluxkit.values import Seconds, Strict

Precision = Literal["float32", "bfloat16"]
InferencePrecision = Literal["ieee_float32", "tf32", "bfloat16"]
Parallelism = Literal["ddp", "fsdp"]
Attention = Literal["auto", "flash", "cudnn", "efficient", "math"]
Usd = Annotated[float, Field(ge=0, le=1e6)]


NO_MPS = 'on a Mac fluxkit measures the CPU and not the GPU (mps): use nano-laptop-cpu, or execution.device = "cpu"'


class ExecutionSpec(Strict):
    """[execution]: how it is run; may differ between the results compared."""

    device: Literal["cpu", "cuda"] = "cpu"
    """Kind of device."""
    processes: Annotated[int, Field(ge=1, le=1024)] = 1
    """One process per device, by torchrun and accelerate."""
    nodes: Annotated[int, Field(ge=1, le=256)] = 1
    """Machines that share the processes equally; all but the first take part by `fluxkit join`."""
    parallelism: Parallelism = "ddp"
    """`ddp`: the whole model on each device. `fsdp`: a share of every parameter, which full tuning of schnell needs."""
    threads: Annotated[int, Field(ge=0, le=1024)] = 0
    """CPU threads per process; 0: the plan divides the cores it may use and says how."""
    precision: Precision = "float32"
    """Of tuning. bfloat16: LoRA on a bf16 base with FP32 adapters; full tuning keeps FP32 weights under autocast."""
    inference_precision: InferencePrecision = "ieee_float32"
    """Of the inference speed. TF32 is its own precision and never called FP32."""
    inference_weights: Literal["as_computed", "bfloat16"] = "as_computed"
    """How the inference speed stores the weights that it computes with in FP32. `bfloat16` halves their memory: each
    product widens its matrix, adapters stay apart, and weights that were published in bfloat16 lose not a bit."""
    micro_batch_size: Annotated[int, Field(ge=1, le=65_536)] | Literal["auto"] = "auto"
    """Samples per forward pass of tuning; accumulation = global batch / (processes x micro-batch)."""
    inference_micro_batch_size: Annotated[int, Field(ge=1, le=65_536)] | Literal["auto"] = "auto"
    """Images per forward pass of the inference speed on each process."""
    quantization: Literal["none", "int8"] = "none"
    """Of the frozen weights under LoRA: `int8` stores the blocks' matrices in 8 bits and computes in bfloat16."""
    attention: Attention = "auto"
    """Kernel of the attention. `auto`: the fastest that this precision allows; the result says which one ran."""
    compile: bool = False
    """Compile each kind of block while warming up; what is graded runs uncompiled."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, about a third more work."""
    checkpoint_seconds: Seconds = 60.0
    """Tuning seconds between checkpoints; writing them is off the budget's clock."""

    @field_validator("device", mode="before")
    @classmethod
    def _no_mac_gpu(cls, value: object) -> object:
        if isinstance(value, str) and value.lower().partition(":")[0] in {"mps", "metal"}:
            raise ValueError(NO_MPS)
        return value

    @property
    def tuning_precision(self) -> InferencePrecision:
        """The precision of tuning under the name that tells TF32 and IEEE apart; tuning never uses TF32."""
        return "ieee_float32" if self.precision == "float32" else "bfloat16"


class HardwareSpec(Strict):
    """[hardware]: what the machine is called and what it costs; names a row, never identifies it."""

    label: Annotated[str, StringConstraints(min_length=1, max_length=80)] = "This machine"
    """What a reader calls this configuration."""
    usd_per_hour: Usd | None = None
    """Price of the whole instance in US dollars per hour; 0: it is free; null: not given. In fluxkit.spec/1, 0 was not
    given."""
    usd_per_kwh: Usd | None = None
    """Price of the energy of its devices in US dollars per kilowatt-hour; 0 and null likewise."""
