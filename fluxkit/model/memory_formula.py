"""The memory of a run in closed form: of its transformer, of its captions and of the process itself, in bytes.

Legend: D inner width, L1 double blocks, L2 single blocks, S tokens, B samples, H heads, r rank of the adapters. A unit
is B x S x D numbers. Attention is a fused kernel, which keeps query, key, value and output but no S x S matrix.
Not in it: text encoders, which are gone before the transformer is loaded and smaller than it; workspaces of kernels,
NCCL's buffers and the driver's context, which `fluxkit.plan.micro_batches` sets aside.

Source: counted layer by layer on `FluxTransformer2DModel` of diffusers with adapters of peft;
`tests/engine/flux/test_measured_memory.py` holds it to what autograd really keeps and to the peak of live tensors.
"""

from collections.abc import Callable
from typing import NamedTuple

from fluxkit.model.pipeline_files import PACK
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
PREDICTION_ERROR = 0.1
"""Predicted activations are held to measurement within this share. Weights are exact: they follow from shapes."""
FRAGMENTED_SHARE = 0.05
"""Of a GPU's activations, lost between blocks of torch's allocator. Set aside, not measured.

Its `expandable_segments` would lose less, but a virtual GPU refuses them, so they stay what the user's environment
says. Weights lose nothing: each of schnell's matrices is a whole number of the allocator's pages of 2 MiB."""
DECODED_LATENT_PIXELS = 32 * 32 * 4
"""Of one decoding: 16 pictures of nano's size, one of schnell's from 512 pixels on."""
HEAP_SHARE = 0.1
"""What the C heap of a CPU run keeps between tensors of changing sizes.

Fitted: 2.35 GB were resident for 2.26 GB, 17.7 for 14.7."""
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


class AutoencoderSize(NamedTuple):
    """What of an autoencoder counts in memory."""

    parameters: int
    numbers_per_pixel: int
    """That are alive at the peak of decoding: in the last level, its input, the norm of it and its activation."""


AUTOENCODERS = {"nano": AutoencoderSize(692_059, 128), "schnell": AutoencoderSize(83_819_683, 768)}
"""Of each family, counted on the real one; `tests/engine/flux/test_measured_memory.py` holds them to it."""


class Need(NamedTuple):
    """Bytes of one moment of a run."""

    held: int
    """Weights, gradients' sums and moments: they follow from shapes."""
    moving: int
    """Activations, and what is on its way."""


class Peak(NamedTuple):
    """Predicted bytes of one process at its worst moment."""

    exact: int
    """What follows from shapes; 0 on a CPU, whose heap makes an estimate of all of it."""
    estimated: int
    fragments: int = 0
    """What the allocator of a GPU may lose besides."""

    @property
    def total(self) -> int:
        """The prediction itself."""
        return self.exact + self.estimated

    @property
    def most(self) -> int:
        """If the prediction is too low by its error."""
        return round(self.exact + self.estimated * (1 + PREDICTION_ERROR)) + self.fragments

    @property
    def least(self) -> int:
        """If the prediction is too high by its error."""
        return round(self.exact + self.estimated * (1 - PREDICTION_ERROR))


class PeakBytes(NamedTuple):
    """Predicted peak of one process, by the size of its micro-batch."""

    tuning: dict[int, Peak]
    inference: dict[int, Peak]


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

    def peak(need: Need) -> Peak:
        if execution.device == "cpu":
            return Peak(0, round((1 + HEAP_SHARE) * (always + need.held + need.moving)))
        return Peak(always + need.held, need.moving, round(FRAGMENTED_SHARE * need.moving))

    def peaks(global_batch: int, needs: Callable[[RunSpec, Transformer, ForwardPass], list[Need]]) -> dict[int, Peak]:
        share = global_batch // execution.processes
        batches = [size for size in range(1, share + 1) if share % size == 0]
        moments = {size: map(peak, needs(spec, sizes, sample._replace(batch=size))) for size in batches}
        return {size: max(peaks, key=lambda peak: peak.most) for size, peaks in moments.items()}

    tuning, inference = spec.tune.global_batch_size, spec.inference.batch_size
    return PeakBytes(peaks(tuning, _tuning_needs), peaks(inference, _inference_needs))


def _tuning_needs(spec: RunSpec, sizes: Transformer, work: ForwardPass) -> list[Need]:
    execution = spec.execution
    rank = spec.tune.lora_rank if spec.tune.method == "lora" else None
    shares = execution.processes if execution.parallelism == "fsdp" else 1
    trainable = _trainable_bytes(sizes, rank)
    # The state before a block of steps is kept, since a mark may fall into it; and the averaged weights.
    copies = trainable * (1 + (spec.tune.ema_decay > 0)) // shares
    if execution.device == "cuda":  # on a CPU the heap's share covers them
        buckets = trainable if execution.processes > 1 and execution.parallelism == "ddp" else 0
        copies += buckets + _autoencoder_bytes(spec)  # what gradients are sent in, and what waits for the evaluation
    dequantized = 0
    # Without checkpointing autograd keeps every block's weights as they were computed with, in bfloat16.
    if execution.quantization == "int8" and execution.gradient_checkpointing:
        dequantized = dequantized_bytes(sizes)
        copies -= int8_saving_bytes(sizes)
    peak = tuning_peak_bytes(
        sizes, work, lora_rank=rank, precision=execution.precision,
        gradient_checkpointing=execution.gradient_checkpointing, shares=shares,
    )  # fmt: skip
    if peak is None:
        return [Need(copies + ADAMW_BYTES * sizes.parameters // shares, 0)]
    held = _held_in_tuning(sizes, rank, execution.precision, shares)
    return [Need(copies + held, peak - held + dequantized)]


def _inference_needs(spec: RunSpec, sizes: Transformer, work: ForwardPass) -> list[Need]:
    """Of the timed steps; and of evaluation, in tuning's precision and when the optimiser is gone.

    The inference speed begins with the weights as they were evaluated, whether anything was drawn or not.
    """
    execution, full = spec.execution, spec.tune.method == "full"
    trainable = _trainable_bytes(sizes, None if full else spec.tune.lora_rank)
    adapters = 0 if full else trainable
    saved = int8_saving_bytes(sizes) if execution.quantization == "int8" else 0
    narrow = narrow_saving_bytes(sizes, spec.tune.lora_rank) if execution.inference_weights == "bfloat16" else 0
    precision = PRECISION_OF[execution.inference_precision]
    # Adapters on 8-bit weights can't be fused.
    weights = BYTES_OF[precision] * sizes.parameters - saved - narrow + (adapters if saved else 0)
    timed = Need(weights, _passing_bytes(sizes, work, precision))
    tuned_in: Precision = "float32" if full else execution.precision
    tuned = BYTES_OF[tuned_in] * sizes.parameters - saved + adapters
    if not spec.model.can_draw:
        return [timed, Need(tuned, 0)]
    passing = _passing_bytes(sizes, work, tuned_in)
    if execution.device == "cpu":  # whose heap keeps the moments, and whose share of it covers the autoencoder
        return [timed, Need(tuned + MOMENTS * trainable, passing)]
    decoding = decoding_peak_bytes(AUTOENCODERS[spec.model.family], work.image_tokens, spec.data.resolution)
    return [timed, Need(tuned + _autoencoder_bytes(spec), max(passing, decoding))]


def _autoencoder_bytes(spec: RunSpec) -> int:
    """In FP32, on the device from the preparation to the evaluation."""
    return FLOAT32 * AUTOENCODERS[spec.model.family].parameters if spec.model.can_draw else 0


def decoding_peak_bytes(autoencoder: AutoencoderSize, image_tokens: int, resolution: int) -> int:
    """Activations of decoding a few pictures of `resolution` pixels a side, in FP32."""
    together = max(1, DECODED_LATENT_PIXELS // (image_tokens * PACK**2))
    return FLOAT32 * autoencoder.numbers_per_pixel * together * resolution**2


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
    return _held_in_tuning(sizes, lora_rank, precision, shares) + peak + whole_blocks


def _held_in_tuning(sizes: Transformer, lora_rank: int | None, precision: Precision, shares: int) -> int:
    """Frozen weights, what is tuned, and its moments."""
    frozen = 0 if lora_rank is None else sizes.parameters * BYTES_OF[precision]
    return frozen + _trainable_bytes(sizes, lora_rank) * (1 + MOMENTS) // shares


def inference_peak_bytes(sizes: Transformer, work: ForwardPass, *, precision: Precision) -> int:
    """Peak of all live tensors in one forward pass without gradients."""
    return BYTES_OF[precision] * sizes.parameters + _passing_bytes(sizes, work, precision)


def _passing_bytes(sizes: Transformer, work: ForwardPass, precision: Precision) -> int:
    """Activations of a forward pass without gradients.

    The last product of a single block has 15 units about it: its joined input (5), the halves of it (1 + 4), the
    residual stream and what feeds it. In bfloat16 it is 17, because rotary embedding computes in FP32.
    """
    units = {"float32": 15, "bfloat16": 17}[precision]
    return BYTES_OF[precision] * units * work.tokens * sizes.width


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
