"""Commands about machines: plans, predictions and the doctor."""

from __future__ import annotations

import json
import re


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
    assert "not measured" in " ".join(out.split())
    assert max(map(len, out.splitlines())) <= 80
    assert re.search(r"^USD, 60 s +0\.025 +0\.6$", out, re.MULTILINE)  # 60 s at 1.5 and at 36 USD an hour
    assert "ask Slurm for: --gpus-per-node=1" in " ".join(
        fluxkit("plan", "nano-single-gpu", "--device", "h200")[1].split()
    )
    code, _, err = fluxkit(*words, "--usd-per-hour", "A40=1.0")
    assert (code, err) == (2, "fluxkit: --usd-per-hour prices A40, which no --device names; add --device A40.\n")
    code, out, _ = fluxkit(*words, "--json")
    assert [each["device"] for each in json.loads(out)["nano-laptop-cpu"]] == ["laptop-cpu", "H200"]
    code, _, err = fluxkit("plan", "nano-laptop-cpu", "--device", "abacus")
    assert code == 2
    assert "H100" in err


def test_the_doctor_reads_this_machine(fluxkit):
    """The doctor ends with exit code 0 whatever it finds, in words and in JSON; with --check it says by it."""
    code, out, _ = fluxkit("doctor")
    assert code == 0
    assert out.startswith("This machine")
    assert max(map(len, out.splitlines())) <= 80
    code, whole, _ = fluxkit("doctor", "--all")
    assert (code, len(whole) > len(out)) == (0, True)
    code, out, _ = fluxkit("doctor", "--check", "--json")
    assert code == (3 if json.loads(out)["verdicts"]["doubt"] else 0)
    code, out, _ = fluxkit("doctor", "--json")
    assert code == 0
    assert {each["verdict"] for each in json.loads(out)["findings"]} <= {"fit", "remark", "doubt", "unknown"}
