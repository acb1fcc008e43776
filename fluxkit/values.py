"""How every value of fluxkit is: frozen, complete, told apart by a hash; and a stranger's path kept inside."""

import errno
import hashlib
import json
import math
import os
import stat
from pathlib import Path
from typing import Annotated, Any, SupportsFloat, TypeVar

from pydantic import BaseModel, ConfigDict, Field

Seconds = Annotated[float, Field(gt=0, le=2_592_000)]
MOST = 1e39
"""No number is larger: float32 ends before it, and sums, squares and ratios of such numbers stay finite."""
LEAST = 1 / MOST
"""What is divided by is no smaller, for the same reason."""
Number = Annotated[float, Field(ge=-MOST, le=MOST)]
Amount = Annotated[float, Field(ge=0, le=MOST)]
"""What can't be negative: seconds, joules, errors."""
Rate = Annotated[float, Field(ge=LEAST, le=MOST)]
"""What is divided by, so never 0."""
Share = Annotated[float, Field(ge=0, le=1)]
MOST_WHOLE = 10**24
Whole = Annotated[int, Field(ge=0, le=MOST_WHOLE)]
"""Of bytes, steps, samples, FLOPs."""


Measured = TypeVar("Measured", int, float)


def measurable(value: Measured | None) -> Measured | None:
    """The value, or None where it is larger than any number of a result, or nearer to 0: nobody measured it."""
    most = MOST_WHOLE if isinstance(value, int) else MOST
    return value if value is not None and (value == 0 or LEAST <= abs(value) <= most) else None


class Frozen(BaseModel):
    """A value that passes between modules and survives JSON. Unknown keys are refused, and so are NaN and infinity."""

    # The text under a field is its description.
    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, protected_namespaces=(), allow_inf_nan=False
    )


class Strict(Frozen):
    """What a person wrote: no number is made of a text."""

    model_config = ConfigDict(strict=True)


def finite(value: SupportsFloat) -> float | None:
    """The value, or None where it is not a finite number: JSON has no word for those."""
    number = float(value)
    return number if math.isfinite(number) else None


def canonical_sha256(value: Any) -> str:
    """SHA-256 of JSON with sorted keys and no spaces: equal values, equal hash."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def path_inside(folder: Path, relative: str) -> Path | None:
    """Where a path from a stranger's file leads, links followed; None if that is not inside `folder`."""
    try:
        path = (folder / relative).resolve()
        inside = path.is_relative_to(folder.resolve()) and not Path(relative).is_absolute()
    except (OSError, RuntimeError, ValueError):  # a loop of links, a NUL in the name
        return None
    return path if inside else None


def read_regular(path: Path, most_bytes: int) -> bytes:
    """The bytes of a stranger's file: a pipe is never waited for, and no more than `most_bytes` are ever held.

    Raises:
        OSError: it can't be read, is no regular file, or is larger; `strerror` says which.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file", str(path))
        content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise OSError(errno.EFBIG, f"it is larger than {most_bytes} bytes", str(path))
    return content
