"""Commands about machines: plans, predictions and the doctor."""

from __future__ import annotations

import json


def test_a_plan_is_a_table_or_json(fluxkit, small_pipeline):
    """The plan says processes and micro-batches, as text and as JSON."""
    assert small_pipeline.is_dir()
    code, out, _ = fluxkit("plan", "nano-laptop-cpu", "nano-laptop-cpu-bf16")
    assert code == 0
    assert "global batch" in out
    code, out, _ = fluxkit("plan", "nano-laptop-cpu", "--json")
    assert json.loads(out)["nano-laptop-cpu"]["processes"] == 1


def test_a_plan_for_other_devices_is_a_prediction(fluxkit, small_pipeline):
    """With --device the plan is a prediction for machines that are not here, and says so."""
    assert small_pipeline.is_dir()
    words = ("plan", "nano-laptop-cpu", "--device", "laptop-cpu", "--device", "h200")
    code, out, _ = fluxkit(*words, "--usd-per-hour", "1.5", "--usd-per-hour", "h200=36")
    assert code == 0
    assert "not measured" in out
    assert out.splitlines()[2].endswith("0.025")  # 60 s at 1.5 USD an hour
    assert out.splitlines()[3].endswith("0.6")
    code, _, err = fluxkit(*words, "--usd-per-hour", "A40=1.0")
    assert (code, err) == (2, "fluxkit: --usd-per-hour prices A40, which no --device names; add --device A40.\n")
    code, out, _ = fluxkit(*words, "--json")
    assert [each["device"] for each in json.loads(out)["nano-laptop-cpu"]] == ["laptop-cpu", "H200"]
    code, _, err = fluxkit("plan", "nano-laptop-cpu", "--device", "abacus")
    assert code == 2
    assert "H100" in err


def test_the_doctor_reads_this_machine(fluxkit):
    """The doctor ends with exit code 0 whatever it finds, in words and in JSON."""
    code, out, _ = fluxkit("doctor")
    assert code == 0
    assert "This machine" in out
    code, out, _ = fluxkit("doctor", "--json")
    assert code == 0
    assert {each["verdict"] for each in json.loads(out)["findings"]} <= {"fit", "remark", "doubt", "unknown"}
