"""The memory of a run in closed form: of its transformer, of its captions and of the process itself, in bytes.

Legend: D inner width, L1 double blocks, L2 single blocks, S tokens, B samples, H heads, r rank of the adapters. A unit
is B x S x D numbers. Attention is a fused kernel, which keeps query, key, value and output but no S x S matrix.
Not in it: text encoders, autoencoder, workspace and reserve of the allocator.

Source: counted layer by layer on `FluxTransformer2DModel` of diffusers with adapters of peft;
`tests/engine/flux/test_measured_memory.py` holds it to what autograd really keeps and to the peak of live tensors.
"""

from collections.abc import Callable
from typing import NamedTuple

from fluxkit.model.transformer_size import Transformer
from fluxkit.spec.execution import Precision
from fluxkit.spec.run_spec import RunSpec

FLOAT32 = 4
BYTES_OF = {"float32": 4, "bfloat16": 2}
MOMENTS = 2
"""AdamW keeps two numbers for every trainable parameter."""
ADAMW_BYTES = 16
"""Per trainable parameter: FP32 value, gradient and two moments; a lower bound where activations are not predicted."""
PROCESS_BYTES = {"cpu": 530_000_000, "cuda": 0}
"""Resident before the first tensor of the model: Python, torch and its family, measured.

On a GPU the driver's context and its kernels are not counted by torch: `fluxkit.plan.micro_batches` sets them aside."""
HEAP_SHARE = {"cpu": 0.1, "cuda": 0.0}
"""What the C heap keeps between tensors of changing sizes. Fitted: 2.35 GB were resident for 2.26 GB, 17.7 for 14.7."""
PRECISION_OF: dict[str, Precision] = {"ieee_float32": "float32", "tf32": "float32", "bfloat16": "bfloat16"}
"""In which precision tensors of an inference precision are stored."""


class ForwardPass(NamedTuple):
    """One forward pass: its tokens per sample and its samples."""

    image_tokens: int
    text_tokens: int
    batch: int = 1

    @property
    def tokens(self) -> int:
        """S x B: all tokens of the batch."""
        return self.batch * (self.image_tokens + self.text_tokens)


class PeakBytes(NamedTuple):
    """Predicted peak bytes of one process, by the size of its micro-batch."""

    tuning: dict[int, int]
    inference: dict[int, int]


def predicted_peaks(spec: RunSpec, sizes: Transformer, sample: ForwardPass, caption_numbers: int) -> PeakBytes:
    """What one process needs at its worst moment, for every micro-batch that divides its share.

    Args:
        spec: what is asked.
        sizes: of the transformer.
        sample: tokens of one sample.
        caption_numbers: numbers of all encoded captions together, which stay on the device of the process.
    """
    execution = spec.execution
    on_host = FLOAT32 if execution.device == "cpu" else 0
    always = PROCESS_BYTES[execution.device] + caption_numbers * (on_host + BYTES_OF[execution.precision])
    heap = 1 + HEAP_SHARE[execution.device]

    def peaks(global_batch: int, need: Callable[[RunSpec, Transformer, ForwardPass], int]) -> dict[int, int]:
        share = global_batch // execution.processes
        batches = [size for size in range(1, share + 1) if share % size == 0]
        return {size: round(heap * (always + need(spec, sizes, sample._replace(batch=size)))) for size in batches}

    tuning, inference = spec.tune.global_batch_size, spec.inference.batch_size
    return PeakBytes(peaks(tuning, _tuning_bytes), peaks(inference, _inference_bytes))


def _tuning_bytes(spec: RunSpec, sizes: Transformer, work: ForwardPass) -> int:
    execution = spec.execution
    rank = spec.tune.lora_rank if spec.tune.method == "lora" else None
    shares = execution.processes if execution.parallelism == "fsdp" else 1
    peak = tuning_peak_bytes(
        sizes, work, lora_rank=rank, precision=execution.precision,
        gradient_checkpointing=execution.gradient_checkpointing, shares=shares,
    )  # fmt: skip
    # The state before a block of steps is kept, since a mark may fall into it; and the averaged weights.
    copies = _trainable_bytes(sizes, rank) * (1 + (spec.tune.ema_decay > 0)) // shares
    # Without checkpointing autograd keeps every block's weights as they were computed with, in bfloat16.
    if execution.quantization == "int8" and execution.gradient_checkpointing:
        copies += dequantized_bytes(sizes) - int8_saving_bytes(sizes)
    return copies + (peak or ADAMW_BYTES * sizes.parameters // shares)


def _inference_bytes(spec: RunSpec, sizes: Transformer, work: ForwardPass) -> int:
    """Of the timed steps; and of evaluation, where the optimiser is still there and the precision is that of tuning."""
    full = spec.tune.method == "full"
    trainable = _trainable_bytes(sizes, None if full else spec.tune.lora_rank)
    # Adapters on 8-bit weights can't be fused.
    saved = int8_saving_bytes(sizes) - trainable if spec.execution.quantization == "int8" else 0
    narrow = narrow_saving_bytes(sizes, spec.tune.lora_rank) if spec.execution.inference_weights == "bfloat16" else 0
    precision = PRECISION_OF[spec.execution.inference_precision]
    timed = inference_peak_bytes(sizes, work, precision=precision) - saved - narrow
    if not spec.model.can_draw:
        return timed
    tuned_in = "float32" if full else spec.execution.precision
    beside = trainable * (MOMENTS if full else 1 + MOMENTS)
    return max(timed, inference_peak_bytes(sizes, work, precision=tuned_in) - saved + beside)


class Kept(NamedTuple):
    """Bytes that autograd keeps for the backward pass, per block."""

    double: int
    single: int


def kept_for_backward(
    sizes: Transformer, work: ForwardPass, *, lora_rank: int | None, precision: Precision
) -> Kept | None:
    """What each block keeps for its backward pass; None for full tuning in bfloat16, which no measurement holds yet.

    In units, double and single: inputs of the norms (2, 1), of attention's query and key norms (2, 2), attention
    (4, 4), the MLP's activation (4, 4) and the inputs of the products with adapters (7, 6); with full tuning also
    what the modulations and the norms' weights need (6, 4). Adapters in FP32 on a bfloat16 base keep FP32 copies of
    their inputs. Besides: r per adapter and token, statistics of norms and attention, and modulations per sample.
    """
    width, heads = sizes.width, sizes.num_attention_heads
    if lora_rank is None:
        if precision == "bfloat16":
            return None
        double = work.tokens * (25 * width + 3 * heads + 4) + work.batch * 18 * width
        single = work.tokens * (21 * width + 3 * heads + 2) + work.batch * 5 * width
        return Kept(FLOAT32 * double, FLOAT32 * single)
    size = BYTES_OF[precision]
    statistics, adapters = 3 * FLOAT32 * heads, FLOAT32 * lora_rank
    # In bfloat16 the norms of query and key compute in FP32, and query, key and value get a copy each.
    in_double, in_single = (19 * size, 17 * size) if size == FLOAT32 else (64, 62)
    double = work.tokens * (in_double * width + 6 * adapters + statistics + 4 * size) + work.batch * 16 * width * size
    single = work.tokens * (in_single * width + 5 * adapters + statistics + 2 * size) + work.batch * 4 * width * size
    return Kept(double, single)


def tuning_peak_bytes(
    sizes: Transformer,
    work: ForwardPass,
    *,
    lora_rank: int | None,
    precision: Precision = "float32",
    gradient_checkpointing: bool = False,
    shares: int = 1,
) -> int | None:
    """Peak of all live tensors while one micro-batch is tuned with AdamW; None where `kept_for_backward` is.

    On the way back activations shrink while gradients grow, so the peak is where the backward pass enters the last
    single block, the last double block or the first one, or where it ends. With FSDP2 a process has one of so many
    `shares` of weights, gradients and moments; while it runs, two double blocks' weights and one's gradients are whole.
    """
    kept = kept_for_backward(sizes, work, lora_rank=lora_rank, precision=precision)
    if kept is None:
        return None
    full, size = lora_rank is None, BYTES_OF[precision]
    trainable = _trainable_bytes(sizes, lora_rank)
    of_doubles, of_singles = (gradients // shares for gradients in _gradient_bytes(sizes, lora_rank))
    whole_blocks = 3 * 36 * sizes.width**2 * FLOAT32 if shares > 1 else 0
    doubles, singles = sizes.num_layers, sizes.num_single_layers
    unit = work.tokens * sizes.width
    # What is on its way through a product: in a single block 5 units of its joined input, through base and adapter.
    in_single = unit * (7 * FLOAT32 if full else 5 * size + 5 * FLOAT32)
    in_double = unit * 3 * FLOAT32 if full else in_single
    # A block that waits for its turn keeps everything, or with checkpointing only its input, 1 unit.
    waiting = Kept(unit * size, unit * size) if gradient_checkpointing else kept
    peak = max(
        waiting.double * doubles + waiting.single * (singles - 1) + kept.single + in_single,
        waiting.double * (doubles - 1) + kept.double + of_singles + in_double,
        kept.double + of_singles + of_doubles * (doubles - 1) // doubles + in_double,
        trainable // shares,
    )
    frozen = 0 if full else sizes.parameters * size
    return frozen + trainable * (1 + MOMENTS) // shares + peak + whole_blocks


def inference_peak_bytes(sizes: Transformer, work: ForwardPass, *, precision: Precision) -> int:
    """Peak of all live tensors in one forward pass without gradients.

    The last product of a single block has 15 units about it: its joined input (5), the halves of it (1 + 4), the
    residual stream and what feeds it. In bfloat16 it is 17, because rotary embedding computes in FP32.
    """
    units = {"float32": 15, "bfloat16": 17}[precision]
    size = BYTES_OF[precision]
    return size * (sizes.parameters + units * work.tokens * sizes.width)


def narrow_saving_bytes(sizes: Transformer, lora_rank: int) -> int:
    """What storing weights in bfloat16 saves where FP32 is computed: half of them, but for one that is widened.

    Adapters stay beside the base in FP32. The largest matrix makes the modulations of a double block, 6 D^2.
    """
    return 2 * sizes.parameters - FLOAT32 * 6 * sizes.width**2 - _trainable_bytes(sizes, lora_rank)


def int8_saving_bytes(sizes: Transformer) -> int:
    """What storing the blocks' matrices in 8 bits instead of 16 saves; their scales per row are not worth counting.

    36 D^2 weights in a double block, 15 D^2 in a single one.
    """
    return sizes.width**2 * (36 * sizes.num_layers + 15 * sizes.num_single_layers)


def dequantized_bytes(sizes: Transformer) -> int:
    """A double block's matrices in 16 bits: what 8-bit weights become on the way back through it."""
    return 36 * sizes.width**2 * BYTES_OF["bfloat16"]


def _gradient_bytes(sizes: Transformer, lora_rank: int | None) -> tuple[int, int]:
    """Gradients of all double and of all single blocks: of 36 D^2 and 15 D^2 weights each, or 36 D r and 17 D r."""
    if lora_rank is None:
        double, single, width = 36, 15, sizes.width**2
    else:
        double, single, width = 36, 17, sizes.width * lora_rank
    return FLOAT32 * double * width * sizes.num_layers, FLOAT32 * single * width * sizes.num_single_layers


def _trainable_bytes(sizes: Transformer, lora_rank: int | None) -> int:
    """In FP32; all adapters lie in the blocks."""
    return FLOAT32 * sizes.parameters if lora_rank is None else sum(_gradient_bytes(sizes, lora_rank))
