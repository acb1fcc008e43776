"""FP32 from weights in bfloat16: the same bits from half the memory."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING

import pytest
import torch
from real_engine import small_spec

from fluxkit.engine.flux.bf16_storage import WideningLinear, store_as_bf16
from fluxkit.engine.flux.captions import Embeddings
from fluxkit.engine.flux.transformer import Flux, load_flux
from fluxkit.engine.measure.agreement_probe import build_probe_transformer

if TYPE_CHECKING:
    from diffusers import FluxTransformer2DModel

CPU = torch.device("cpu")


def transformer() -> FluxTransformer2DModel:
    """A small FLUX with adapters that do something, in FP32, of weights that bfloat16 holds exactly."""
    model = build_probe_transformer()
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=draw))
    return model.eval()


def velocity(model: FluxTransformer2DModel) -> torch.Tensor:
    """What the model says about fixed tokens, in FP32."""
    draw = torch.Generator().manual_seed(1)
    tokens, sigma = torch.randn(2, 64, 16, generator=draw), torch.tensor([0.3, 0.7])
    captions = Embeddings(torch.randn(2, 8, 32, generator=draw), torch.randn(2, 32, generator=draw))
    with torch.no_grad():
        return Flux(model, CPU, dtype=torch.float32).velocity(tokens, sigma, captions, (16, 16))


def test_the_outcome_is_the_same_to_the_bit() -> None:
    """A model whose base is stored in bfloat16 gives the bits of the same one in FP32, adapters beside it in FP32."""
    plain = transformer()
    narrow = deepcopy(plain)
    share = store_as_bf16(narrow)
    assert torch.equal(velocity(narrow), velocity(plain))
    base = [module for name, module in narrow.named_modules() if isinstance(module, WideningLinear)]
    assert {parameter.dtype for module in base for parameter in module.parameters()} == {torch.bfloat16}
    adapters = {value.dtype for name, value in narrow.named_parameters() if "lora_" in name}
    assert adapters == {torch.float32}
    assert share == pytest.approx(
        sum(p.numel() for module in base for p in module.parameters()) / sum(p.numel() for p in narrow.parameters())
    )


def test_a_base_in_bfloat16_is_left_as_it_is() -> None:
    """Tuned on a base in bfloat16, the model gives the bits of that base loaded in FP32."""
    plain = transformer()
    narrow = deepcopy(plain)
    for name, parameter in narrow.named_parameters():
        if "lora_" not in name:
            parameter.data = parameter.data.bfloat16()
    store_as_bf16(narrow)
    assert torch.equal(velocity(narrow), velocity(plain))


def test_a_matrix_that_would_lose_something_stays_whole() -> None:
    """A fused adapter makes values that bfloat16 can't hold: those matrices stay in FP32, and nothing changes."""
    plain = transformer()
    plain.fuse_lora()
    plain.unload_lora()
    narrow = deepcopy(plain)
    share = store_as_bf16(narrow)
    assert torch.equal(velocity(narrow), velocity(plain))
    assert not isinstance(narrow.transformer_blocks[0].attn.to_q, WideningLinear)
    assert isinstance(narrow.x_embedder, WideningLinear)
    assert 0 < share < 0.5


def test_the_embedded_model_is_native_to_bfloat16_or_left_alone() -> None:
    """Whatever the embedded weights are, storing them narrow changes no bit of what the model says."""
    plain = load_flux(small_spec(), 0, CPU).transformer.eval()
    narrow = deepcopy(plain)
    store_as_bf16(narrow)
    captions = Embeddings(
        torch.ones(1, 8, plain.config.joint_attention_dim), torch.ones(1, plain.config.pooled_projection_dim)
    )
    tokens = torch.ones(1, 16, plain.config.in_channels)
    with torch.no_grad():
        one, other = (
            Flux(model, CPU, dtype=torch.float32).velocity(tokens, torch.tensor([0.5]), captions, (8, 8))
            for model in (plain, narrow)
        )
    assert torch.equal(one, other)
