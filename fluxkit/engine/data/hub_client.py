"""`python -m fluxkit.engine.data.hub_client REPO REVISION`: a pipeline into the hub cache, because the spec says so."""

from __future__ import annotations

import errno
import sys

from huggingface_hub import snapshot_download
from huggingface_hub.constants import HF_HUB_CACHE, is_offline_mode
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

from fluxkit.errors import ExitCode

# The repository also holds the weights as one file for other programs: twice the download for nothing.
PIPELINE_FILES = ["model_index.json", "*/*.json", "*/*.safetensors", "*/*.txt", "*/*.model"]

DISK = {errno.EROFS, errno.EPERM, errno.EACCES, errno.ENOSPC, errno.EDQUOT, errno.EIO}


def main(repo: str, revision: str) -> int:
    """Downloads one revision and gives the exit code; a refusal is one sentence on standard error."""
    try:
        folder = snapshot_download(repo, revision=revision, allow_patterns=PIPELINE_FILES)
    except HfHubHTTPError as error:
        code = error.response.status_code
        gated = "it is gated: accept its licence on the hub and log in with: hf auth login"
        why = gated if code in {401, 403} else code
        sys.stderr.write(f"{repo} could not be downloaded: {why}.\n")
        return ExitCode.MACHINE
    except (LocalEntryNotFoundError, OSError) as error:
        if error.errno in DISK:
            place = error.filename or HF_HUB_CACHE
            sys.stderr.write(f"{repo} could not be downloaded: {place} can't be written: {error.strerror}.\n")
            return ExitCode.MACHINE
        why = "unset HF_HUB_OFFLINE and TRANSFORMERS_OFFLINE" if is_offline_mode() else "is there a network here?"
        sys.stderr.write(f"{repo} could not be downloaded: {type(error).__name__}; {why}\n")
        return ExitCode.MACHINE
    sys.stdout.write(f"{folder}\n")
    return ExitCode.DONE


def tell_all_but_leftovers(failed: sys.UnraisableHookArgs) -> None:
    """Tells what went wrong at the end of an object, but not that its temporary folder is left on a broken disk."""
    # Where nothing may be removed, tempfile calls itself until Python stops it.
    if not isinstance(failed.exc_value, OSError | RecursionError):
        sys.__unraisablehook__(failed)


if __name__ == "__main__":
    sys.unraisablehook = tell_all_but_leftovers
    sys.exit(main(*sys.argv[1:3]))
