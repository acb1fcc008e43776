"""Compiles the bytecode of what a run imports; runs while an image is built, in the environment that it holds.

A read-only container can't write bytecode, and compiling all packages would add 250 MB, most of it never imported.
Bytecode that is tied to a hash and not checked is the same in every build and costs no look at the source.
"""

from __future__ import annotations

import importlib
import py_compile
import sys
import sysconfig
from pathlib import Path

IMPORTED = (
    "torch", "torch.distributed.run", "torch.utils.flop_counter", "accelerate", "peft", "safetensors.torch",
    "skimage.data", "skimage.metrics", "scipy.stats", "PIL.Image", "PIL.ImageOps", "PIL.ImageCms",
    "altair", "vl_convert", "jinja2", "rich.progress", "rich.table", "pydantic", "typer", "psutil", "pynvml",
    "platformdirs",
)  # fmt: skip
NAMES = {
    "diffusers": ("AutoencoderKL", "FlowMatchEulerDiscreteScheduler", "FluxPipeline", "FluxTransformer2DModel"),
    "transformers": ("CLIPTextModel", "CLIPTokenizer", "T5EncoderModel", "T5TokenizerFast"),
}
"""Packages that load their parts only when a name is asked for."""


def main() -> None:
    """Imports it all and compiles every module that was loaded from the environment."""
    for name in IMPORTED:
        importlib.import_module(name)
    for package, names in NAMES.items():
        for name in names:
            getattr(importlib.import_module(package), name)
    packages = sysconfig.get_path("purelib")
    files = {str(getattr(module, "__file__", None) or "") for module in tuple(sys.modules.values())}
    for file in sorted(file for file in files if file.startswith(packages) and Path(file).suffix == ".py"):
        py_compile.compile(file, doraise=True, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)


if __name__ == "__main__":
    main()
