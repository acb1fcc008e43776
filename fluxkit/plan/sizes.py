"""What a run's files say about its work, read once: the model's configuration, and how many pictures there are."""

from pathlib import Path
from typing import NamedTuple

from fluxkit.dataset.photos import photos
from fluxkit.dataset.picture_folder import list_folder
from fluxkit.errors import MachineError
from fluxkit.model.adapter_file import check_fit, read_adapter
from fluxkit.model.memory_formula import FLOAT32, ForwardPass
from fluxkit.model.pipeline_files import PACK, PipelineSizes, pipeline_folder, read_sizes, single_file
from fluxkit.model.single_file import check_model, transformer_config
from fluxkit.model.transformer_size import Cost, Transformer
from fluxkit.spec.run_spec import RunSpec

TEXT_BYTES = {"nano": 4, "schnell": 2}
"""Per number of an encoded caption, in the precision that the text encoders are published in."""


class Sizes(NamedTuple):
    """How large the work of a run is; everything else about a plan follows from this, the spec and the devices."""

    transformer: Transformer
    sample: ForwardPass
    """Tokens of one sample."""
    cost: Cost
    """Parameters, and FLOPs of a sample and of an optimiser step over the global batch."""
    caption_numbers: int
    """Numbers of all encoded captions together, the empty one included."""
    cache_bytes: int
    """Of the opened pictures, and of the encoded images and captions, that a run keeps for the next."""


def sizes_of(spec: RunSpec, folder: Path | None = None) -> Sizes:
    """The sizes of a run: reads the model's configuration and lists the pictures, each once.

    Args:
        spec: what is asked.
        folder: where the model's configuration lies, if not where the spec says; its weights are then not looked at.

    Raises:
        MachineError: files are missing or damaged, the resolution does not suit the model, or there is no picture.
    """
    pipeline = _pipeline_of(spec, folder)
    transformer, unit = pipeline.transformer, pipeline.vae_factor * PACK
    if folder is None and spec.model.assistant_adapter:
        check_fit(read_adapter(spec.model.assistant_adapter), transformer)
    if spec.data.resolution % unit:
        raise MachineError(
            f"data.resolution = {spec.data.resolution} is not divisible by {unit}, the pixels per token of this model."
        )
    image_tokens, length = (spec.data.resolution // unit) ** 2, spec.evaluate.max_sequence_length
    text_tokens = min(length, pipeline.max_text_tokens or length)
    pictures, texts = _counts(spec)
    caption = text_tokens * transformer.joint_attention_dim + transformer.pooled_projection_dim
    latents = pictures * image_tokens * transformer.in_channels
    return Sizes(
        transformer=transformer,
        sample=ForwardPass(image_tokens, text_tokens),
        cost=transformer.cost(
            image_tokens,
            text_tokens,
            spec.tune.global_batch_size,
            lora_rank=spec.tune.lora_rank if spec.tune.method == "lora" else None,
            gradient_checkpointing=spec.execution.gradient_checkpointing,
        ),
        caption_numbers=(pictures + 1) * caption,
        cache_bytes=pictures * 3 * spec.data.resolution**2
        + (latents * FLOAT32 + (texts + 1) * caption * TEXT_BYTES[spec.model.family] if spec.model.can_draw else 0),
    )


def _pipeline_of(spec: RunSpec, folder: Path | None) -> PipelineSizes:
    """The sizes that its files state; a folder that is given replaces the one of the spec."""
    config = None
    if spec.model.weights != "pretrained":
        folder = folder or pipeline_folder(spec.model)
    elif folder is None:
        folder, config = check_model(spec.model)
    elif file := single_file(spec.model):
        config = transformer_config(file, folder)
    return read_sizes(folder, config)


def _counts(spec: RunSpec) -> tuple[int, int]:
    """Pictures, and how many different captions they have at most: the details of one photo share theirs."""
    if spec.data.source == "folder":
        listed = len(list_folder(spec.data)[0])
        return listed, listed
    return sum(1 + len(photo.details) for photo in photos()), sum(1 + bool(photo.details) for photo in photos())
