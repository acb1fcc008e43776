"""A LoRA adapter for a FLUX transformer: which file it is and which layers it changes, by its header alone.

Six tools write it with other names, and all of them are read: kohya's scripts, ai-toolkit, SimpleTuner, OneTrainer,
diffusers and peft. What could not be computed rightly is refused: a part that is left out makes another adapter.

Source: the converters in diffusers' `lora_conversion_utils` and the key maps of ComfyUI's `comfy/lora.py`.
"""

import json
import re
from math import isfinite, prod
from pathlib import Path
from typing import Any, NamedTuple

from fluxkit.errors import MachineError, drive_hint
from fluxkit.model.pipeline_files import read_json
from fluxkit.model.tensor_names import DOUBLE_BLOCK, EDGES, SINGLE_BLOCK, module_shapes, parts_of
from fluxkit.model.transformer_size import Transformer
from fluxkit.model.weight_files import DTYPES, check_safetensors

CONFIG_FILE = "adapter_config.json"
"""Where peft writes rank and alpha."""
CONFIG_KEY = "lora_adapter_metadata"
"""Where diffusers writes them: peft's configuration as JSON in the header of the file."""
PREFIXES = (
    "base_model.model.", "model.diffusion_model.", "diffusion_model.", "transformer.",
    "lora_transformer_", "lora_unet_", "lycoris_",
)  # fmt: skip
ROLES = {
    "down": r"(?:\.lora_A(?:\.default)?|\.lora_down|\.lora\.down|\.lora_linear_layer\.down|_lora\.down)\.weight",
    "up": r"(?:\.lora_B(?:\.default)?|\.lora_up|\.lora\.up|\.lora_linear_layer\.up|_lora\.up)\.weight",
    "alpha": r"\.alpha",
}
"""How the names of the three tensors of a layer end."""
REFUSED = {
    r"dora_scale|magnitude": "it is a DoRA, whose magnitudes belong to the weights that it was trained on",
    r"^(?:lora_te|text_encoder|text_encoders\.|te\d?\.|bundle_emb)": "it changes a text encoder too",
    r"lokr_|hada_|oft_|\.diff(?:_b)?$|lora_mid|glora|\.[ab][12]\.weight$": "it is no plain LoRA",
    r"bias$": "it changes biases too",
}
"""What is known of tensors that are not read."""
CHANGED_BASE = ("pissa", "olora", "corda", "loftq", "eva", "lora_ga")
"""Ways of peft to begin a LoRA that change the base as well, or may."""
OTHER_PRODUCTS = ("use_qalora", "use_bdlora", "alora_invocation_tokens", "arrow_config", "layer_replication",
                  "target_parameters")  # fmt: skip
"""Keys of peft's configuration under which the two matrices are not simply multiplied and added to a layer."""
PLAIN = "Give a plain LoRA for the FLUX transformer."


class AdapterLayer(NamedTuple):
    """Names of the tensors that change one layer."""

    down: str
    up: str
    alpha: str | None
    inputs: int
    outputs: int


class AdapterFile(NamedTuple):
    """A LoRA whose every tensor is understood."""

    file: Path
    layers: dict[str, AdapterLayer]
    """By the layer's name, in diffusers' layout or in that of Black Forest Labs."""
    config: dict[str, Any]
    """peft's configuration; empty where the file has none."""


def adapter_files(path: str) -> list[Path]:
    """The files of an adapter: its tensors, and its configuration where peft wrote one beside them.

    Raises:
        MachineError: there is none, or several and nothing says which.
    """
    given, title = Path(path), f"model.assistant_adapter = {path!r}"
    if given.is_dir():
        files = sorted(given.glob("*.safetensors"))
        names = ", ".join(file.name for file in files[:5])
        if len(files) > 1:
            raise MachineError(f"{title} holds {len(files)} adapters ({names}); name the one that is meant.")
        if not files:
            raise MachineError(
                f"{title} is a folder without a .safetensors file; give the adapter's own folder or file."
            )
        given = files[0]
    elif not given.is_file():
        raise MachineError(f"{title} is not there{drive_hint(path)}; give a LoRA file, or the folder that holds it.")
    if given.suffix != ".safetensors":
        raise MachineError(f"{title} is no .safetensors file; others may hold pickled code and are never loaded.")
    config = given.with_name(CONFIG_FILE)
    return [given, config] if config.is_file() else [given]


def read_adapter(path: str) -> AdapterFile:
    """The adapter at a path, read from its header.

    Raises:
        MachineError: it is not there, damaged, or something in it is not understood; with the name of that.
    """
    file, *configs = adapter_files(path)
    header = check_safetensors(file)
    parts: dict[str, dict[str, str]] = {}
    for key, entry in header.items():
        if key == "__metadata__":
            continue
        layer, role = _understood(file, key)
        if entry.get("dtype") not in DTYPES:
            raise MachineError(_refusal(file, f"it is stored in {entry.get('dtype')}", key))
        if role in parts.setdefault(layer, {}):
            raise MachineError(_refusal(file, f"it changes {layer} twice", f"{parts[layer][role]} and {key}"))
        parts[layer][role] = key
    if not parts:
        raise MachineError(_refusal(file, "it holds no tensor", file.name))
    config = read_json(configs[0], PLAIN) if configs else _embedded_config(file, header.get("__metadata__"))
    _check_config(file, config)
    modules: dict[str, str] = {}
    for layer in parts:
        for module in parts_of(layer):  # one may be named in both layouts
            if other := modules.get(module):
                raise MachineError(_refusal(file, f"it changes {module} twice", f"as {other} and {layer}"))
            modules[module] = layer
    return AdapterFile(file, {name: _layer(file, header, keys) for name, keys in parts.items()}, config)


def _understood(file: Path, key: str) -> tuple[str, str]:
    """Layer and role of a tensor."""
    for pattern, why in REFUSED.items():
        if re.search(pattern, key):
            raise MachineError(_refusal(file, why, key))
    for role, pattern in ROLES.items():
        if match := re.search(f"{pattern}$", key):
            name = key[: match.start()]
            for prefix in PREFIXES:
                name = name.removeprefix(prefix)
            if layer := layer_name(name.replace(".processor.", ".")):
                return layer, role
    raise MachineError(_refusal(file, "one of its tensors is not understood", key))


def layer_name(name: str) -> str | None:
    """The layer of FLUX that a tool means, whether it writes dots or underscores; None where there is none such."""
    match = re.fullmatch(r"((?:double|single|transformer|single_transformer)_blocks)[._](\d{1,4})[._](.+)", name)
    kind, number, rest = match.groups() if match else ("", "", name)
    layer = _LAYERS[kind].get(rest.replace(".", "_"))
    return f"{kind}.{number}.{layer}" if layer and kind else layer


def _by_underscores(names: list[str]) -> dict[str, str]:
    """Layers by their names with underscores; norms have no matrix to adapt."""
    layers = {name.replace(".", "_"): name for names_of_one in names for name in names_of_one.split()}
    # Older diffusers wrote the layer that holds the product.
    return layers | ({"attn_to_out": "attn.to_out.0"} if "attn_to_out_0" in layers else {})


_LAYERS = {
    "": _by_underscores([*EDGES, *EDGES.values()]),
    "double_blocks": _by_underscores([name for name in DOUBLE_BLOCK if "_norm" not in name]),
    "single_blocks": _by_underscores([name for name in SINGLE_BLOCK if "_norm" not in name]),
    "transformer_blocks": _by_underscores([name for name in DOUBLE_BLOCK.values() if ".norm_" not in name]),
    "single_transformer_blocks": _by_underscores([name for name in SINGLE_BLOCK.values() if ".norm_" not in name]),
}


def _layer(file: Path, header: dict[str, Any], keys: dict[str, str]) -> AdapterLayer:
    if not {"down", "up"} <= keys.keys():
        raise MachineError(_refusal(file, "one of a layer's two matrices is missing", next(iter(keys.values()))))
    down, up = header[keys["down"]].get("shape"), header[keys["up"]].get("shape")
    if not (len(down) == len(up) == 2 and down[0] == up[1] > 0):  # noqa: PLR2004 - matrices
        raise MachineError(_refusal(file, f"its shapes {down} and {up} are no pair of matrices", keys["down"]))
    alpha = keys.get("alpha")
    if alpha and prod(header[alpha].get("shape")) != 1:
        raise MachineError(_refusal(file, "its alpha is no number", alpha))
    return AdapterLayer(keys["down"], keys["up"], alpha, inputs=down[1], outputs=up[0])


def _embedded_config(file: Path, metadata: object) -> dict[str, Any]:
    text = metadata.get(CONFIG_KEY) if isinstance(metadata, dict) else None
    try:
        values = dict(json.loads(text)) if text else {}
    except (TypeError, ValueError, RecursionError) as error:
        raise MachineError(_refusal(file, "its configuration is damaged", CONFIG_KEY)) from error
    return {key.removeprefix("transformer."): value for key, value in values.items()}


def check_fit(adapter: AdapterFile, sizes: Transformer) -> None:
    """Whether a transformer of these sizes has every layer that the adapter changes.

    Raises:
        MachineError: it has not, or in another size.
    """
    shapes = module_shapes(sizes)
    for name, layer in adapter.layers.items():
        parts = [shapes.get(part, (0, 0)) for part in parts_of(name)]
        if {layer.inputs} != {part[-1] for part in parts} or layer.outputs != sum(part[0] for part in parts):
            raise MachineError(
                f"{adapter.file} can't assist tuning: it changes {name} with {layer.inputs} inputs and {layer.outputs} "
                f"outputs, which this transformer has not in that size. {PLAIN}"
            )


def _check_config(file: Path, config: dict[str, Any]) -> None:
    """Refuses what the tensors' names do not show."""
    kinds = {
        "it is a DoRA, whose magnitudes belong to the weights that it was trained on": config.get("use_dora"),
        "it changes biases too": config.get("lora_bias") or config.get("bias", "none") != "none",
        "it is no plain LoRA": config.get("peft_type", "LORA") != "LORA" or any(map(config.get, OTHER_PRODUCTS)),
        "it changed its base when it was begun": str(config.get("init_lora_weights")).lower().startswith(CHANGED_BASE),
    }
    for why, is_so in kinds.items():
        if is_so:
            raise MachineError(_refusal(file, why, "by its configuration"))
    patterns = config.get("alpha_pattern") or {}
    numbers = [config.get("lora_alpha", 1), *(patterns.values() if isinstance(patterns, dict) else [patterns])]
    if not all(type(number) in {int, float} and isfinite(number) for number in numbers):
        raise MachineError(_refusal(file, "its alpha is no number", "by its configuration"))
    for pattern in patterns:
        try:
            re.compile(pattern)
        except re.error as error:
            raise MachineError(_refusal(file, f"{pattern!r} is no pattern", "alpha_pattern")) from error


def _refusal(file: Path, why: str, where: str) -> str:
    return f"{file} can't assist tuning: {why} ({where}). {PLAIN}"
