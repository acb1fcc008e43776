"""Host time of one LoRA step as deep as schnell's, so narrow that arithmetic does not count: compiled against eager.

One thread, a batch of one. What is left of the compiled step is named in the row: forward, backward, clipping,
optimizer, how many compiled graphs each step enters, and what the compiled forward pass consists of.
"""

import time
from itertools import pairwise

import torch
from diffusers import FluxTransformer2DModel

from bench.pairs import ATTENTION, MATRIX_PRODUCTS, Options, Row, paired_row, seconds_within
from fluxkit.engine.flux.compilation import compile_blocks, seconds_compiled
from fluxkit.engine.flux.transformer import add_lora, silence_libraries

STEPS = 2
WITHIN_FORWARD = {
    "guards": ("TorchDynamo Cache Lookup",),
    "matrix products": MATRIX_PRODUCTS,
    "attention": ATTENTION,
    "the graphs' own Python and kernels": ("## Call CompiledFxGraph",),
    "entering a graph": ("Torch-Compiled Region", "Pregraph bytecode", "AOTDispatcher", "CompiledFunction"),
}
"""What the profiler calls the parts of a compiled forward pass."""
DOUBLE_BLOCKS, SINGLE_BLOCKS = 19, 38


class NarrowStep:
    """One tuning step of the narrow model, and where its seconds went."""

    def __init__(self, *, compiled: bool) -> None:
        self.transformer = FluxTransformer2DModel(
            in_channels=16, num_layers=DOUBLE_BLOCKS, num_single_layers=SINGLE_BLOCKS, attention_head_dim=16,
            num_attention_heads=2, joint_attention_dim=32, pooled_projection_dim=32, axes_dims_rope=(4, 6, 6),
        ).to(torch.bfloat16).requires_grad_(requires_grad=False)  # fmt: skip
        add_lora(self.transformer, 4, 4.0, 0)
        self.transformer.train()
        self._weights = [value for value in self.transformer.parameters() if value.requires_grad]
        self._optimizer = torch.optim.AdamW(self._weights, fused=True)
        self._inputs = {
            "hidden_states": torch.randn(1, 4, 16).bfloat16(),
            "encoder_hidden_states": torch.randn(1, 4, 32).bfloat16(),
            "pooled_projections": torch.randn(1, 32).bfloat16(), "timestep": torch.rand(1).bfloat16(),
            "img_ids": torch.zeros(4, 3), "txt_ids": torch.zeros(4, 3), "return_dict": False,
        }  # fmt: skip
        self.compile_seconds = 0.0
        if compiled:
            began = compile_blocks(self.transformer)
            self.parts(), self.parts()
            self.compile_seconds = seconds_compiled(began)

    def forward(self) -> torch.Tensor:
        """The model's prediction, in float32."""
        return self.transformer(**self._inputs)[0].float()

    def parts(self) -> dict[str, float]:
        """Takes a step; seconds of this processor in each part of it."""
        clock = [time.process_time()]
        loss = self.forward().square().mean()
        clock.append(time.process_time())
        loss.backward()
        clock.append(time.process_time())
        torch.nn.utils.clip_grad_norm_(self._weights, 1.0, foreach=True)
        clock.append(time.process_time())
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        clock.append(time.process_time())
        names = ("forward", "backward", "clipping", "optimizer")
        return {name: end - start for name, (start, end) in zip(names, pairwise(clock), strict=True)}


def rows(options: Options) -> list[Row]:
    """One row."""
    silence_libraries()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        compiled, eager = NarrowStep(compiled=True), NarrowStep(compiled=False)
        return [
            paired_row(
                "host-compiled-over-eager", "host seconds of a compiled LoRA step of schnell's depth / of an eager one",
                lambda: options.seconds(lambda: [compiled.parts() for _ in range(STEPS)]),
                lambda: options.seconds(lambda: [eager.parts() for _ in range(STEPS)]),
                options.pairs, steps=STEPS, threads=1, compile_seconds=compiled.compile_seconds,
                graph_entries={"forward": DOUBLE_BLOCKS + SINGLE_BLOCKS, "backward": DOUBLE_BLOCKS + SINGLE_BLOCKS},
                compiled_parts=_best(compiled), eager_parts=_best(eager),
                compiled_forward=seconds_within(compiled.forward, WITHIN_FORWARD, calls=5), at_most=0.40,
            )
        ]  # fmt: skip
    finally:
        torch.set_num_threads(threads)


def _best(step: NarrowStep) -> dict[str, float]:
    """The least seconds of each part over five steps."""
    taken = [step.parts() for _ in range(5)]
    return {name: min(parts[name] for parts in taken) for name in taken[0]}
