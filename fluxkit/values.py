"""How every value of fluxkit is: frozen, complete, told apart by a hash."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any

from pydantic import ConfigDict, Field

# A frozen, complete value: unknown keys are refused and the text under a field is its description.
FROZEN = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, protected_namespaces=())
STRICT = ConfigDict(**FROZEN, strict=True, allow_inf_nan=False)

Seconds = Annotated[float, Field(gt=0, le=2_592_000)]


def canonical_sha256(value: Any) -> str:
    """SHA-256 of JSON with sorted keys and no spaces: equal values, equal hash."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
