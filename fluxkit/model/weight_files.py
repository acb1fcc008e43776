"""Whether a pipeline folder is a FLUX that fluxkit can tune, read from its JSON and safetensors headers alone.

Source: the diffusers pipeline layout (`model_index.json` names each component's library and class), the names of files
that diffusers and transformers read where no variant is asked for, and the safetensors format: 8 bytes of header
length, a JSON header with offsets, then the tensors.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from math import prod
from pathlib import Path
from typing import Any

from fluxkit.errors import MachineError
from fluxkit.model.pipeline_files import ADVICE, is_lfs_pointer, not_here, read_json
from fluxkit.model.tensor_names import Shape, clip_tensors, t5_tensors, transformer_tensors, vae_tensors
from fluxkit.model.transformer_size import Transformer
from fluxkit.units import counted

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
STEMS = {
    "transformer": "diffusion_pytorch_model",
    "vae": "diffusion_pytorch_model",
    "text_encoder": "model",
    "text_encoder_2": "model",
}
"""How the weight files of a component begin: other names are not looked at by the libraries that load them."""
WEIGHTED = tuple(STEMS)
INSIDE = {"vae": ("encoder.", "decoder."), "text_encoder": ("encoder.",), "text_encoder_2": ("encoder.block.",)}
"""How names of tensors begin that the libraries must have a place for; what else is in a file, such as T5's decoder,
does not matter. Of a transformer that is every name."""
SCHNELL_AXES = (16, 56, 56)
"""What diffusers takes for axes_dims_rope where a configuration does not say it."""
MAX_TOKENS = 1_000_000
"""Where a tokenizer states no length transformers takes 1e30, which its own code can't count to."""
DTYPES = ("F32", "F16", "BF16", "F64")
"""Precisions, as safetensors writes them, that are loaded as they are; others need a scale beside them."""
LIBRARIES = ("diffusers", "transformers")
"""Where the classes of a pipeline may come from."""
MAX_HEADER_BYTES = 100_000_000
LENGTH_BYTES = 8


def check_pipeline(folder: Path, *, without: Iterable[str] = ()) -> None:
    """Passes a FLUX pipeline without guidance whose files are whole and are those that will be loaded.

    Args:
        folder: the pipeline in the diffusers layout.
        without: components that are not taken from it.

    Raises:
        MachineError: it is another model, a part or a tensor is missing, or a file is cut short; with what would work.
    """
    index = read_json(folder / "model_index.json")
    name = index.get("_class_name")
    if name != "FluxPipeline":
        raise MachineError(f"{folder} is a {name or 'pipeline of unknown class'}, not a FluxPipeline. {ADVICE}")
    wanted = {component: kind for component, kind in COMPONENTS.items() if component not in without}
    if "transformer" in wanted and read_json(folder / "transformer" / "config.json").get("guidance_embeds"):
        raise MachineError(guided(folder))
    for component, kind in wanted.items():
        _check_component(folder, component, kind, index.get(component))
    read_json(folder / "scheduler" / "scheduler_config.json")
    _check_tokenizer(folder / "tokenizer", dict, ("vocab.json", "merges.txt"))
    _check_tokenizer(folder / "tokenizer_2", list, ("spiece.model",))
    for component in WEIGHTED:
        if component in wanted:
            _check_weights(folder / component)


def guided(model: Path) -> str:
    """What to tell who gives FLUX.1-dev."""
    return f"{model} is a guidance-distilled FLUX (dev): it needs a guidance scale, which schnell has not. {ADVICE}"


def _check_component(folder: Path, component: str, wanted: str | None, entry: object) -> None:
    library, kind = entry if isinstance(entry, list) and len(entry) == 2 else (None, None)  # noqa: PLR2004
    if kind is None or not (folder / component).is_dir():
        raise MachineError(f"{folder} has no {component}; download the whole pipeline again. {ADVICE}")
    if library not in LIBRARIES:
        raise MachineError(
            f"{folder} names code of its own ({library}) for its {component}, and a stranger's code is never run. "
            f"{ADVICE}"
        )
    if wanted is not None and kind != wanted:
        raise MachineError(f"{folder} has a {kind} as its {component}, where FLUX has a {wanted}. {ADVICE}")


def _check_tokenizer(folder: Path, vocabulary: type, instead: tuple[str, ...]) -> None:
    """Without a vocabulary transformers makes a tokenizer of nothing, and every caption becomes the same.

    CLIP's maps pieces to numbers, T5's is a list of pieces with their scores.
    """
    settings, file = folder / "tokenizer_config.json", folder / "tokenizer.json"
    longest = read_json(settings).get("model_max_length")
    if not isinstance(longest, int) or not 0 < longest <= MAX_TOKENS:
        raise MachineError(f"{settings} does not state model_max_length, the longest caption; download it again.")
    if file.is_file():
        model = read_json(file).get("model")
        pieces = model.get("vocab") if isinstance(model, dict) else None
        if not pieces:
            raise MachineError(f"{file} holds no vocabulary; download it again.")
        if not isinstance(pieces, vocabulary):
            raise MachineError(f"{file} is that of another text encoder; download it again.")
        return
    for name in instead:
        if not (folder / name).is_file():
            raise MachineError(f"{folder} has no tokenizer.json; download it again. {ADVICE}")
        if is_lfs_pointer(folder / name):
            raise MachineError(not_here(folder / name))
        if name.endswith(".json") and not read_json(folder / name):
            raise MachineError(f"{folder / name} holds no vocabulary; download it again.")
    if "spiece.model" in instead and find_spec("sentencepiece") is None:
        raise MachineError(
            f"{folder} has no tokenizer.json, and spiece.model is read only with sentencepiece; download "
            "tokenizer.json, or run: pip install sentencepiece."
        )


def _check_weights(component: Path) -> None:
    config = read_json(component / "config.json")
    if "quantization_config" in config:
        raise MachineError(f"{component} is quantized, which is not loaded: give the published weights. {ADVICE}")
    tensors: dict[str, Any] = {}
    for file, names in weight_files(component).items():
        header = check_safetensors(file)
        lacking = sorted(names - header.keys())
        if lacking:
            raise MachineError(_missing(file, lacking, "though the index says that it is there"))
        tensors |= header
    check_tensors(component, tensors, _expected(component, config))


def _expected(component: Path, config: dict[str, Any]) -> dict[str, Shape | None]:
    """Tensors that a component must have, of the autoencoder without their shapes."""
    kind, source = component.name, component / "config.json"
    if kind == "transformer":
        sizes = Transformer.from_config(config, str(source))
        _check_layout(config, source)
        return dict(transformer_tensors(sizes))
    try:
        if kind == "vae":
            return dict.fromkeys(vae_tensors(config))
        return dict(clip_tensors(config) if kind == "text_encoder" else t5_tensors(config))
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise MachineError(f"{source} does not describe this part of FLUX ({error}); download it again.") from error


def _check_layout(config: dict[str, Any], source: Path) -> None:
    """Refuses a transformer that diffusers builds otherwise than FLUX is, which it tells only when it computes."""
    axes = config.get("axes_dims_rope") or SCHNELL_AXES
    if config.get("out_channels") not in {None, config.get("in_channels")} or config.get("patch_size", 1) != 1:
        raise MachineError(f"{source} does not describe a FLUX transformer: out_channels or patch_size is another's.")
    if not isinstance(axes, list | tuple) or sum(axes) != config.get("attention_head_dim"):
        raise MachineError(
            f"{source} does not describe a FLUX transformer: axes_dims_rope = {axes!r} does not add up to "
            f"attention_head_dim = {config.get('attention_head_dim')!r}."
        )


def check_tensors(owner: Path, tensors: Mapping[str, Any], expected: Mapping[str, Shape | None]) -> None:
    """Whether headers hold every expected tensor, in its shape where that is known, in a precision that is loaded.

    Raises:
        MachineError: one is missing, or is another, or would be left out without a word.
    """
    prefix = "text_model." if owner.name == "text_encoder" else ""
    stored = {name.removeprefix(prefix): entry for name, entry in tensors.items() if name != "__metadata__"}
    if owner.name == "text_encoder_2" and not {"shared.weight", "encoder.embed_tokens.weight"} & stored.keys():
        raise MachineError(_missing(owner, ["shared.weight"], ""))
    lacking = [name for name in expected if name not in stored]
    if lacking:
        raise MachineError(_missing(owner, lacking, ""))
    inside = INSIDE.get(owner.name, ("",))
    if strangers := [name for name in stored if name not in expected and name.startswith(inside)]:
        if "guidance" in " ".join(strangers):
            raise MachineError(guided(owner))
        more = f" and {counted(len(strangers) - 1, 'other tensor')}" if len(strangers) > 1 else ""
        raise MachineError(
            f"{owner} holds the tensor {strangers[0]}{more}, which its sizes have no place for. {ADVICE}"
        )
    for name, shape in expected.items():
        dtype, real = stored[name].get("dtype"), tuple(stored[name].get("shape", ()))
        if dtype not in DTYPES:
            raise MachineError(f"{owner} stores {name} in {dtype}: give weights in BF16, as they were published.")
        if shape is not None and real != shape:
            raise MachineError(
                f"{owner} holds {name} in the shape {list(real)}, where its sizes ask for {list(shape)}. {ADVICE}"
            )


def _missing(owner: Path, names: list[str], why: str) -> str:
    more = f" and {counted(len(names) - 1, 'other tensor')}" if len(names) > 1 else ""
    return f"{owner} lacks the tensor {names[0]}{more}{', ' * bool(why)}{why}; download it again."


def weight_files(component: Path) -> dict[Path, set[str]]:
    """The safetensors files of a component that will be loaded, each with the tensors that an index says are in it.

    Raises:
        MachineError: there are none, or one that the index names is missing.
    """
    stem = STEMS[component.name]
    whole, index = component / f"{stem}.safetensors", component / f"{stem}.safetensors.index.json"
    # With both there, diffusers reads the shards and transformers the one file.
    if whole.is_file() and (stem == "model" or not index.is_file()):
        return {whole: set()}
    others = ", ".join(sorted(file.name for file in component.glob("*.safetensors*"))[:3])
    if not index.is_file():
        kind = " (only pickled ones, which are never loaded)" if not others and any(component.glob("*.bin")) else ""
        if others:
            raise MachineError(
                f"{component} has {others}, but only {whole.name} or {index.name} are loaded: rename what is there."
            )
        raise MachineError(f"{component} holds no safetensors weights{kind}. {ADVICE}")
    files: dict[Path, set[str]] = {}
    for tensor, name in _weight_map(index):
        files.setdefault(component / name, set()).add(tensor)
    for file in sorted(files):
        if "/" in str(file.relative_to(component)) or not file.is_file():
            there = f" (there are {others})" if others.partition(".safetensors.index")[0] else ""
            raise MachineError(f"{file} is missing, though {index.name} names it{there}; download the pipeline again.")
    return files


def _weight_map(index: Path) -> Iterator[tuple[str, str]]:
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict) or not places or not all(isinstance(name, str) for name in places.values()):
        raise MachineError(f"{index} has no weight_map, which says where every tensor is; download it again.")
    yield from places.items()


def check_safetensors(file: Path) -> dict[str, Any]:
    """The entries of a safetensors file that is as long as its header says: tensors, and `__metadata__`.

    Raises:
        MachineError: it is cut short or no safetensors file.
    """
    if is_lfs_pointer(file):
        raise MachineError(not_here(file))
    size = file.stat().st_size
    with file.open("rb") as stream:
        start = stream.read(LENGTH_BYTES)
        if start.startswith(b"GGUF"):
            raise MachineError(f"{file} is a GGUF file, whose weights are quantized, and is never loaded. {ADVICE}")
        length = int.from_bytes(start, "little")
        if not 1 < length <= min(MAX_HEADER_BYTES, size - LENGTH_BYTES):
            raise MachineError(f"{file} is cut short or no safetensors file; download it again.")
        try:
            header = json.loads(stream.read(length))
            entries = [entry for name, entry in header.items() if name != "__metadata__"]
            expected = LENGTH_BYTES + length + _covered_bytes(entries)
        except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
            raise MachineError(f"{file} has a damaged header; download it again.") from error
    if size < expected:
        raise MachineError(f"{file} is cut short: {size} of {expected} bytes; download it again.")
    if size > expected:
        raise MachineError(f"{file} is longer than its header says: {size} of {expected} bytes; download it again.")
    return dict(header)


def _covered_bytes(entries: Sequence[dict[str, Any]]) -> int:
    """Bytes of tensors that lie one behind the other, which is all that the library reads.

    Raises:
        ValueError: they overlap, leave a hole, or one is not as long as its shape says.
    """
    end = 0
    for entry in sorted(entries, key=lambda entry: tuple(entry["data_offsets"])):
        begin, stop = entry["data_offsets"]
        width = int(entry["dtype"].lstrip("BF")) // 8 if entry["dtype"] in DTYPES else None
        if begin != end or (width is not None and stop - begin != width * prod(entry["shape"])):
            raise ValueError("the tensors do not lie one behind the other")
        end = stop
    return end
