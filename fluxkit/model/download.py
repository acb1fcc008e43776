"""Downloads a pretrained pipeline before a run, in a child process, and only where the spec says `download = true`."""

import subprocess
import sys
from collections.abc import Mapping

from fluxkit.errors import MachineError, printable
from fluxkit.model.pipeline_files import pipeline_folder
from fluxkit.spec.workload import ModelSpec


def download(model: ModelSpec, environment: Mapping[str, str]) -> None:
    """Makes sure that a model which may be downloaded is in the hub cache; does nothing for any other.

    The child process that does it sees `environment` alone.

    Raises:
        MachineError: it is not there and can't be downloaded.
    """
    if not model.download or model.repo is None or model.path is not None:
        return
    try:
        pipeline_folder(model)
    except MachineError:
        command = [sys.executable, "-m", "fluxkit.engine.data.hub_client", model.repo, str(model.revision)]
        done = subprocess.run(command, env=dict(environment), text=True, capture_output=True, check=False)
        if done.returncode:
            words = printable(done.stderr).strip().splitlines()
            raise MachineError(words[-1] if words else f"{model.repo} could not be downloaded.") from None
