"""`fluxkit.report.environment_diff`: what differs between runs, the most telling first."""

import json

import builders

from fluxkit.compare.compare import compare
from fluxkit.report.environment_diff import differing


def test_what_decides_a_number_stands_before_noise():
    """Between configurations the device and the packages come first; load and free memory are folded at the end."""
    first = builders.result(repeat=0)
    values = builders.result(repeat=1, of=builders.spec(execution={"threads": 1})).model_dump(
        mode="json", by_alias=True
    )
    values["system"]["before"]["packages"]["torch"] = "9.9"
    values["system"]["before"]["readings"]["disk_free_bytes"] = {"value": 5, "source": "x", "unavailable": None}
    values["system"]["before"]["devices"][0]["name"] = "Another CPU"
    runs = {run.id: run for run in (first, type(first).model_validate_json(json.dumps({**values, "id": "other"})))}
    groups = differing(compare(runs.values()).workloads[0].rows, runs)
    assert [group.title for group in groups] == ["Between configurations", "What changes from minute to minute"]
    assert [each.key for each in groups[0].rows][:2] == ["device.0", "package.torch"]
    assert "machine.disk_free_bytes" in {each.key for each in groups[1].rows}
