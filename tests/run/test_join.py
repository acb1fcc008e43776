"""A further machine before any run has begun."""

import pytest

from fluxkit.errors import MachineError, UsageError
from fluxkit.run.join import join
from fluxkit.run.progress import Reporter


class Heard(Reporter):
    """Keeps what it is told."""

    def __init__(self):
        self.sentences = []

    def say(self, sentence):
        self.sentences.append(sentence)


def test_joining_says_what_it_waits_for(tmp_path):
    """It names the folder, how long it waits and what the first machine has to be given."""
    heard = Heard()
    with pytest.raises(MachineError):
        join(tmp_path / "study", reporter=heard, patience_seconds=0.0)
    (said,) = heard.sentences
    assert said.startswith("Waiting up to 0 s for a run of several machines")
    assert f"--out {tmp_path / 'study'}" in said


def test_a_folder_that_can_never_appear_is_not_waited_for(tmp_path):
    """Where the folder above it is missing, as with a disk that is not mounted here, it fails at once."""
    with pytest.raises(UsageError, match="is no folder here"):
        join(tmp_path / "absent" / "study")
