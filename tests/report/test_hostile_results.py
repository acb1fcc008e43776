"""The page of a result with markup in every text: nothing of a stranger becomes markup or script."""

import json

import builders
from pages import HOSTILE, Page

from fluxkit.compare.compare import compare
from fluxkit.record.run_folder import write_result
from fluxkit.report.page import render


def hostile_result():
    """A result with markup in every text that a stranger can choose."""
    asked = builders.spec(hardware={"label": HOSTILE[:80]})
    run = builders.result(of=asked)
    values = run.model_dump(mode="json", by_alias=True)
    values["id"] = values["study"] = values["created"] = HOSTILE
    values["kit"] = {"version": HOSTILE, "commit": HOSTILE, "dirty": True, "image": HOSTILE}
    values["configuration_sha256"] = HOSTILE
    values["system"]["before"]["readings"][HOSTILE] = {"value": HOSTILE, "source": HOSTILE, "unavailable": None}
    values["system"]["before"]["packages"] = {HOSTILE: HOSTILE}
    values["system"]["before"]["devices"][0]["name"] = HOSTILE
    values["inputs"]["pairs"] = [
        {**pair, "caption": HOSTILE, "image": pair["image"] and f"../{HOSTILE}.png"}
        for pair in values["inputs"]["pairs"]
    ]
    values["phases"].append({"name": HOSTILE, "attempt": 0, "seconds": 1.0})
    values["tuning"]["ranks"][0] |= {
        "device_name": HOSTILE,
        "precision": {"dtype": HOSTILE},
        "versions": {HOSTILE: HOSTILE},
    }
    values["tuning"]["marks"][0]["id"] = HOSTILE
    values["quality"]["definition"] = {HOSTILE: HOSTILE}
    values["quality"]["anchors"][0]["anchor"] = HOSTILE
    values["inference"] |= {"attention": HOSTILE, "precision": {"dtype": HOSTILE, "weights": HOSTILE}}
    values["checks"] = [{"id": HOSTILE, "subject": HOSTILE, "grade": "C", "evidence": HOSTILE}]
    values["energy"] = {"class": "unavailable", "source": HOSTILE, "reason": HOSTILE}
    values["artifacts"] = [{"path": HOSTILE, "sha256": HOSTILE, "bytes": 1}]
    values["inputs"] |= {"skipped": [HOSTILE], "weights_sha256": HOSTILE, "dataset_sha256": HOSTILE}
    values["plan"] |= {"notes": [HOSTILE], "device_names": [HOSTILE]}
    values["error"] = None
    return type(run).model_validate_json(json.dumps(values))


def test_hostile_texts_stay_texts(tmp_path):
    """Markup in any text of a result adds no tag, no handler and no script to the page."""
    run = hostile_result()
    failed = builders.failed(error={"phase": HOSTILE, "kind": HOSTILE, "message": HOSTILE})
    builders.run_folder(tmp_path / "run", builders.result())
    write_result(tmp_path / "run", run)
    comparison = compare([run, failed])
    page = Page(render(comparison, [(tmp_path / "run" / "result.json", run), (tmp_path / "x", failed)]))
    assert page.tags.count("script") == 2
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    assert "alert(1)" not in page.scripts[-1]
    assert "49" not in [word.strip() for word in page.words]
    assert not [value for tag, _, value in page.attributes if tag == "img" and value == "x"]
