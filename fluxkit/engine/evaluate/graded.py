"""What a rank has graded in earlier attempts at a run: it stands in their events, and is not paid for again."""

from contextlib import suppress
from pathlib import Path

from fluxkit.plan.plan import Job
from fluxkit.record.events import Anchor, Event, MarkReached, Reconstruction, Validation, event_path, read_events
from fluxkit.record.run_folder import inside_run_folder

Key = tuple[str | float, ...]
"""Of a score: mark and pair, then its seed, or its sigma and draw."""


class GradedBefore:
    """Scores of one rank in the attempts before this one, since the last one that graded in other batches."""

    def __init__(self, folder: Path, job: Job, rank: int) -> None:
        self._folder = folder
        self._scores: dict[Key, str | None] = {}
        """With the picture that was kept of it."""
        self._anchors: dict[tuple[str, str], str | None] = {}
        for attempt in range(job.graded_since, job.attempt):
            with suppress(ValueError):  # what stands before a damaged line counts here as it does in the result
                for event in read_events(event_path(folder, rank, attempt)):
                    self._add(event)

    def _add(self, event: Event) -> None:
        match event:
            case MarkReached():  # reached again, so another state than the one that was graded
                self._scores = {key: image for key, image in self._scores.items() if key[0] != event.id}
            case Reconstruction():
                self._scores[event.mark, event.pair, event.seed] = event.image
            case Validation():
                self._scores[event.mark, event.pair, event.sigma, event.draw] = None
            case Anchor():
                self._anchors[event.anchor, event.pair] = event.image

    def has_score(self, key: Key) -> bool:
        """Whether it is known, and its picture, if one was kept, still lies there."""
        return key in self._scores and self._is_there(self._scores[key])

    def has_anchors(self, pair: str) -> bool:
        """Whether both of a pair are known, and their pictures still lie there."""
        keys = [("autoencoder_reconstruction", pair), ("flat_colour", pair)]
        return all(key in self._anchors and self._is_there(self._anchors[key]) for key in keys)

    def _is_there(self, image: str | None) -> bool:
        path = None if image is None else inside_run_folder(self._folder, image)
        return image is None or (path is not None and path.is_file())
