"""Where the pipeline folder of a model lies, and the sizes that its configuration files state."""

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

from fluxkit.errors import MachineError, drive_hint
from fluxkit.model.transformer_size import Transformer
from fluxkit.spec.workload import ModelSpec
from fluxkit.values import read_regular

NANO_FOLDER = Path(__file__).parent.parent / "data" / "nano"
"""The embedded pipeline, package data."""
SCHNELL_FOLDER = Path(__file__).parent.parent / "data" / "schnell"
"""The configuration files of FLUX.1-schnell without any weights, package data."""
LANDMARKS = ("model_index.json", "transformer/config.json")
"""Files by which a folder is recognised as a pipeline in the diffusers layout."""
NEAR = ("*", "snapshots/*", "*/snapshots/*", "*/*/snapshots/*")
"""Where pipelines lie below a folder that was given for one: one level down, or in a hub cache."""
MAX_JSON_BYTES = 10_000_000
ADVICE = "Give a FLUX.1-schnell pipeline in the diffusers layout."
PACK = 2
"""FLUX packs 2 x 2 latent pixels into one token."""


class PipelineSizes(NamedTuple):
    """What a pipeline's configuration files say about the work of one sample."""

    transformer: Transformer
    vae_factor: int
    """Pixels per latent pixel and side."""
    max_text_tokens: int | None
    """Longest caption of the T5 tokenizer; None where it states no limit."""


def pipeline_folder(model: ModelSpec) -> Path:
    """The diffusers pipeline folder of a model: package data, a path, or a snapshot in the local hub cache.

    Raises:
        MachineError: it is not on this machine, or is not a pipeline in the diffusers layout.
    """
    if not model.can_draw:
        return _recognised(SCHNELL_FOLDER, "The embedded architecture of schnell")
    if model.weights != "pretrained":
        return _recognised(NANO_FOLDER, "The embedded nano pipeline")
    if model.path is not None:
        path, title = Path(model.path), f"model.path = {model.path!r}"
        return _folder_of_single_file(path, title, model) if path.is_file() else _recognised(path, title)
    return _recognised(_snapshot(model), f"{model.repo} in the local hub cache")


def single_file(model: ModelSpec) -> Path | None:
    """The file that holds the transformer alone, where the spec gives one instead of a folder."""
    return Path(model.path) if model.path is not None and Path(model.path).is_file() else None


def _folder_of_single_file(file: Path, title: str, model: ModelSpec) -> Path:
    """The pipeline that the other components come from: the folder of the file, or else the snapshot of the repo."""
    if (file.parent / "model_index.json").is_file():
        return file.parent
    if model.repo:
        try:
            return _snapshot(model)
        except MachineError as error:
            raise MachineError(f"{title} is a transformer alone, and for the other parts of FLUX: {error}") from error
    raise MachineError(
        f"{title} is one file; FLUX also needs text encoders, tokenizers and an autoencoder. Put it, or a link to it, "
        "into a pipeline folder, or say by model.repo and model.revision which one of the hub cache has them."
    )


def _snapshot(model: ModelSpec) -> Path:
    snapshot = hub_cache() / f"models--{str(model.repo).replace('/', '--')}" / "snapshots"
    folder = snapshot / str(model.revision)
    if not folder.is_dir():
        raise MachineError(
            f"{model.repo} at revision {model.revision} is not in the local hub cache; "
            f"fetch it with: hf download {model.repo} --revision {model.revision}, or give model.path."
        )
    return folder


def hub_cache() -> Path:
    """Folder of the local hub cache, as huggingface_hub itself finds it.

    Raises:
        MachineError: huggingface_hub is not installed, so nothing here could read it.
    """
    try:
        from huggingface_hub import constants
    except ImportError as error:
        raise MachineError(
            "The hub cache is read by huggingface_hub; run: pip install 'fluxkit[engine]', or give model.path."
        ) from error
    return Path(constants.HF_HUB_CACHE)


def read_sizes(folder: Path, transformer_config: dict[str, Any] | None = None) -> PipelineSizes:
    """The sizes in the configuration files of a pipeline folder, or of a transformer that is not in it.

    Raises:
        MachineError: one of them is missing, is not JSON or does not describe a part of FLUX.
    """
    vae, tokenizer = folder / "vae" / "config.json", folder / "tokenizer_2" / "tokenizer_config.json"
    transformer = folder / "transformer" / "config.json"
    levels = read_json(vae).get("block_out_channels")
    if not isinstance(levels, list) or not 1 <= len(levels) <= 10:  # noqa: PLR2004 - a factor of 2 per level
        raise MachineError(f"{vae} does not describe an autoencoder: block_out_channels is missing or no list.")
    longest = read_json(tokenizer).get("model_max_length")
    return PipelineSizes(
        transformer=Transformer.from_config(transformer_config or read_json(transformer), str(transformer)),
        vae_factor=2 ** (len(levels) - 1),
        max_text_tokens=longest if isinstance(longest, int) and longest > 0 else None,
    )


def read_json(file: Path, advice: str = ADVICE) -> dict[str, Any]:
    """A JSON object from a file of reasonable size, in UTF-8 without a mark, as the libraries read it.

    Raises:
        MachineError: it is missing, too large or something else.
    """
    try:
        values = json.loads(read_regular(file, MAX_JSON_BYTES).decode("utf-8"))
    except OSError as error:
        raise MachineError(f"{file} can't be read: {error.strerror}. {advice}") from error
    except (ValueError, RecursionError) as error:
        found = f"{file} is not JSON in UTF-8 without a byte order mark. {advice}"
        raise MachineError(not_here(file) if is_lfs_pointer(file) else found) from error
    if not isinstance(values, dict):
        raise MachineError(f"{file} is not a JSON object. {advice}")
    return values


def is_lfs_pointer(file: Path) -> bool:
    """Whether a file only says where Git LFS keeps the real one.

    Source: the specification of Git LFS: a pointer begins with its version.
    """
    with file.open("rb") as stream:
        return stream.read(24) == b"version https://git-lfs."


def not_here(file: Path) -> str:
    """What to tell about a pointer of Git LFS."""
    return f"{file} is a Git LFS pointer, not the file itself; run git lfs pull there, or download it with hf download."


def _recognised(folder: Path, title: str) -> Path:
    missing = [name for name in LANDMARKS if not (folder / name).is_file()]
    if missing and not folder.exists():
        raise MachineError(f"{title} is not there{_meant_repository(folder)}{drive_hint(str(folder))}. {ADVICE}")
    if missing:
        raise MachineError(
            f"{title} is not a pipeline folder in the diffusers layout: {' and '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} missing{_what_is_there(folder)}."
        )
    return folder


def _meant_repository(path: Path) -> str:
    """A hint for who gives a repository's name or address as a path."""
    name = "/".join(path.parts[-2:])
    is_address = "http" in str(path)
    if (path.parent.exists() and not is_address) or not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        return ""
    return f'; if you mean the repository on the hub, write model.repo = "{name}" and model.revision = "<commit>"'


def _what_is_there(folder: Path) -> str:
    """What a folder is that was taken for a pipeline, and what to give instead."""
    pipelines = sorted(file.parent for pattern in NEAR for file in folder.glob(f"{pattern}/model_index.json"))
    if pipelines:
        return f"; it is a folder of pipelines or a hub cache: give {' or '.join(map(str, pipelines[:3]))}"
    if (folder.parent / "model_index.json").is_file():
        return f"; it is one part of a pipeline: give {folder.parent}"
    files = sorted(file for file in folder.glob("*.safetensors") if file.name.startswith("flux"))
    if files:
        return f"; it holds a single file in the layout of Black Forest Labs: give {files[0]}"
    if any(folder.glob("*.gguf")):
        return "; it holds a GGUF file, whose weights are quantized, and is never loaded"
    return ""
