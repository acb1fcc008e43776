"""Whether what is imported is what is installed: a result states the versions of installed packages."""

from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path

from fluxkit.errors import MachineError

MEASURED = ("torch", "diffusers", "transformers", "accelerate", "peft")


def check_packages() -> None:
    """Looks where each package that measures would be imported from; loads none of them.

    Raises:
        MachineError: another copy comes first, most often by `PYTHONPATH`.
    """
    for name in MEASURED:
        spec = find_spec(name)
        try:
            installed = Path(str(distribution(name).locate_file(name)))
        except PackageNotFoundError:  # the plan says what is missing
            continue
        # An editable package lies elsewhere and has no folder where it is installed.
        if spec and spec.origin and installed.is_dir() and not installed.samefile(Path(spec.origin).parent):
            raise MachineError(
                f"Another copy of {name} than the installed one comes first on Python's path; unset PYTHONPATH."
            )
