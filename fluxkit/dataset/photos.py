"""The embedded photographs, their captions and licences, found in the scikit-image wheel and checked by hash.

scikit-image is located but not imported.
"""

import hashlib
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources, util
from pathlib import Path
from typing import Literal

from fluxkit.errors import MachineError

Split = Literal["tuning", "regularization", "held_out"]
"""Tuned on and scored; only tuned on; only scored. The second word is that of Kohya's scripts."""
Square = tuple[int, int, int]
"""Left, top and side, in pixels of the photo."""


@dataclass(frozen=True)
class Photo:
    """One photograph of `data/photos.toml`."""

    id: str
    file: str
    """Name inside the folder skimage/data."""
    caption: str
    source: str
    licence: str
    split: Split
    """Runs tune on "tuning"; "held_out" is only ever scored."""
    sha256: str
    """Of the file, so that every installation measures the same pixels."""
    details: Sequence[Square] = ()
    """Its regularization images."""


def photos(split: Split | None = None) -> tuple[Photo, ...]:
    """The photographs of `split`, or all of them, in the order of `data/photos.toml`."""
    text = resources.files("fluxkit").joinpath("data", "photos.toml").read_text(encoding="utf-8")
    everything = (
        Photo(**{**entry, "details": tuple(map(tuple, entry.get("details", ())))})
        for entry in tomllib.loads(text)["photo"]
    )
    return tuple(photo for photo in everything if split in (None, photo.split))


def photo_path(photo: Photo) -> Path:
    """Where this installation keeps the photograph.

    Raises:
        MachineError: scikit-image is not installed, or ships another file under this name.
    """
    package = util.find_spec("skimage")
    if package is None or package.origin is None:
        raise MachineError(
            "The embedded photos come with scikit-image, which is not installed: install fluxkit[engine]."
        )
    path = Path(package.origin).parent / "data" / photo.file
    if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != photo.sha256:
        raise MachineError(f"The installed scikit-image does not ship the expected photo {photo.file}: install 0.26.")
    return path
