"""Every kind of file in the cache, damaged: what a run reads is what it would read without a cache, to the last bit.

A try is lost where pixels, latents, embeddings or a hash come out otherwise, or a whole run ends with other numbers.
"""

import random
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from faults._measured_study import measured_study
from faults._words import say
from faults.flips import flipped
from PIL import Image

from fluxkit.fold.outcome import folded_results

RUN_IN = 500
"""Tries, after which a whole run is made with one bit of every file flipped."""
Damage = Callable[[bytes, bytes, random.Random], bytes]
"""What becomes of the content of a file, given that of another one of its kind."""
DAMAGES: tuple[Damage, ...] = (
    *[lambda content, _, draw: flipped(content, draw.randrange(8 * len(content)))] * 7,
    lambda _content, _other, _draw: b"",
    lambda content, _, draw: content[: draw.randrange(len(content))],
    lambda _content, other, _draw: other,
)


def pictures(folder: Path) -> Path:
    """Six pictures that look alike from afar, one of them with two frames."""
    folder.mkdir()
    for shade in range(5):
        Image.new("RGB", (70, 80), (shade, 40 * shade, 90)).save(folder / f"{shade}.png")
    frames = [Image.new("RGB", (64, 64), colour) for colour in ("red", "blue")]
    frames[0].save(folder / "moving.gif", save_all=True, append_images=frames[1:])
    for file in list(folder.iterdir()):
        file.with_suffix(".txt").write_text(f"a picture called {file.stem}")
    return folder


def read(folder: Path) -> list[bytes | str]:
    """All that a run gets from the cache: pixels, what is said of the folder, latents, embeddings, hashes."""
    import torch

    from fluxkit.engine.data.prepare import prepare_data
    from fluxkit.engine.data.weights_hash import weights_sha256
    from fluxkit.engine.flux.autoencoder import load_autoencoder
    from fluxkit.engine.flux.transformer import silence_libraries
    from fluxkit.record.input_files import input_files
    from fluxkit.spec.toml import load_spec

    silence_libraries()
    spec = load_spec("nano-laptop-cpu", ["data.source=folder", f"data.path={folder}"])
    cpu = torch.device("cpu")
    prepared = prepare_data(spec, load_autoencoder(spec.model, cpu), cpu)
    tensors = (
        prepared.latents_NCHW,
        prepared.captions.prompt_NTE,
        prepared.captions.pooled_NP,
        prepared.empty.pooled_NP,
    )
    pixels = [pair.image.tobytes() for pair in prepared.pairs]
    told = (prepared.sha256(), weights_sha256(spec.model), repr(prepared.skipped), repr(input_files(spec)))
    return [*pixels, *told, *(tensor.contiguous().numpy().tobytes() for tensor in tensors)]


@contextmanager
def filled_cache(scratch: Path) -> Iterator[tuple[Path, dict[str, list[Path]]]]:
    """The folder of pictures, and the files that lie in the cache once it was read, by their kind."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLUXKIT_CACHE", str(scratch / "cache"))
        patch.setattr("fluxkit.files.file_hashes.SETTLED_SECONDS", -1.0)  # the pictures were written just now
        folder = pictures(scratch / "pictures")
        read(folder)
        files = defaultdict(list)
        for file in sorted(path for path in (scratch / "cache").rglob("*") if path.is_file()):
            files[file.relative_to(scratch / "cache").parts[0]].append(file)
        yield folder, files


def damaged(folder: Path, files: dict[str, list[Path]], count: int) -> Counter[tuple[str, str]]:
    """How so many tries end, of each kind of file alike: made again, harmless, or lost."""
    draw, ends, whole = random.Random(0), Counter[tuple[str, str]](), read(folder)
    for place in range(count):
        kind = sorted(files)[place % len(files)]
        file, other = draw.sample(files[kind], 2)
        content = file.read_bytes()
        file.write_bytes(draw.choice(DAMAGES)(content, other.read_bytes(), draw))
        end = "lost" if read(folder) != whole else "made again" if file.read_bytes() == content else "harmless"
        ends[kind, end] += 1
        if end == "lost":
            say(f"lost: {file.parent.name}/{file.name}")
        file.write_bytes(content)
    return ends


def numbers(study: Path) -> list[str]:
    """What a run measured that no clock is part of."""
    ((_, result),) = folded_results([study])
    told = (result.inputs, result.tuning and result.tuning.losses[:8], result.quality and result.quality.anchors)
    return [repr(value) for value in told]


def other_runs(scratch: Path, count: int) -> int:
    """How many of so many whole runs end with other numbers where a bit of every file of the cache is flipped."""
    draw, (study, cache) = random.Random(0), measured_study(scratch)
    whole, lost = numbers(study), 0
    for _ in range(count):
        study.rename(scratch / f"before-{draw.random()}")
        for file in (path for path in cache.rglob("*") if path.is_file()):
            content = file.read_bytes()
            file.write_bytes(flipped(content, draw.randrange(8 * len(content))))
        lost += numbers(measured_study(scratch)[0]) != whole
    return lost


def main(count: int = 1000) -> int:
    """So many tries; gives how many were lost."""
    with tempfile.TemporaryDirectory() as scratch, filled_cache(Path(scratch)) as (folder, files):
        ends = damaged(folder, files, count)
    with tempfile.TemporaryDirectory() as scratch:
        runs = count // RUN_IN
        lost_runs = other_runs(Path(scratch), runs)
    for (kind, end), tries in sorted(ends.items()):
        say(f"{kind:10}{tries:6}  {end}")
    lost = sum(tries for (_, end), tries in ends.items() if end == "lost")
    say(f"cache: {count} tried, {lost} lost; {runs} runs over a cache of flipped bits, {lost_runs} with other numbers")
    return lost + lost_runs
