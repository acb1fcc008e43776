"""How every value of fluxkit is: frozen, complete, told apart by a hash; and a stranger's path kept inside."""

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

Seconds = Annotated[float, Field(gt=0, le=2_592_000)]


class Frozen(BaseModel):
    """A value that passes between modules and survives JSON. Unknown keys are refused."""

    # The text under a field is its description.
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, protected_namespaces=())


class Strict(Frozen):
    """What a person wrote: no number is made of a text, and none is infinite."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)


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
