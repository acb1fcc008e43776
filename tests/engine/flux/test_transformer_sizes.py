"""The closed formulas against the real model on the meta device and torch's own counter."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="the engine extra is not installed")

from diffusers import FluxTransformer2DModel  # noqa: E402
from made_up import SCHNELL  # noqa: E402
from peft import LoraConfig  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

from fluxkit.model.transformer_size import Transformer  # noqa: E402

TARGETS = (
    r"transformer_blocks\.\d+\.(attn\.(to_q|to_k|to_v|to_out\.0|add_q_proj|add_k_proj|add_v_proj|to_add_out)"
    r"|ff(_context)?\.net\.(0\.proj|2))"
    r"|single_transformer_blocks\.\d+\.(attn\.(to_q|to_k|to_v)|proj_mlp|proj_out)"
)
SMALL = Transformer(
    num_layers=1,
    num_single_layers=2,
    attention_head_dim=32,
    num_attention_heads=4,
    in_channels=64,
    joint_attention_dim=48,
    pooled_projection_dim=40,
)
DEEPER = SMALL.model_copy(update={"num_layers": 2, "num_single_layers": 3, "in_channels": 16})
GUIDED = SMALL.model_copy(update={"guidance_embeds": True})
IMAGE, TEXT, BATCH, RANK = 64, 20, 3, 4


def model_of(sizes: Transformer, *, lora: bool = False, checkpointing: bool = False) -> FluxTransformer2DModel:
    rope = (sizes.attention_head_dim - 24, 12, 12) if sizes is not SCHNELL else (16, 56, 56)
    with torch.device("meta"):
        model = FluxTransformer2DModel(axes_dims_rope=rope, **sizes.model_dump())
    if lora:
        model.requires_grad_(requires_grad=False)
        model.add_adapter(LoraConfig(r=RANK, lora_alpha=RANK, target_modules=TARGETS))
        model.to("meta")
    if checkpointing:
        model.enable_gradient_checkpointing()
    return model


def predict(model: FluxTransformer2DModel, sizes: Transformer, image: int, text: int, batch: int) -> torch.Tensor:
    with torch.device("meta"):
        return model(
            hidden_states=torch.empty(batch, image, sizes.in_channels),
            encoder_hidden_states=torch.empty(batch, text, sizes.joint_attention_dim),
            pooled_projections=torch.empty(batch, sizes.pooled_projection_dim),
            timestep=torch.empty(batch),
            guidance=torch.empty(batch) if sizes.guidance_embeds else None,
            img_ids=torch.zeros(image, 3),
            txt_ids=torch.zeros(text, 3),
            return_dict=False,
        )[0]


@pytest.mark.parametrize("sizes", [SMALL, DEEPER, GUIDED, SCHNELL], ids=["small", "deeper", "guided", "schnell"])
def test_parameters_are_exact(sizes: Transformer):
    """The formula gives the parameters of the real model, to the last one."""
    assert sum(each.numel() for each in model_of(sizes).parameters()) == sizes.parameters


@pytest.mark.parametrize("sizes", [SMALL, DEEPER], ids=["small", "deeper"])
def test_lora_parameters_are_exact(sizes: Transformer):
    """The formula gives the trainable parameters that peft really adds."""
    trainable = sum(each.numel() for each in model_of(sizes, lora=True).parameters() if each.requires_grad)
    assert trainable == sizes.lora_parameters(RANK)


@pytest.mark.parametrize(
    ("sizes", "image", "text", "batch"),
    [(SMALL, IMAGE, TEXT, BATCH), (DEEPER, IMAGE, TEXT, 1), (GUIDED, IMAGE, TEXT, 2), (SCHNELL, 256, 256, 1)],
    ids=["small", "deeper", "guided", "schnell"],
)
def test_forward_flops_agree_with_torch(sizes: Transformer, image: int, text: int, batch: int):
    """A forward pass costs exactly what torch's counter counts."""
    model = model_of(sizes)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        predict(model, sizes, image, text, batch)
    assert sizes.forward_flops(image, text, batch) == counter.get_total_flops()


@pytest.mark.parametrize("checkpointing", [False, True], ids=["plain", "checkpointed"])
@pytest.mark.parametrize("lora", [True, False], ids=["lora", "full"])
@pytest.mark.parametrize("sizes", [SMALL, DEEPER, GUIDED], ids=["small", "deeper", "guided"])
def test_training_flops_agree_with_torch(sizes: Transformer, lora: bool, checkpointing: bool):
    """A forward and backward pass costs exactly what torch's counter counts."""
    model = model_of(sizes, lora=lora, checkpointing=checkpointing).train()
    with FlopCounterMode(display=False) as counter:
        predict(model, sizes, IMAGE, TEXT, BATCH).sum().backward()
    predicted = sizes.train_flops(
        IMAGE, TEXT, BATCH, lora_rank=RANK if lora else None, gradient_checkpointing=checkpointing
    )
    assert predicted == counter.get_total_flops()
