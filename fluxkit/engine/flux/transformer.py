"""The FLUX transformer of a pipeline, ready to tune: its weights, how they are stored, and LoRA adapters on it.

B batch, L tokens, D packed width. Nothing outside this module knows which family a transformer belongs to.
"""

import json
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from diffusers import FluxTransformer2DModel
from diffusers.loaders.lora_base import LORA_WEIGHT_NAME_SAFE
from diffusers.utils import logging as diffusers_logging
from peft import LoraConfig, get_peft_model_state_dict
from peft.tuners.lora.layer import Linear as PeftLinear
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import linear
from transformers.utils import logging as transformers_logging

from fluxkit.engine.flux import flow
from fluxkit.engine.flux.assistant_adapter import Assistant
from fluxkit.engine.flux.bfl_layout import load_bfl_transformer
from fluxkit.engine.flux.captions import Embeddings
from fluxkit.engine.flux.precision import dtype_of
from fluxkit.engine.flux.random_weights import build_transformer
from fluxkit.engine.process.error_message import reading
from fluxkit.model.adapter_file import CONFIG_KEY
from fluxkit.model.pipeline_files import pipeline_folder, single_file
from fluxkit.spec.run_spec import RunSpec
from fluxkit.spec.workload import ModelSpec

# Anchored to the blocks: the plain name "proj_out" would also hit the model's last layer. Covers attention, the
# MLPs of the double blocks and the MLP of the single blocks, which hold half of the work.
LORA_TARGETS = (
    r"(single_)?transformer_blocks\.\d+\."
    r"(attn\.(to_q|to_k|to_v|to_out\.0|add_q_proj|add_k_proj|add_v_proj|to_add_out)"
    r"|ff\.net\.(0\.proj|2)|ff_context\.net\.(0\.proj|2)|proj_mlp|proj_out)"
)


def silence_libraries() -> None:
    """Keeps the libraries' own words and bars out of the engine's log."""
    diffusers_logging.set_verbosity_error()
    diffusers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()


class Flux:
    """A FLUX transformer on its device: predicts the velocity of packed tokens."""

    def __init__(
        self, transformer: FluxTransformer2DModel, device: torch.device, *,
        autocast: bool = False, dtype: torch.dtype | None = None,
    ) -> None:  # fmt: skip
        self.transformer = transformer.to(device)
        self.device = device
        self.forward: Any = self.transformer
        """What is called: the transformer itself, or its wrapper for several processes."""
        self.autocast = autocast
        self._dtype = dtype
        self._ids: dict[tuple[int, ...], Tensor] = {}

    @property
    def dtype(self) -> torch.dtype:
        """Of the tokens that the transformer reads: its own unless another one was set."""
        if self._dtype or self.autocast:
            return self._dtype or torch.float32
        return next(self.transformer.parameters()).dtype  # diffusers' own property walks through all modules

    def rounded_sigma(self, sigma_B: Tensor) -> Tensor:
        """Sigma as the model sees it: the transformer scales it by 1000 in its own dtype, and bfloat16 rounds that.

        Mixing image and noise with the rounded value keeps both sides of the loss in agreement.
        """
        return (sigma_B.to(self.dtype) * 1000).float() / 1000 if self.dtype != torch.float32 else sigma_B

    def velocity(self, tokens_BLD: Tensor, sigma_B: Tensor, captions: Embeddings, size: tuple[int, int]) -> Tensor:
        """Velocity (B, L, D) of noisy tokens (B, L, D) at sigma (B,); `size` is the latents' height and width."""
        captions = captions.to(self.device, self.dtype)
        with self._casting():
            return self.forward(
                hidden_states=tokens_BLD.to(self.dtype),
                timestep=sigma_B.to(self.dtype),
                guidance=None,
                pooled_projections=captions.pooled_NP,
                encoder_hidden_states=captions.prompt_NTE,
                txt_ids=self._positions(captions.prompt_NTE.shape[1]),
                img_ids=self._positions(*size),
                return_dict=False,
            )[0]

    def _positions(self, *size: int) -> Tensor:
        """Position ids of so many caption tokens, or of latents of that height and width."""
        if size not in self._ids:
            ids = flow.image_ids(*size) if len(size) > 1 else torch.zeros(*size, 3)
            self._ids[size] = ids.to(self.device)
        return self._ids[size]

    def _casting(self) -> AbstractContextManager[Any]:
        if not self.autocast:
            return nullcontext()
        # Each weight is used once a pass, so a cache of their casts would only keep all of them alive until its end.
        return torch.autocast(self.device.type, dtype=torch.bfloat16, cache_enabled=False)

    def trainable(self) -> dict[str, torch.nn.Parameter]:
        """The parameters that tuning changes, by name."""
        return {name: value for name, value in self.transformer.named_parameters() if value.requires_grad}


def load_flux(spec: RunSpec, seed: int, device: torch.device, assistant: Assistant | None = None) -> Flux:
    """The transformer of the spec, ready to tune: LoRA adapters in FP32 on any base, or every weight in FP32.

    bfloat16 means a bfloat16 base for LoRA, and autocast over FP32 weights for full tuning.
    """
    full = spec.tune.method == "full"
    dtype = torch.float32 if full else dtype_of(spec.execution.precision)
    int8 = spec.execution.quantization == "int8"
    if spec.model.can_draw:
        transformer = load_transformer(spec.model, dtype, seed)
        if assistant:
            assistant.add(transformer, +1.0)
        if int8:
            store_as_int8(transformer)
    else:
        after_block = store_block_as_int8 if int8 else None
        transformer = build_transformer(pipeline_folder(spec.model), dtype, device, after_block)
    transformer.requires_grad_(requires_grad=full)
    if not full:
        add_lora(transformer, spec.tune.lora_rank, spec.tune.lora_alpha, seed)
    if spec.execution.gradient_checkpointing:
        transformer.enable_gradient_checkpointing()
    return Flux(transformer, device, autocast=full and spec.execution.precision == "bfloat16")


def load_transformer(spec: ModelSpec, dtype: torch.dtype, seed: int) -> FluxTransformer2DModel:
    """The transformer with the weights that the spec names, on the CPU."""
    folder = pipeline_folder(spec)
    if spec.weights == "random":
        torch.manual_seed(flow.seed_of(seed, "weights"))
        config = FluxTransformer2DModel.load_config(folder, subfolder="transformer", local_files_only=True)
        return FluxTransformer2DModel.from_config(config).to(dtype)
    if file := single_file(spec):
        with reading(file):
            return load_bfl_transformer(file, folder, dtype)
    with reading(folder / "transformer"):
        return FluxTransformer2DModel.from_pretrained(
            folder, subfolder="transformer", dtype=dtype, use_safetensors=True, local_files_only=True
        )


def store_as_int8(transformer: FluxTransformer2DModel) -> None:
    """Stores the matrices of all blocks in 8 bits; block by block, so that never more than one exists twice."""
    for block in (*transformer.transformer_blocks, *transformer.single_transformer_blocks):
        store_block_as_int8(block)


def store_block_as_int8(block: torch.nn.Module) -> None:
    """Stores the matrices of a block in 8 bits with a scale per row; products are computed in bfloat16.

    Source: torchao's weight-only int8.
    """
    from torchao.quantization import Int8WeightOnlyConfig, quantize_

    # Older torchao would set up its compiler, and with that turn TF32 on.
    quantize_(block, Int8WeightOnlyConfig(set_inductor_config=False))


class OneAdapterLinear(PeftLinear):  # type: ignore[misc]  # peft is untyped
    """A linear layer with one adapter: peft's sum to the last bit, without its book of many adapters at every call."""

    def forward(self, x: Tensor) -> Tensor:
        """W x + b + (alpha / r) B A x, the adapter's part in its own dtype."""
        base = self.base_layer(x)
        down, up = self.lora_A["default"].weight, self.lora_B["default"].weight
        change = linear(linear(x.to(down.dtype), down), up)
        strength = self.scaling["default"]
        # A product with 1 changes nothing and costs a pass over memory, and another one backward.
        return (base + (change if strength == 1 else change * strength)).to(base.dtype)


def add_lora(transformer: FluxTransformer2DModel, rank: int, alpha: float, seed: int) -> None:
    """Adds LoRA adapters, seeded first; FP32 whatever the base is, since bfloat16 loses small updates."""
    torch.manual_seed(flow.seed_of(seed, "adapter"))
    transformer.add_adapter(
        LoraConfig(r=rank, lora_alpha=alpha, target_modules=LORA_TARGETS, init_lora_weights="gaussian")
    )
    for parameter in transformer.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    for module in transformer.modules():
        if type(module) is PeftLinear:  # not peft's layers of other storages
            module.__class__ = OneAdapterLinear


def save_lora(transformer: FluxTransformer2DModel, folder: Path) -> None:
    """Saves the adapters so that every program applies them with the strength that they were tuned with.

    ComfyUI multiplies by alpha / rank only where a tensor `alpha` lies beside the weights, and diffusers refuses such
    tensors together with a configuration. With alpha / rank folded into the weights both apply a factor of 1.
    Source: `comfy/weight_adapter/lora.py` of ComfyUI; `load_lora_adapter` of diffusers.
    """
    config = transformer.peft_config["default"].to_dict()
    alpha, rank = config["lora_alpha"], config["r"]
    stated = {f"transformer.{key}": value for key, value in (config | {"lora_alpha": rank}).items()}
    metadata = {
        "format": "pt",
        CONFIG_KEY: json.dumps(stated, default=sorted),  # peft has sets in it
        "strength": f"tuned with alpha / r = {alpha:g} / {rank}, which is folded into lora_B; lora_alpha is r here",
    }
    tensors = {
        f"transformer.{name}": (value * (alpha / rank) if "lora_B" in name else value).detach().cpu().contiguous()
        for name, value in get_peft_model_state_dict(transformer).items()
    }
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / LORA_WEIGHT_NAME_SAFE, metadata=metadata)
