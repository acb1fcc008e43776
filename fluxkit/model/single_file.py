"""A FLUX transformer given as one file: what it is, by its header, and its sizes, by the shapes in it."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fluxkit.errors import MachineError
from fluxkit.model.pipeline_files import ADVICE, SCHNELL_FOLDER, pipeline_folder, read_json, single_file
from fluxkit.model.tensor_names import bfl_tensors
from fluxkit.model.transformer_size import Transformer
from fluxkit.model.weight_files import check_pipeline, check_safetensors, check_tensors, guided
from fluxkit.spec.workload import ModelSpec

PREFIX = "model.diffusion_model."
"""Before every name, where a program saved the transformer as a part of something larger."""
ALL_IN_ONE = "is a checkpoint with text encoders and autoencoder in it (ComfyUI's all-in-one), which is not loaded"
ADAPTER = "is an adapter, not a model; an adapter is given as model.assistant_adapter"
OTHER_MODELS = {
    "input_blocks.": "is a Stable Diffusion checkpoint",
    "transformer_blocks.": "is a part of a pipeline in the diffusers layout: give the folder of the whole",
    "decoder.": "is an autoencoder alone",
    "encoder.": "is a text encoder alone",
    "text_model.": "is a text encoder alone",
}
"""What a file is whose tensors' names begin so."""


def check_model(model: ModelSpec) -> tuple[Path, dict[str, Any] | None]:
    """Passes pretrained weights that will be loaded.

    Gives the folder of the pipeline, and the configuration of a transformer that is not in it.

    Raises:
        MachineError: it is another model, or something is missing or damaged.
    """
    file = single_file(model)
    if file is None:
        folder = pipeline_folder(model)
        check_pipeline(folder)
        return folder, None
    # What the file is comes first: nobody should fetch the other parts for a file that is of no use.
    sizes = _sizes(file)
    if sizes["guidance_embeds"]:
        raise MachineError(guided(file))
    check_tensors(file, _tensors(file), dict(bfl_tensors(Transformer.from_config(sizes, str(file)))))
    folder = pipeline_folder(model)
    check_pipeline(folder, without=("transformer",))
    return folder, transformer_config(file, folder)


def transformer_config(file: Path, folder: Path) -> dict[str, Any]:
    """What diffusers calls the `config.json` of a transformer: sizes from the file's own shapes.

    How positions are encoded is in no shape: it is taken from the pipeline's configuration, or is that of schnell.

    Raises:
        MachineError: the file is not a FLUX transformer, or its positions are encoded in an unknown way.
    """
    sizes, stated = _sizes(file), folder / "transformer" / "config.json"
    head = sizes["attention_head_dim"]
    known = read_json(SCHNELL_FOLDER / "transformer" / "config.json")
    for config in (read_json(stated) if stated.is_file() else known, known):
        axes = config.get("axes_dims_rope")
        if isinstance(axes, list) and {*map(type, axes)} == {int} and sum(axes) == head:
            return {**config, **sizes}
    raise MachineError(
        f"{file} has heads of {head} channels, and nothing says how they encode positions; put the pipeline's "
        f"transformer/config.json into {folder}."
    )


def _sizes(file: Path) -> dict[str, Any]:
    """Sizes under the names of a `config.json`, from the shapes of a FLUX transformer."""
    tensors = _tensors(file)
    names = ("img_in", "txt_in", "vector_in.in_layer")
    try:
        (width, channels), (_, text), (_, pooled) = (tensors[f"{name}.weight"]["shape"] for name in names)
        (head,) = tensors["double_blocks.0.img_attn.norm.query_norm.scale"]["shape"]
        return {
            "in_channels": channels, "joint_attention_dim": text, "pooled_projection_dim": pooled,
            "attention_head_dim": head, "num_attention_heads": width // head,
            "num_layers": _blocks(tensors, "double_blocks"), "num_single_layers": _blocks(tensors, "single_blocks"),
            "guidance_embeds": any(name.startswith("guidance_in.") for name in tensors),
        }  # fmt: skip
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise MachineError(f"{file} {_other_model(tensors)}. {ADVICE}") from error


def _tensors(file: Path) -> dict[str, Any]:
    if file.suffix not in {".safetensors", ".gguf"}:
        raise MachineError(f"{file} is no .safetensors file; other kinds are never loaded. {ADVICE}")
    header = check_safetensors(file)
    parts = ("text_encoders.", "vae.", "conditioner.", "first_stage_model.", "cond_stage_model.")
    if any(name.startswith(parts) for name in header):
        raise MachineError(f"{file} {ALL_IN_ONE}. {ADVICE}")
    return {name.removeprefix(PREFIX): entry for name, entry in header.items() if name != "__metadata__"}


def _blocks(tensors: dict[str, Any], kind: str) -> int:
    return len({name.split(".")[1] for name in tensors if name.startswith(f"{kind}.")})


def _other_model(names: Iterable[str]) -> str:
    names = list(names)
    if any(".lora" in name or "lora_" in name for name in names):
        return ADAPTER
    return next(
        (kind for start, kind in OTHER_MODELS.items() if any(name.startswith(start) for name in names)),
        "is no FLUX transformer: it lacks img_in, txt_in, vector_in or double_blocks",
    )
