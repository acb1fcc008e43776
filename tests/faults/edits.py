"""Meaningful edits of a real run, each with its hash written anew: found by `verify`, or told by a signature alone.

An edit is lost where `verify` has nothing to say of it and CONTRIBUTING does not name its field as one that only a
signature protects.
"""

import json
import random
import tempfile
from collections import Counter
from pathlib import Path

from faults._measured_study import measured_study
from faults._words import say

from fluxkit.files.atomic_file import write_with_sha256
from fluxkit.fold.verify import verify_all
from fluxkit.record.run_folder import RESULT_FILE

SIGNED = {"id", "study", "repeat", "order", "created", "system", "attempts", "telemetry", "energy"}
"""Fields that nothing else tells, as CONTRIBUTING says: of `system` all but what identifies a row."""


def leaves(value, path=()):
    """Every value in a JSON value that is none of others, with its path."""
    if isinstance(value, dict | list) and value:
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(inner, (*path, key))
    else:
        yield path, value


def other(value):
    """Another value that says something: a text with more in it, a number half as large again, the opposite."""
    match value:
        case bool():
            return not value
        case int():
            return value + 1
        case float():
            return 1.5 * value + 0.125
        case str():
            return f"{value}x"
    return 1.0 if value is None else ["x"] if value == [] else {"x": "x"}


def with_edit(values, path, new):
    """A copy of a JSON value with the value at a path replaced."""
    values = json.loads(json.dumps(values))
    holder = values
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = new
    return values


def main(count: int = 100) -> int:
    """So many edits, of each field of a result alike; gives how many were lost."""
    draw = random.Random(0)
    ends: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as scratch:
        study, _ = measured_study(Path(scratch))
        (file,) = study.glob(f"*/{RESULT_FILE}")
        text = file.read_text("utf-8")
        values = json.loads(text)
        for place in range(count):
            field = sorted(values)[place % len(values)]
            path, value = draw.choice(list(leaves(values[field], (field,))))
            write_with_sha256(file, json.dumps(with_edit(values, path, other(value))) + "\n")
            found = any(verdict.problems for verdict in verify_all([study]))
            end = "found" if found else "told by a signature alone" if field in SIGNED else "lost"
            ends[end] += 1
            if end == "lost":
                say(f"lost: {'.'.join(map(str, path))}: {value!r} became {other(value)!r}")
        write_with_sha256(file, text)
        assert not [problem for verdict in verify_all([study]) for problem in verdict.problems]
    say(f"edits: {count} tried, " + ", ".join(f"{number} {end}" for end, number in sorted(ends.items())))
    return ends["lost"]
