"""Whether a pipeline folder is a FLUX that fluxkit can tune, read from its JSON and safetensors headers alone.

Source: the diffusers pipeline layout (`model_index.json` names each component's library and class), and the
safetensors format: 8 bytes of header length, a JSON header with offsets, then the tensors.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fluxkit.errors import MachineError
from fluxkit.model.pipeline_files import ADVICE, read_json

COMPONENTS = {
    "transformer": "FluxTransformer2DModel",
    "vae": "AutoencoderKL",
    "text_encoder": "CLIPTextModel",
    "text_encoder_2": "T5EncoderModel",
    "tokenizer": None,
    "tokenizer_2": None,
    "scheduler": "FlowMatchEulerDiscreteScheduler",
}
"""What a FLUX pipeline is made of; tokenizers are renamed from version to version."""
WEIGHTED = ("transformer", "vae", "text_encoder", "text_encoder_2")
MAX_HEADER_BYTES = 100_000_000
LENGTH_BYTES = 8


def check_pipeline(folder: Path) -> None:
    """Passes a FLUX pipeline without guidance whose weight files are whole.

    Raises:
        MachineError: it is another model, a part is missing, or a file is cut short; with what would work.
    """
    index = read_json(folder / "model_index.json")
    name = index.get("_class_name")
    if name != "FluxPipeline":
        raise MachineError(f"{folder} is a {name or 'pipeline of unknown class'}, not a FluxPipeline. {ADVICE}")
    if read_json(folder / "transformer" / "config.json").get("guidance_embeds"):
        raise MachineError(
            f"{folder} is a guidance-distilled FLUX (dev): it needs a guidance scale, which schnell has not. {ADVICE}"
        )
    for component, wanted in COMPONENTS.items():
        entry = index.get(component)
        kind = entry[1] if isinstance(entry, list) and len(entry) == 2 else None  # noqa: PLR2004 - library, class
        if kind is None or not (folder / component).is_dir():
            raise MachineError(f"{folder} has no {component}; download the whole pipeline again. {ADVICE}")
        if wanted is not None and kind != wanted:
            raise MachineError(f"{folder} has a {kind} as its {component}, where FLUX has a {wanted}. {ADVICE}")
    for component in WEIGHTED:
        for file in weight_files(folder / component):
            check_safetensors(file)


def weight_files(component: Path) -> Iterator[Path]:
    """The safetensors files of a component, sharded or not.

    Raises:
        MachineError: there are none, or one that the index names is missing.
    """
    indexes = sorted(component.glob("*.safetensors.index.json"))
    if indexes:
        names = set(read_json(indexes[0]).get("weight_map", {}).values())
    else:
        names = {file.name for file in component.glob("*.safetensors")}
    if not names:
        kind = " (only pickled ones, which are never loaded)" if any(component.glob("*.bin")) else ""
        raise MachineError(f"{component} holds no safetensors weights{kind}. {ADVICE}")
    for name in sorted(names):
        file = component / name
        if "/" in name or not file.is_file():
            raise MachineError(f"{file} is missing, though its index names it; download the pipeline again.")
        yield file


def check_safetensors(file: Path) -> dict[str, Any]:
    """The header of a safetensors file that is as long as its header says.

    Raises:
        MachineError: it is cut short or no safetensors file.
    """
    size = file.stat().st_size
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(LENGTH_BYTES), "little")
        if not 1 < length <= min(MAX_HEADER_BYTES, size - LENGTH_BYTES):
            raise MachineError(f"{file} is cut short or no safetensors file; download it again.")
        try:
            header = json.loads(stream.read(length))
            ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
            raise MachineError(f"{file} has a damaged header; download it again.") from error
    expected = LENGTH_BYTES + length + max(ends, default=0)
    if size < expected:
        raise MachineError(f"{file} is cut short: {size} of {expected} bytes; download it again.")
    return dict(header)
