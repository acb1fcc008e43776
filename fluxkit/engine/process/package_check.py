"""Whether what is imported is what is installed: a result states the versions of installed packages."""

from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path

from fluxkit.errors import MachineError

MEASURED = {
    "torch": "torch", "diffusers": "diffusers", "transformers": "transformers", "accelerate": "accelerate",
    "peft": "peft", "numpy": "numpy", "PIL": "pillow", "skimage": "scikit-image", "safetensors": "safetensors",
    "tokenizers": "tokenizers", "huggingface_hub": "huggingface_hub", "torchao": "torchao",
}  # fmt: skip
"""Modules that measure, or that those import, by the names under which they are installed."""


def check_packages() -> None:
    """Looks where each package that measures would be imported from; loads none of them.

    Raises:
        MachineError: another copy comes first, most often by `PYTHONPATH`.
    """
    for name, package in MEASURED.items():
        spec = find_spec(name)
        try:
            installed = Path(str(distribution(package).locate_file(name)))
        except PackageNotFoundError:  # the plan says what is missing
            continue
        # An editable package lies elsewhere and has no folder where it is installed.
        if spec and spec.origin and installed.is_dir() and not installed.samefile(Path(spec.origin).parent):
            raise MachineError(
                f"Another {name} than the installed one comes first on Python's path, {Path(spec.origin).parent}; "
                "unset PYTHONPATH."
            )
