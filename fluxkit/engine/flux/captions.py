"""Captions as the numbers that a FLUX transformer reads: the states of the T5 and CLIP text encoders.

N captions, T tokens of the longest caption, E width of the T5 states, P width of the CLIP state.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from fluxkit.engine.flux.flow import sent
from fluxkit.engine.process.error_message import reading
from fluxkit.model.pipeline_files import pipeline_folder
from fluxkit.spec.run_spec import RunSpec

TEXT_DTYPES = {"nano": torch.float32, "schnell": torch.bfloat16}
"""What the text encoders of a family are published in."""


@dataclass(frozen=True)
class Embeddings:
    """Encoded captions."""

    prompt_NTE: Tensor
    """Sequence states of T5."""
    pooled_NP: Tensor
    """Pooled states of CLIP."""

    def of(self, rows: list[int] | Tensor) -> Embeddings:
        """These rows, in that order."""
        # A list as an index would be copied to a GPU twice, and waited for each time.
        places = sent(torch.as_tensor(rows), self.prompt_NTE.device)
        return Embeddings(self.prompt_NTE[places], self.pooled_NP[places])

    def to(self, device: torch.device, dtype: torch.dtype) -> Embeddings:
        """The same on a device, in a dtype."""
        return Embeddings(self.prompt_NTE.to(device, dtype), self.pooled_NP.to(device, dtype))


def encode_captions(spec: RunSpec, captions: Iterable[str], device: torch.device) -> Iterator[Embeddings]:
    """Encodes captions, one row each, with the pipeline's own text encoders, which are freed after the last.

    The encoders run in the dtype they are published in. The result is in it too, on the CPU.
    """
    from diffusers import FluxPipeline  # half a second of text encoders, which cached captions do not need

    folder = pipeline_folder(spec.model)
    with reading(folder):
        text = FluxPipeline.from_pretrained(
            folder, transformer=None, vae=None, dtype=TEXT_DTYPES[spec.model.family],
            use_safetensors=True, local_files_only=True,
        ).to(device)  # fmt: skip
    length = min(spec.evaluate.max_sequence_length, text.tokenizer_2.model_max_length)
    for caption in captions:
        with torch.no_grad():
            prompt_NTE, pooled_NP, _ = text.encode_prompt(
                prompt=caption, prompt_2=None, device=device, max_sequence_length=length
            )
        yield Embeddings(prompt_NTE.cpu(), pooled_NP.cpu())
