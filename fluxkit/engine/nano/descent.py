"""The one training loop of the recipe: AdamW, gradients clipped at 1, the learning rate a cosine after a warm-up."""

import math
import sys
from collections.abc import Callable

import torch
from torch import Tensor


def descend(
    model: torch.nn.Module, loss_of_batch: Callable[[], Tensor], *, name: str, steps: int, peak: float, warm_up: int
) -> None:
    """Trains `model` in place, and writes a line to standard error now and then.

    Args:
        model: every parameter of it is trained.
        loss_of_batch: draws a batch and gives its mean loss.
        name: of what is trained, for the lines.
        steps: optimiser steps.
        peak: the learning rate after the warm-up.
        warm_up: steps until then.
    """
    weights = list(model.parameters())
    optimizer = torch.optim.AdamW(weights, lr=peak, betas=(0.9, 0.99), weight_decay=0.0, fused=True)
    for step in range(steps):
        decay = 0.5 + 0.5 * math.cos(math.pi * step / steps)
        optimizer.param_groups[0]["lr"] = peak * min(1.0, (step + 1) / warm_up) * (0.01 + 0.99 * decay)
        loss = loss_of_batch()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if step % 100 == 0 or step == steps - 1:
            sys.stderr.write(f"{name} {step + 1}/{steps}: loss {loss.item():.4f}\n")
