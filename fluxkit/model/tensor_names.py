"""The tensors that the parts of FLUX are made of, by formula: names and, but for the autoencoder, shapes.

A transformer is stored in one of two layouts: diffusers', and that of Black Forest Labs (BFL), who published it. BFL
keep some matrices that diffusers has apart as one: their rows lie one below the other.

Source: `FluxTransformer2DModel`, `AutoencoderKL` and `convert_flux_transformer_checkpoint_to_diffusers` of diffusers,
`CLIPTextModel` and `T5EncoderModel` of transformers; `tests/engine/flux/test_tensor_names.py` holds every name to them.
"""

from collections.abc import Iterator
from typing import Any

from fluxkit.model.transformer_size import MLP_RATIO, TIMESTEP_CHANNELS, Transformer

EDGES = {
    "img_in": "x_embedder",
    "txt_in": "context_embedder",
    "time_in.in_layer": "time_text_embed.timestep_embedder.linear_1",
    "time_in.out_layer": "time_text_embed.timestep_embedder.linear_2",
    "vector_in.in_layer": "time_text_embed.text_embedder.linear_1",
    "vector_in.out_layer": "time_text_embed.text_embedder.linear_2",
    "guidance_in.in_layer": "time_text_embed.guidance_embedder.linear_1",
    "guidance_in.out_layer": "time_text_embed.guidance_embedder.linear_2",
    "final_layer.adaLN_modulation.1": "norm_out.linear",
    "final_layer.linear": "proj_out",
}
"""BFL's module, and diffusers'."""
SWAPPED = "final_layer.adaLN_modulation.1"
"""BFL store the shift above the scale, diffusers the scale above the shift."""
DOUBLE_BLOCK = {
    "img_mod.lin": "norm1.linear",
    "txt_mod.lin": "norm1_context.linear",
    "img_attn.qkv": "attn.to_q attn.to_k attn.to_v",
    "txt_attn.qkv": "attn.add_q_proj attn.add_k_proj attn.add_v_proj",
    "img_attn.norm.query_norm": "attn.norm_q",
    "img_attn.norm.key_norm": "attn.norm_k",
    "txt_attn.norm.query_norm": "attn.norm_added_q",
    "txt_attn.norm.key_norm": "attn.norm_added_k",
    "img_attn.proj": "attn.to_out.0",
    "txt_attn.proj": "attn.to_add_out",
    "img_mlp.0": "ff.net.0.proj",
    "img_mlp.2": "ff.net.2",
    "txt_mlp.0": "ff_context.net.0.proj",
    "txt_mlp.2": "ff_context.net.2",
}
"""BFL's module of a double block, and those of diffusers that its rows are."""
SINGLE_BLOCK = {
    "modulation.lin": "norm.linear",
    "linear1": "attn.to_q attn.to_k attn.to_v proj_mlp",
    "linear2": "proj_out",
    "norm.query_norm": "attn.norm_q",
    "norm.key_norm": "attn.norm_k",
}
"""The same of a single block."""

Shape = tuple[int, ...]


def bfl_modules(sizes: Transformer) -> dict[str, tuple[str, ...]]:
    """BFL's modules with the modules of diffusers that they hold, from the first row down."""
    edges = [name for name in EDGES if sizes.guidance_embeds or "guidance" not in name]
    double = [f"double_blocks.{number}.{name}" for number in range(sizes.num_layers) for name in DOUBLE_BLOCK]
    single = [f"single_blocks.{number}.{name}" for number in range(sizes.num_single_layers) for name in SINGLE_BLOCK]
    return {name: parts_of(name) for name in (*edges, *double, *single)}


def parts_of(layer: str) -> tuple[str, ...]:
    """The modules of diffusers that a layer is, from the first row down; itself where that is diffusers' name."""
    for bfl, diffusers, block in (
        ("double_blocks", "transformer_blocks", DOUBLE_BLOCK),
        ("single_blocks", "single_transformer_blocks", SINGLE_BLOCK),
    ):
        if layer.startswith(f"{bfl}."):
            _, number, module = layer.split(".", 2)
            return tuple(f"{diffusers}.{number}.{part}" for part in block[module].split())
    return (EDGES.get(layer, layer),)


def module_shapes(sizes: Transformer) -> dict[str, Shape]:
    """Shapes of the weights of a transformer by diffusers' names: (outputs, inputs), or (size,) of a norm."""
    return {part: _shape(sizes, part) for parts in bfl_modules(sizes).values() for part in parts}


def _shape(sizes: Transformer, module: str) -> Shape:
    width, single = sizes.width, module.startswith("single_")
    kind = module.split(".", 2)[2] if "blocks." in module else module
    if ".norm_" in module:
        return (sizes.attention_head_dim,)
    special = {
        "x_embedder": (width, sizes.in_channels),
        "context_embedder": (width, sizes.joint_attention_dim),
        "time_text_embed.timestep_embedder.linear_1": (width, TIMESTEP_CHANNELS),
        "time_text_embed.guidance_embedder.linear_1": (width, TIMESTEP_CHANNELS),
        "time_text_embed.text_embedder.linear_1": (width, sizes.pooled_projection_dim),
        "norm_out.linear": (2 * width, width),
        "norm1.linear": (6 * width, width),
        "norm1_context.linear": (6 * width, width),
        "norm.linear": (3 * width, width),
        "proj_mlp": (MLP_RATIO * width, width),
        "proj_out": (width, (MLP_RATIO + 1) * width) if single else (sizes.in_channels, width),
    }
    if kind.endswith("net.0.proj"):
        return (MLP_RATIO * width, width)
    if kind.endswith("net.2"):
        return (width, MLP_RATIO * width)
    return special.get(kind, (width, width))


def transformer_tensors(sizes: Transformer) -> dict[str, Shape]:
    """Names and shapes of all tensors of a transformer in diffusers' layout."""
    return dict(_tensors(module_shapes(sizes), "weight"))


def bfl_tensors(sizes: Transformer) -> dict[str, Shape]:
    """Names and shapes of all tensors of a transformer in BFL's layout."""
    shapes = module_shapes(sizes)
    whole = {
        bfl: (sum(shapes[part][0] for part in parts), *shapes[parts[0]][1:])
        for bfl, parts in bfl_modules(sizes).items()
    }
    return dict(_tensors(whole, "scale"))


def _tensors(modules: dict[str, Shape], norm: str) -> Iterator[tuple[str, Shape]]:
    for module, shape in modules.items():
        if len(shape) == 1:
            yield f"{module}.{norm}", shape
        else:
            yield f"{module}.weight", shape
            yield f"{module}.bias", shape[:1]


def clip_tensors(config: dict[str, Any]) -> dict[str, Shape]:
    """Tensors of a CLIP text encoder, without the prefix `text_model.` that older files have."""
    width, inner = config["hidden_size"], config["intermediate_size"]
    modules: dict[str, Shape] = {f"self_attn.{part}_proj": (width, width) for part in ("q", "k", "v", "out")}
    modules |= {"mlp.fc1": (inner, width), "mlp.fc2": (width, inner), "layer_norm1": (width,), "layer_norm2": (width,)}
    layers = range(config["num_hidden_layers"])
    tensors: dict[str, Shape] = {
        "embeddings.token_embedding.weight": (config["vocab_size"], width),
        "embeddings.position_embedding.weight": (config["max_position_embeddings"], width),
        "final_layer_norm.weight": (width,),
        "final_layer_norm.bias": (width,),
    }
    for name, shape in ((f"encoder.layers.{number}.{name}", modules[name]) for number in layers for name in modules):
        tensors |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    return tensors


def t5_tensors(config: dict[str, Any]) -> dict[str, Shape]:
    """Tensors of a T5 encoder but its embedding, which is stored under one of two names."""
    width, inner, heads = config["d_model"], config["d_ff"], config["num_heads"]
    inputs = ("wi_0", "wi_1") if str(config.get("feed_forward_proj", "relu")).startswith("gated") else ("wi",)
    modules: dict[str, Shape] = {f"layer.0.SelfAttention.{part}": (heads * config["d_kv"], width) for part in "qkv"}
    modules |= {"layer.0.SelfAttention.o": (width, heads * config["d_kv"]), "layer.0.layer_norm": (width,)}
    modules |= {f"layer.1.DenseReluDense.{part}": (inner, width) for part in inputs}
    modules |= {"layer.1.DenseReluDense.wo": (width, inner), "layer.1.layer_norm": (width,)}
    blocks = range(config["num_layers"])
    tensors = {f"encoder.block.{number}.{name}.weight": modules[name] for number in blocks for name in modules}
    buckets = (config.get("relative_attention_num_buckets", 32), heads)
    first = "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
    return tensors | {first: buckets, "encoder.final_layer_norm.weight": (width,)}


def vae_tensors(config: dict[str, Any]) -> set[str]:
    """Names of the tensors of an autoencoder, whose shapes diffusers compares when it loads it."""
    channels, layers = list(config["block_out_channels"]), int(config.get("layers_per_block", 1))
    modules = {"encoder.conv_in", "decoder.conv_in"}
    modules |= {name for name in ("quant_conv", "post_quant_conv") if config.get(f"use_{name}", True)}
    for part, order, kind, count, sampler in (
        ("encoder", channels, "down", layers, "downsamplers"),
        ("decoder", channels[::-1], "up", layers + 1, "upsamplers"),
    ):
        modules |= {f"{part}.conv_norm_out", f"{part}.conv_out"}
        modules |= _resnet(f"{part}.mid_block.resnets.0") | _resnet(f"{part}.mid_block.resnets.1")
        if config.get("mid_block_add_attention", True):
            attention = f"{part}.mid_block.attentions.0"
            modules |= {f"{attention}.{name}" for name in ("group_norm", "to_q", "to_k", "to_v", "to_out.0")}
        before = order[0]
        for level, width in enumerate(order):
            block = f"{part}.{kind}_blocks.{level}"
            for number in range(count):
                modules |= _resnet(f"{block}.resnets.{number}", shortcut=number == 0 and before != width)
            if level < len(order) - 1:
                modules.add(f"{block}.{sampler}.0.conv")
            before = width
    return _weights_and_biases(modules)


def _resnet(name: str, *, shortcut: bool = False) -> set[str]:
    parts = ("norm1", "conv1", "norm2", "conv2", *(("conv_shortcut",) if shortcut else ()))
    return {f"{name}.{part}" for part in parts}


def _weights_and_biases(modules: set[str]) -> set[str]:
    return {f"{module}.{kind}" for module in modules for kind in ("weight", "bias")}
