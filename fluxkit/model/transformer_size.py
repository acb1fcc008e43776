"""The FLUX sizes as closed formulas: parameters and FLOPs, without building anything.

Legend: D inner width, L1 double blocks, L2 single blocks, S tokens (image and text together), r rank of the adapters.
A FLOP is one multiplication or one addition of a matrix product; a product of (m, k) and (k, n) has 2mkn of them.
Norms, activations, rotary embedding and the optimiser are left out: together they are far below 1 %.

Source: `FluxTransformer2DModel` of diffusers, layer by layer; `tests/engine/flux/test_transformer_sizes.py` holds every
formula to that model and to torch's own counter.
"""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fluxkit.errors import MachineError

TIMESTEP_CHANNELS = 256
"""Width of the sinusoidal encoding of the timestep, fixed in diffusers."""
MLP_RATIO = 4
"""Width of a block's MLP in units of D, fixed in diffusers."""

Blocks = Annotated[int, Field(ge=1, le=1_000)]
Width = Annotated[int, Field(ge=1, le=100_000)]


class Cost(NamedTuple):
    """What tuning and sampling ask of a transformer; FLOPs of matrix products only."""

    parameters: int
    trainable_parameters: int
    forward_flops: int
    """Of one forward pass of one sample."""
    train_flops: int
    """Of one forward and backward pass of a batch."""


class Transformer(BaseModel):
    """Sizes of a FLUX transformer, under the names of its `config.json`."""

    # A config.json also holds keys that change neither a parameter nor a FLOP.
    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, use_attribute_docstrings=True)

    num_layers: Blocks
    """Double blocks, where image and text have weights of their own (L1)."""
    num_single_layers: Blocks
    """Single blocks, where they share them (L2)."""
    attention_head_dim: Width
    num_attention_heads: Width
    in_channels: Width
    """Channels of a packed latent token: 4 x latent channels."""
    joint_attention_dim: Width
    """Width of the text tokens."""
    pooled_projection_dim: Width
    """Width of the pooled text embedding."""
    guidance_embeds: bool = False
    """Whether guidance is an input; it is not for schnell."""

    @classmethod
    def from_config(cls, config: dict[str, Any], source: str) -> Transformer:
        """The sizes in a decoded `transformer/config.json`; `source` names it in an error.

        Raises:
            MachineError: it is not the configuration of a FLUX transformer.
        """
        try:
            return cls.model_validate(config)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise MachineError(f"{source} does not describe a FLUX transformer: {where}: {first['msg']}.") from error

    @property
    def width(self) -> int:
        """D: heads x head size."""
        return self.num_attention_heads * self.attention_head_dim

    @property
    def blocks(self) -> int:
        """L1 + L2."""
        return self.num_layers + self.num_single_layers

    @property
    def parameters(self) -> int:
        """Parameters of the whole transformer."""
        width, head = self.width, self.attention_head_dim
        conditions = 2 if self.guidance_embeds else 1
        embedders = (
            conditions * (_linear(TIMESTEP_CHANNELS, width) + _linear(width, width))
            + _linear(self.pooled_projection_dim, width)
            + _linear(width, width)
            + _linear(self.joint_attention_dim, width)
            + _linear(self.in_channels, width)
        )
        mlp = _linear(width, MLP_RATIO * width) + _linear(MLP_RATIO * width, width)
        double = 2 * (_linear(width, 6 * width) + 4 * _linear(width, width) + mlp) + 4 * head
        single = (
            _linear(width, 3 * width)
            + 3 * _linear(width, width)
            + _linear(width, MLP_RATIO * width)
            + _linear((MLP_RATIO + 1) * width, width)
            + 2 * head
        )
        output = _linear(width, 2 * width) + _linear(width, self.in_channels)
        return embedders + self.num_layers * double + self.num_single_layers * single + output

    def lora_parameters(self, rank: int) -> int:
        """Parameters of adapters of `rank` on every attention and MLP product of the blocks.

        A product from m to n channels gets rank x (m + n): 36 D r for a double block (eight attention products of
        2 D, four MLP products of 5 D) and 17 D r for a single one (3 x 2 D, 5 D, 6 D).
        """
        return rank * self.width * (36 * self.num_layers + 17 * self.num_single_layers)

    def cost(
        self, image_tokens: int, text_tokens: int, batch: int, *, lora_rank: int | None, gradient_checkpointing: bool
    ) -> Cost:
        """Parameters and FLOPs for batches of `batch` samples; `lora_rank` None: every parameter is tuned."""
        return Cost(
            parameters=self.parameters,
            trainable_parameters=self.parameters if lora_rank is None else self.lora_parameters(lora_rank),
            forward_flops=self.forward_flops(image_tokens, text_tokens),
            train_flops=self.train_flops(
                image_tokens, text_tokens, batch, lora_rank=lora_rank, gradient_checkpointing=gradient_checkpointing
            ),
        )

    def forward_flops(self, image_tokens: int, text_tokens: int, batch: int = 1) -> int:
        """FLOPs of one forward pass of `batch` samples without adapters."""
        tokens = image_tokens + text_tokens
        once = self._embedding_flops() + self._modulation_flops() + 4 * self.width**2
        edges = self._input_flops(image_tokens, text_tokens) + self._output_flops(image_tokens)
        return batch * (once + edges + self._product_flops(tokens) + self._attention_flops(tokens))

    def train_flops(
        self,
        image_tokens: int,
        text_tokens: int,
        batch: int = 1,
        *,
        lora_rank: int | None,
        gradient_checkpointing: bool = False,
    ) -> int:
        """FLOPs of one forward and backward pass of `batch` samples; `lora_rank` None: every parameter is tuned.

        The backward pass of a product costs as much as its forward pass for the gradient of its input, and again for
        the gradient of its weight, each only where it is needed. Checkpointing runs the blocks forward once more.
        """
        if lora_rank is None:
            once = self._full_flops(image_tokens, text_tokens)
        else:
            once = self._lora_flops(image_tokens, text_tokens, lora_rank)
        if gradient_checkpointing:
            tokens = image_tokens + text_tokens
            once += self._modulation_flops() + self._product_flops(tokens) + self._attention_flops(tokens)
            once += self._adapter_flops(tokens, lora_rank or 0)
        return batch * once

    def _full_flops(self, image_tokens: int, text_tokens: int) -> int:
        """Three forward passes, less the input gradients of the layers that read data: nobody asks for those."""
        conditions = 2 if self.guidance_embeds else 1
        first_products = 2 * self.width * (conditions * TIMESTEP_CHANNELS + self.pooled_projection_dim)
        data = self._input_flops(image_tokens, text_tokens) + first_products
        return 3 * self.forward_flops(image_tokens, text_tokens) - data

    def _lora_flops(self, image_tokens: int, text_tokens: int, rank: int) -> int:
        """A frozen base needs input gradients only, and none before its first adapter.

        So nothing flows into embedders and modulations, nor through the query, key and value products of block 0.
        """
        tokens = image_tokens + text_tokens
        adapters = self._adapter_flops(tokens, rank)
        before_first = 3 * 2 * self.width * tokens * (self.width + rank)
        backward = self._product_flops(tokens) + 2 * self._attention_flops(tokens) + self._output_flops(image_tokens)
        return self.forward_flops(image_tokens, text_tokens) + 3 * adapters + backward - before_first

    def _embedding_flops(self) -> int:
        """Timestep, guidance and pooled text, once per sample."""
        conditions = 2 if self.guidance_embeds else 1
        timestep = conditions * (TIMESTEP_CHANNELS + self.width)
        return 2 * self.width * (timestep + self.pooled_projection_dim + self.width)

    def _modulation_flops(self) -> int:
        """Shift, scale and gate of every block, once per sample: 12 D^2 and 3 D^2 weights."""
        return 2 * self.width**2 * (12 * self.num_layers + 3 * self.num_single_layers)

    def _input_flops(self, image_tokens: int, text_tokens: int) -> int:
        return 2 * self.width * (self.in_channels * image_tokens + self.joint_attention_dim * text_tokens)

    def _output_flops(self, image_tokens: int) -> int:
        return 2 * self.width * self.in_channels * image_tokens

    def _product_flops(self, tokens: int) -> int:
        """Products with weights inside the blocks: a token meets 12 D^2 weights in either kind of block."""
        return self.blocks * 2 * 12 * self.width**2 * tokens

    def _attention_flops(self, tokens: int) -> int:
        """Queries with keys and weights with values: 2 S^2 D each, in every block."""
        return self.blocks * 4 * tokens**2 * self.width

    def _adapter_flops(self, tokens: int, rank: int) -> int:
        """A token meets one stream's half (18 D r) of a double block's adapters and all 17 D r of a single one's."""
        return 2 * rank * self.width * tokens * (18 * self.num_layers + 17 * self.num_single_layers)


def _linear(inputs: int, outputs: int) -> int:
    """Parameters of a linear layer with bias."""
    return inputs * outputs + outputs
