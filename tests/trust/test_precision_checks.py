"""A precision that nobody read back is in doubt."""

from __future__ import annotations

import builders
import pytest

from fluxkit.trust.run_checks import find


@pytest.mark.parametrize("ranks", ["silent", "none"])
def test_a_tuning_precision_that_was_not_read_back_is_in_doubt(ranks):
    """FP32 that was asked for and that no rank, or not every rank, read back is graded C, as it is in inference."""
    run = builders.result()
    left = (run.tuning.ranks[0].model_copy(update={"precision": {}}),) if ranks == "silent" else ()
    run = run.model_copy(update={"tuning": run.tuning.model_copy(update={"ranks": left})})
    grades = {(check.id, check.subject): check.grade for check in find(run)}
    assert grades["tuning_precision", "training_speed"] == "C"
