"""The memory of a FLUX transformer in closed form: weights, adapters, gradients, optimiser and activations, in bytes.

Legend: D inner width, L1 double blocks, L2 single blocks, S tokens, B samples, H heads, r rank of the adapters. A unit
is B x S x D numbers. Attention is a fused kernel, which keeps query, key, value and output but no S x S matrix.
Not in it: the process itself, text encoders, autoencoder, workspace and reserve of the allocator.

Source: counted layer by layer on `FluxTransformer2DModel` of diffusers with adapters of peft;
`tests/engine/test_footprint.py` holds it to what autograd really keeps and to the peak of all live tensors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from fluxkit.model.transformer_size import Transformer

FLOAT32 = 4
BYTES_OF = {"float32": 4, "bfloat16": 2}
MOMENTS = 2
"""AdamW keeps two numbers for every trainable parameter."""


class Work(NamedTuple):
    """One forward pass: its tokens per sample and its samples."""

    image_tokens: int
    text_tokens: int
    batch: int = 1

    @property
    def tokens(self) -> int:
        """S x B: all tokens of the batch."""
        return self.batch * (self.image_tokens + self.text_tokens)


class Kept(NamedTuple):
    """Bytes that autograd keeps for the backward pass, per block."""

    double: int
    single: int


def kept_for_backward(
    sizes: Transformer, work: Work, *, lora_rank: int | None, precision: Literal["float32", "bfloat16"]
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
    work: Work,
    *,
    lora_rank: int | None,
    precision: Literal["float32", "bfloat16"] = "float32",
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
    trainable = sizes.parameters() if lora_rank is None else sizes.lora_parameters(lora_rank)
    of_doubles, of_singles = (each // shares for each in _gradient_bytes(sizes, lora_rank))
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
        trainable * FLOAT32 // shares,
    )
    frozen = 0 if full else sizes.parameters() * size
    return frozen + trainable * FLOAT32 * (1 + MOMENTS) // shares + peak + whole_blocks


def inference_peak_bytes(sizes: Transformer, work: Work, *, precision: Literal["float32", "bfloat16"]) -> int:
    """Peak of all live tensors in one forward pass without gradients.

    The last product of a single block has 15 units about it: its joined input (5), the halves of it (1 + 4), the
    residual stream and what feeds it. In bfloat16 it is 17, because rotary embedding computes in FP32.
    """
    units = {"float32": 15, "bfloat16": 17}[precision]
    size = BYTES_OF[precision]
    return size * (sizes.parameters() + units * work.tokens * sizes.width)


def narrow_saving_bytes(sizes: Transformer, lora_rank: int) -> int:
    """What storing weights in bfloat16 saves where FP32 is computed: half of them, but for one that is widened.

    Adapters stay beside the base in FP32. The largest matrix makes the modulations of a double block, 6 D^2.
    """
    return 2 * sizes.parameters() - FLOAT32 * (6 * sizes.width**2 + sizes.lora_parameters(lora_rank))


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
