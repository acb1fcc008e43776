"""The memory formulas against the GPU's own allocator."""

from __future__ import annotations

import pytest
import torch
from diffusers import FluxTransformer2DModel
from made_up import SCHNELL
from peft import LoraConfig

from fluxkit.engine.flux.transformer import LORA_TARGETS
from fluxkit.model.memory_formula import ForwardPass, inference_peak_bytes, tuning_peak_bytes

SIZES = SCHNELL.model_copy(update={"num_layers": 2, "num_single_layers": 4})
"""Blocks of schnell's own width, few of them."""
WORK = ForwardPass(image_tokens=1024, text_tokens=256, batch=2)


def model(cuda):
    torch.manual_seed(0)
    with cuda:
        made = FluxTransformer2DModel(**SIZES.model_dump()).to(torch.bfloat16)
    return made.requires_grad_(requires_grad=False)


def inputs(cuda):
    draw = {"device": cuda, "dtype": torch.bfloat16}
    return {
        "hidden_states": torch.randn(WORK.batch, WORK.image_tokens, SIZES.in_channels, **draw),
        "encoder_hidden_states": torch.randn(WORK.batch, WORK.text_tokens, SIZES.joint_attention_dim, **draw),
        "pooled_projections": torch.randn(WORK.batch, SIZES.pooled_projection_dim, **draw),
        "timestep": torch.rand(WORK.batch, **draw),
        "img_ids": torch.zeros(WORK.image_tokens, 3, device=cuda),
        "txt_ids": torch.zeros(WORK.text_tokens, 3, device=cuda),
        "return_dict": False,
    }


@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_peak_of_tuning_is_predicted(cuda, checkpointing):
    """The predicted peak of LoRA in bfloat16 is within 20 % of what the allocator saw."""
    flux = model(cuda)
    flux.add_adapter(LoraConfig(r=16, lora_alpha=16, target_modules=LORA_TARGETS))
    trained = [parameter for parameter in flux.parameters() if parameter.requires_grad]
    for parameter in trained:
        parameter.data = parameter.data.float()
    if checkpointing:
        flux.enable_gradient_checkpointing()
    optimizer = torch.optim.AdamW(trained, fused=True)
    batch = inputs(cuda)
    torch.cuda.reset_peak_memory_stats(cuda)
    for _ in range(2):  # the optimiser's state exists from the second step on
        flux.train()(**batch)[0].float().square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    predicted = tuning_peak_bytes(SIZES, WORK, lora_rank=16, precision="bfloat16", gradient_checkpointing=checkpointing)
    assert predicted == pytest.approx(torch.cuda.max_memory_allocated(cuda), rel=0.2)


def test_the_peak_of_inference_is_predicted(cuda):
    """The predicted peak of a forward pass is within 20 % of what the allocator saw."""
    flux, batch = model(cuda), inputs(cuda)
    torch.cuda.reset_peak_memory_stats(cuda)
    with torch.inference_mode():
        flux(**batch)
    predicted = inference_peak_bytes(SIZES, WORK, precision="bfloat16")
    assert predicted == pytest.approx(torch.cuda.max_memory_allocated(cuda), rel=0.2)
