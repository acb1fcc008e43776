"""A completed run that lacks evidence is not graded as if it had it."""

from __future__ import annotations

import builders
import pytest

from fluxkit.trust.run_checks import find


def found_in(result):
    return {(check.id, check.subject): check.grade for check in find(result)}


@pytest.mark.parametrize(
    ("lost", "check", "subjects"),
    [
        ({"canary": ()}, "ceiling_unknown", {"training_speed", "inference_speed"}),
        ({"telemetry": ()}, "unwatched", {"training_speed", "inference_speed"}),
        ({"agreement": None}, "certificate_missing", {"training_speed", "inference_speed", "quality"}),
    ],
)
def test_missing_evidence_is_a_remark(lost, check, subjects):
    """A completed run without canary, telemetry or certificate has no grade A on what they would have told of."""
    sound = builders.result()
    assert not {grade for (_, subject), grade in found_in(sound).items() if subject != "quality"} - {"A"}
    marked = found_in(sound.model_copy(update=lost))
    assert {subject: grade for (name, subject), grade in marked.items() if name == check} == dict.fromkeys(
        subjects, "B"
    )
