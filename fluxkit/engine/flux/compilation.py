"""Regional compilation: each kind of block once, so that it costs seconds and not minutes.

What is timed is compiled. What is graded runs uncompiled, as on every other machine. Source: diffusers
`compile_repeated_blocks`; PyTorch `torch.compile`.
"""

from contextlib import AbstractContextManager

import torch
from diffusers import FluxTransformer2DModel
from torch._dynamo.utils import calculate_time_spent


def compile_blocks(transformer: FluxTransformer2DModel) -> float:
    """The next passes compile the blocks, whole graphs only, for the shapes and modes that they meet.

    Gives what `seconds_since` needs, to say later how long that took.
    """
    torch.compiler.reset()
    transformer.compile_repeated_blocks(fullgraph=True)
    return seconds_since(0.0)


def uncompiled() -> AbstractContextManager[None]:
    """Everything runs uncompiled, for a while."""
    return torch.compiler.set_stance("force_eager")


def seconds_since(began: float) -> float:
    """Seconds that this process has spent compiling since `compile_blocks`."""
    return float(calculate_time_spent().get("total_wall_time", 0.0)) - began
