"""The published JSON Schemas of a run spec and of a result, made from the models."""

from typing import Any

from pydantic import BaseModel

from fluxkit.record.result import RESULT_SCHEMA, RunResult
from fluxkit.spec.run_spec import SPEC_SCHEMA, RunSpec

DIALECT = "https://json-schema.org/draft/2020-12/schema"
MODELS: dict[str, tuple[type[BaseModel], str]] = {"spec": (RunSpec, SPEC_SCHEMA), "result": (RunResult, RESULT_SCHEMA)}


def json_schema(which: str) -> dict[str, Any]:
    """JSON Schema (2020-12) of the `spec` or the `result`, under the names that the files use."""
    model, identifier = MODELS[which]
    return {"$schema": DIALECT, "$id": f"urn:{identifier.replace('/', ':')}", **model.model_json_schema(by_alias=True)}
