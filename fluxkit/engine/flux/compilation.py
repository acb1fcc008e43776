"""Regional compilation: each kind of block once, so that it costs seconds and not minutes.

What is timed is compiled. What is graded runs uncompiled, as on every other machine. Source: diffusers
`compile_repeated_blocks`; PyTorch `torch.compile`.
"""

from contextlib import AbstractContextManager

import torch
from diffusers import FluxTransformer2DModel
from torch._dynamo.utils import calculate_time_spent

from fluxkit.errors import MachineError


def compile_blocks(transformer: FluxTransformer2DModel) -> float:
    """The next passes compile the blocks, whole graphs only, for the shapes and modes that they meet.

    Gives what `seconds_compiled` needs, to say later how long that took.
    """
    torch.compiler.reset()
    transformer.compile_repeated_blocks(fullgraph=True)
    return _seconds_spent()


def uncompiled() -> AbstractContextManager[None]:
    """Everything runs uncompiled, for a while."""
    return torch.compiler.set_stance("force_eager")


def seconds_compiled(began: float) -> float:
    """Seconds that this process has spent compiling since `compile_blocks`.

    Raises:
        MachineError: nothing was compiled, so the run would not be what its spec says.
    """
    seconds = _seconds_spent() - began
    if seconds <= 0:
        raise MachineError(
            "execution.compile is true, but torch compiled nothing in this environment; "
            "set it to false, or look for variables that switch torch.compile off."
        )
    return seconds


def _seconds_spent() -> float:
    return float(calculate_time_spent().get("total_wall_time", 0.0))
