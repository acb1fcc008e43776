"""`fluxkit.engine.evaluate.protocols`: what is written of a model that gives no numbers any more."""

import subprocess
import sys
from pathlib import Path

import builders
from real_engine import small_spec, write_job

from fluxkit.fold.fold import fold
from fluxkit.fold.replay import replay
from fluxkit.machine.system import probe


def test_a_model_that_diverged_is_scored_as_diverged(tmp_path):
    """Images that are not finite do not end the run: their scores are null, none is summed up, and quality is X."""
    spec = small_spec()
    plan = write_job(tmp_path, spec, probe())
    script = Path(__file__).parents[1] / "diverging_engine.py"
    ended = subprocess.run([sys.executable, script, str(tmp_path)], check=False, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    told = replay(tmp_path)
    for score in (*told.reconstruction.values(), *told.validation.values()):
        tuned = told.marks[score.mark].iteration > 0
        assert score.diverged == tuned == (score.ssim is None) == (score.psnr_db is None)
    asked = {"spec": spec, "plan": plan, "quality": None, "tuning": None}
    result = fold(tmp_path, builders.result().model_copy(update=asked), told)
    assert (result.summary.psnr_db, result.summary.ssim, result.summary.validation_loss) == (None, None, None)
    assert result.summary.psnr_db_untuned is not None
    (check,) = [check for check in result.checks if check.id == "scores_finite"]
    assert (check.subject, check.grade) == ("quality", "X")
    assert check.evidence.startswith("It diverged: ")
