"""Captioned images at the resolution of a run, from the embedded photos or a folder. Needs PIL, not torch."""

from __future__ import annotations

import hashlib
import math
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fluxkit.dataset.picture_folder import Listed, Problem, list_folder
from fluxkit.engine.data.images import load_image, pixel_sha256
from fluxkit.engine.data.photos import photo_path, photos
from fluxkit.errors import MachineError
from fluxkit.units import counted

if TYPE_CHECKING:
    from PIL import Image

    from fluxkit.engine.data.photos import Split
    from fluxkit.spec.workload import DataSpec

NAMED_PROBLEMS = 5


@dataclass(frozen=True)
class Pair:
    """One captioned image at the resolution of the run."""

    id: str
    """Short, unique, and safe as a file name."""
    caption: str
    split: Split
    cluster: str
    image: Image.Image
    pixels_sha256: str


@dataclass(frozen=True)
class Pairs:
    """The pairs of a run, and the files that were left out with their reasons."""

    used: tuple[Pair, ...]
    skipped: tuple[Problem, ...] = ()


def load_pairs(spec: DataSpec, *, enlarge: bool = False) -> Pairs:
    """The pairs that the spec names, in an order that does not depend on the machine.

    Photos smaller than the resolution are left out, or enlarged where only their number and size matter.

    Raises:
        MachineError: an image or caption can't be used and `on_error` is not `skip`, or nothing is left to tune on.
    """
    if spec.source == "photos":
        return _embedded(spec.resolution, enlarge=enlarge)
    listed, problems = list_folder(spec)
    pairs: list[Pair] = []
    for each in listed:
        try:
            pairs.append(_of_folder(each, spec.resolution))
        except MachineError as error:
            problems.append(Problem(each.name, str(error).removeprefix(f"{each.file} ").rstrip(".")))
    split = _split(_named_apart(pairs), spec.held_out)
    if problems and spec.on_error == "stop":
        raise MachineError(_refusal(spec, problems))
    if not any(pair.split == "tuning" for pair in split):
        raise MachineError(f"data.path = {spec.path!r} leaves no image to tune on ({len(problems)} can't be used).")
    return Pairs(split, tuple(problems))


def _embedded(resolution: int, *, enlarge: bool) -> Pairs:
    used: list[Pair] = []
    small: list[Problem] = []
    for photo in photos():
        path = photo_path(photo)
        try:
            image = load_image(path, resolution, enlarge=enlarge)
        except MachineError as error:
            small.append(Problem(photo.file, str(error).removeprefix(f"{path} ").partition(":")[0]))
        else:
            used.append(Pair(photo.id, photo.caption, photo.split, photo.id, image, pixel_sha256(image)))
    if not any(pair.split == "tuning" for pair in used):
        raise MachineError(
            f"No embedded photo to tune on has {resolution} pixels a side; lower data.resolution, or give your own"
            ' pictures with data.source = "folder".'
        )
    return Pairs(tuple(used), tuple(small))


def _of_folder(listed: Listed, resolution: int) -> Pair:
    image = load_image(listed.file, resolution)
    digest = pixel_sha256(image)
    stem = re.sub(r"[^a-z0-9]+", "-", listed.file.stem.lower()).strip("-")[:40]
    name = f"{stem or 'image'}-{digest[:8]}"
    # Copies of one picture are one cluster, or tuning would see what is held out.
    return Pair(name, listed.caption, "tuning", listed.group or digest, image, digest)


def _named_apart(pairs: list[Pair]) -> tuple[Pair, ...]:
    """The same pairs, copies of one picture numbered, since an id becomes a file name."""
    seen: dict[str, int] = {}
    apart = []
    for pair in pairs:
        seen[pair.id] = seen.get(pair.id, 0) + 1
        apart.append(replace(pair, id=f"{pair.id}-{seen[pair.id]}") if seen[pair.id] > 1 else pair)
    return tuple(apart)


def _split(pairs: tuple[Pair, ...], held_out: float) -> tuple[Pair, ...]:
    """Whole clusters are held out, those of the lowest content hash, until the share is reached; at least one tunes."""
    clusters: dict[str, str] = {}
    for pair in pairs:
        digest = hashlib.sha256(f"held out|{pair.pixels_sha256}".encode()).hexdigest()
        clusters[pair.cluster] = min(digest, clusters.get(pair.cluster, digest))
    ordered = sorted(clusters, key=clusters.__getitem__)
    count = min(math.ceil(held_out * len(ordered)), len(ordered) - 1)
    chosen = set(ordered[:count])
    return tuple(replace(pair, split="held_out") if pair.cluster in chosen else pair for pair in pairs)


def _refusal(spec: DataSpec, problems: list[Problem]) -> str:
    named = "; ".join(f"{problem.name} {problem.reason}" for problem in problems[:NAMED_PROBLEMS])
    more = f"; and {len(problems) - NAMED_PROBLEMS} more" if len(problems) > NAMED_PROBLEMS else ""
    return (
        f"data.path = {spec.path!r}: {counted(len(problems), 'file')} can't be used: {named}{more}. "
        'Mend or remove them, or set data.on_error = "skip".'
    )
