"""Single bits of a real study, flipped: a flip is lost where `verify` has nothing to say of it."""

import random
import tempfile
from collections import Counter, defaultdict
from pathlib import Path

from faults._measured_study import measured_study
from faults._words import say

from fluxkit.files.lock import LOCK_FILE
from fluxkit.fold.verify import verify_all


def kind_of(study: Path, file: Path) -> str:
    """What a file is counted as."""
    return file.name if file.parent in {study, *study.iterdir()} else file.relative_to(study).parts[1]


def flipped(content: bytes, bit: int) -> bytes:
    """The same with one bit turned."""
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def main(count: int = 1000) -> int:
    """So many flips, of each kind of file alike; gives how many were lost."""
    draw = random.Random(0)
    with tempfile.TemporaryDirectory() as scratch:
        study, _ = measured_study(Path(scratch))
        assert not [problem for verdict in verify_all([study]) for problem in verdict.problems]
        files: dict[str, list[Path]] = defaultdict(list)
        for file in sorted(study.rglob("*")):
            if file.is_file() and file.stat().st_size and file.name != LOCK_FILE:
                files[kind_of(study, file)].append(file)
        ends: Counter[tuple[str, str]] = Counter()
        for place in range(count):
            kind = sorted(files)[place % len(files)]
            file = draw.choice(files[kind])
            content = file.read_bytes()
            file.write_bytes(flipped(content, draw.randrange(8 * len(content))))
            end = "found" if any(verdict.problems for verdict in verify_all([study])) else "lost"
            file.write_bytes(content)
            ends[kind, end] += 1
            if end == "lost":
                say(f"lost: a bit of {file.relative_to(scratch)}")
    for kind in sorted(files):
        say(f"{kind}: " + ", ".join(f"{ends[kind, end]} {end}" for end in ("found", "lost")))
    lost = sum(number for (_, end), number in ends.items() if end == "lost")
    say(f"flips: {count} tried, {lost} lost")
    return lost
