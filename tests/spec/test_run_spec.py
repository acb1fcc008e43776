"""What a run spec accepts, and what its workload hash depends on."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from fluxkit.spec.run_spec import RunSpec
from fluxkit.values import canonical_sha256

PRETRAINED = {"family": "schnell", "weights": "pretrained", "path": "/models/schnell"}
FULL = {"model": {"weights": "random"}, "tune": {"method": "full"}}
COMMIT = "741f7c3ce8b383c54771c7003378a50191e9efe9"


def test_defaults_make_a_whole_spec(spec):
    """A schema and a name are enough; every other value has a default."""
    assert spec().tune.method == "lora"


def test_it_round_trips_through_json(spec):
    """A spec written as JSON reads back equal."""
    original = spec(execution={"processes": 2}, tune={"seconds": 5.0})
    text = json.dumps(original.model_dump(mode="json", by_alias=True))
    assert RunSpec.model_validate_json(text) == original


def test_it_is_frozen(spec):
    """A spec cannot be changed once it is made."""
    with pytest.raises(ValidationError):
        spec().seed = 1


@pytest.mark.parametrize(
    "tables",
    [
        {"name": "other"},
        {"seed": 7},
        {"execution": {"precision": "bfloat16"}},
        {"hardware": {"label": "Another machine", "usd_per_hour": 3.0}},
    ],
    ids=["name", "seed", "execution", "hardware"],
)
def test_the_workload_hash_leaves_out_how_it_is_run(spec, tables):
    """Name, seed, execution and hardware may differ between comparable runs."""
    assert spec(**tables).workload_sha256() == spec().workload_sha256()


@pytest.mark.parametrize(
    "tables",
    [
        {"data": {"resolution": 128}},
        {"tune": {"learning_rate": 1e-3}},
        {"evaluate": {"sigmas": 4}},
        {"inference": {"batch_size": 64}},
        {"model": {"weights": "random"}, "tune": {"method": "full"}},
    ],
    ids=["data", "tune", "evaluate", "inference", "model"],
)
def test_the_workload_hash_holds_what_is_done(spec, tables):
    """Any value of the workload tables changes the hash."""
    assert spec(**tables).workload_sha256() != spec().workload_sha256()


def test_the_workload_hash_leaves_out_where_weights_lie(spec):
    """The same weights in another folder or in the hub cache are the same workload."""
    from_path = spec(model=PRETRAINED)
    from_hub = spec(model={"family": "schnell", "weights": "pretrained", "repo": "maker/schnell", "revision": COMMIT})
    assert from_path.workload_sha256() == from_hub.workload_sha256()


def test_the_canonical_hash_ignores_the_order_of_keys():
    """Equal values have equal hashes."""
    assert canonical_sha256({"a": 1, "b": [2.5]}) == canonical_sha256({"b": [2.5], "a": 1})


@pytest.mark.parametrize(
    ("tables", "words"),
    [
        ({"tune": {"seconds": -5.0}}, "greater than 0"),
        ({"tune": {"iterations": 0}}, "greater than or equal to 1"),
        ({"tune": {"iterations": "many"}}, "valid integer"),
        ({"tune": {"seconds": 100.0, "max_seconds": 10.0}}, "max_seconds = 10 is less than seconds = 100"),
        ({"inference": {"min_seconds": 9.0, "max_seconds": 1.0}}, "max_seconds = 1 is less than min_seconds = 9"),
        ({"execution": {"processes": 3}}, "tune.global_batch_size = 8 is not divisible by execution.processes = 3"),
        (
            {"execution": {"processes": 2}, "inference": {"batch_size": 5}},
            "inference.batch_size = 5 is not divisible by execution.processes = 2",
        ),
        ({"execution": {"micro_batch_size": 3}}, "micro_batch_size = 3 does not divide the 8"),
        (
            {"execution": {"inference_micro_batch_size": 100}},
            "inference_micro_batch_size = 100 does not divide the 256",
        ),
        ({"model": {"weights": "pretrained"}}, "'pretrained' does not exist for family 'nano'"),
        ({"model": {"family": "schnell", "weights": "pretrained"}}, "need path"),
        ({"model": {"path": "/somewhere"}}, "belong to pretrained weights"),
        (
            {"model": {"family": "schnell", "weights": "pretrained", "repo": "maker/schnell"}},
            "a branch name can move",
        ),
        (
            {"model": {"family": "schnell", "weights": "pretrained", "repo": "../../etc", "revision": COMMIT}},
            "should match pattern",
        ),
        ({"model": {"weights": "random"}}, "leaves adapters nothing to adapt"),
        ({"execution": {"inference_precision": "tf32"}}, "exists on CUDA only"),
        ({"execution": {"processes": 4, "nodes": 3}}, "processes = 4 is not divisible by execution.nodes = 3"),
        (FULL | {"execution": {"parallelism": "fsdp"}}, 'processes to 2 or more, or use "ddp"'),
        ({"execution": {"parallelism": "fsdp", "processes": 2}}, "adapters are small"),
        (FULL | {"execution": {"parallelism": "fsdp", "processes": 2, "compile": True}}, "needs whole blocks"),
        ({"execution": {"device": "cuda", "attention": "flash"}}, 'attention = "flash" takes no FP32 on CUDA'),
        (
            {"execution": {"device": "cuda", "attention": "cudnn", "precision": "bfloat16"}},
            'attention = "cudnn" takes no FP32 on CUDA',
        ),
        (
            {"execution": {"inference_weights": "bfloat16", "inference_precision": "bfloat16"}},
            "stores it so already",
        ),
        (FULL | {"execution": {"inference_weights": "bfloat16"}}, "would round weights"),
        ({"execution": {"quantization": "int8", "compile": True}}, "is not proven with execution.quantization"),
        ({"execution": {"quantization": "int8", "processes": 2}}, "runs in one process"),
        ({"execution": {"attention": "efficient"}}, 'attention = "efficient" exists on CUDA only'),
        ({"execution": {"processes": 5000}}, "less than or equal to 1024"),
        ({"name": "Has Spaces"}, "should match pattern"),
        ({"name": "../up"}, "should match pattern"),
        ({"data": {"resolution": 65}}, "multiple of 16"),
        ({"tune": {"learning_rate": float("nan")}}, "finite number"),
        ({"unknown": 1}, "Extra inputs"),
    ],
)
def test_what_cannot_work_is_refused(spec, tables, words):
    """A value that is out of range, or does not fit another one, is refused with what is allowed."""
    with pytest.raises(ValidationError, match=words.replace("(", r"\(")):
        spec(**tables)


def test_every_field_of_the_json_schema_is_explained():
    """The sentence under a field is its description in the schema."""
    schema = RunSpec.model_json_schema()
    tables = [table for name, table in schema["$defs"].items() if name.endswith("Spec")]
    unexplained = [
        f"{table['title']}.{name}"
        for table in tables
        for name, field in table["properties"].items()
        if "description" not in field
    ]
    assert not unexplained
