"""Single bits of a real study and of its cache, flipped: each is found by what reads the file, or changes nothing.

A flip is lost where `verify` has nothing to say, or where the cache gives other tensors or hashes than were written.
"""

import random
import tempfile
from collections import Counter, defaultdict
from pathlib import Path

from _measured_study import measured_study
from faults._words import say

from fluxkit.engine.data.tensor_file import DamagedTensorsError, TensorFile
from fluxkit.files.lock import LOCK_FILE
from fluxkit.fold.verify import verify_all


def kind_of(study: Path, file: Path) -> str:
    """What a file is counted as."""
    if not file.is_relative_to(study):
        return "cache"
    return file.name if file.parent in {study, *study.iterdir()} else file.relative_to(study).parts[1]


def tensors_in(file: Path) -> dict[str, bytes]:
    """What the cache's reader gets from a file: its facts and tensors, as bytes."""
    opened = TensorFile(file)
    tensors = {name: tensor.reshape(-1).contiguous().numpy().tobytes() for name, tensor in opened.items()}
    return tensors | {"facts": repr(opened.facts).encode()}


def flipped(content: bytes, bit: int) -> bytes:
    """The same with one bit turned."""
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def ends_as(study: Path, file: Path, before: dict[str, bytes] | None) -> str:
    """How a flip in a file ends: found, harmless, or lost."""
    if before is None:
        return "found" if any(verdict.problems for verdict in verify_all([study])) else "lost"
    try:
        return "harmless" if tensors_in(file) == before else "lost"
    except DamagedTensorsError:
        return "found"


def main(count: int = 1000) -> int:
    """So many flips, of each kind of file alike; gives how many were lost."""
    draw = random.Random(0)
    with tempfile.TemporaryDirectory() as scratch:
        study, cache = measured_study(Path(scratch))
        assert not [problem for verdict in verify_all([study]) for problem in verdict.problems]
        files: dict[str, list[Path]] = defaultdict(list)
        for file in sorted([*study.rglob("*"), *cache.rglob("*.safetensors")]):
            if file.is_file() and file.stat().st_size and file.name != LOCK_FILE:
                files[kind_of(study, file)].append(file)
        ends: Counter[tuple[str, str]] = Counter()
        for place in range(count):
            kind = sorted(files)[place % len(files)]
            file = draw.choice(files[kind])
            content = file.read_bytes()
            before = tensors_in(file) if kind == "cache" else None
            file.write_bytes(flipped(content, draw.randrange(8 * len(content))))
            end = ends_as(study, file, before)
            file.write_bytes(content)
            ends[kind, end] += 1
            if end == "lost":
                say(f"lost: a bit of {file.relative_to(scratch)}")
    for kind in sorted(files):
        say(f"{kind}: " + ", ".join(f"{ends[kind, end]} {end}" for end in ("found", "harmless", "lost")))
    lost = sum(number for (_, end), number in ends.items() if end == "lost")
    say(f"flips: {count} tried, {lost} lost")
    return lost
