"""The part of results that a page and `verify` need: small enough to be kept under version control."""

import json
import shutil
from collections.abc import Collection, Sequence
from pathlib import Path

from fluxkit.compare.compare import compare
from fluxkit.errors import UsageError
from fluxkit.files.atomic_file import write_with_sha256, written_whole
from fluxkit.record.result import RunResult
from fluxkit.record.run_folder import RESULT_FILE, safe_path
from fluxkit.report.picture_grid import shown_images


def write_bundle(sources: Sequence[tuple[Path, RunResult]], target: Path, *, pictures: bool = True) -> list[Path]:
    """Copies every result and the pictures that a page shows into `target`, a folder for each run; gives the folders.

    The raw values of a result are kept in full. In its manifest the files that were not copied are marked as left
    out, so that `verify` can tell them from files that were lost.

    Raises:
        UsageError: `target` already holds something else.
    """
    names = [f"{place:02d}-{result.spec.name}-r{result.repeat}" for place, (_, result) in enumerate(sources)]
    own = {file.resolve().parent for file, _ in sources}
    entries = list(target.iterdir()) if target.is_dir() else []
    others = sorted(entry.name for entry in entries if entry.name not in names and entry.resolve() not in own)
    if others:
        raise UsageError(
            f"{target} holds {others[0]}, which is none of these results. Remove it, or name another page."
        )
    images = shown_images(compare(result for _, result in sources), sources) if pictures else {}
    # What is copied may be the very folder that it is copied to, so nothing is replaced before all of it is read.
    with written_whole(target) as temporary:
        for name, (file, result) in zip(names, sources, strict=True):
            _copy(temporary / name, file, result, images.get(result.id, set()))
    return [target / name for name in names]


def _copy(folder: Path, file: Path, result: RunResult, kept: Collection[str]) -> None:
    """One result with the pictures that are kept of it."""
    folder.mkdir(parents=True)
    for image in sorted(kept):
        (folder / image).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(safe_path(file.parent, image), folder / image)
    artifacts = tuple(
        artifact.model_copy(update={"left_out": artifact.left_out or artifact.path not in kept})
        for artifact in result.artifacts
    )
    values = result.model_copy(update={"artifacts": artifacts}).model_dump(mode="json", by_alias=True)
    # A line per top-level value, so that a change can still be read as a difference.
    lines = [
        f"{json.dumps(key)}: {json.dumps(value, separators=(',', ':'), allow_nan=False)}"
        for key, value in values.items()
    ]
    write_with_sha256(folder / RESULT_FILE, "{\n" + ",\n".join(lines) + "\n}\n")
