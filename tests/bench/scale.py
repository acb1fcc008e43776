"""What large work costs: a long result, a large folder, and memory over many iterations. Figures, no ratios."""

import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.pairs import Options, Row

ITERATIONS, PICTURES, LONG_RUN = 100_000, 10_000, 20_000
EVERY_SECONDS = 0.5


def rows(options: Options) -> list[Row]:
    """Three rows of figures, with what each has to stay below."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        return [
            Row("scale-result", f"a result of {ITERATIONS} iterations", conditions=long_result(folder, options)),
            Row("scale-folder", f"a folder of {PICTURES} pictures", conditions=large_folder(folder, options)),
            Row("scale-memory", f"{LONG_RUN} iterations, resident bytes", conditions=memory(folder)),
        ]


def long_result(folder: Path, options: Options, count: int = ITERATIONS) -> dict[str, Any]:
    """Bytes and seconds of a committed result with so many made-up iterations, of as many digits as real ones."""
    from fluxkit.files.atomic_file import to_json
    from fluxkit.record.result import RunResult

    stored = min((Path(__file__).parents[2] / "reports/laptop/results").glob("*/result.json"))
    result, draw = RunResult.model_validate_json(stored.read_bytes()), random.Random(0)
    assert result.tuning
    longer = {
        "iteration_seconds": tuple(round(draw.lognormvariate(-3, 0.05), 9) for _ in range(count)),
        # A loss is a number of 32 bits, written with the digits of one of 64.
        "losses": tuple(float(int(draw.random() * 2**24)) / 2**24 for _ in range(count)),
    }
    text = to_json(result.model_copy(update={"tuning": result.tuning.model_copy(update=longer)}))
    (folder / "result.json").write_text(text)
    seconds = options.seconds(lambda: RunResult.model_validate_json((folder / "result.json").read_bytes()))
    return {"bytes": len(text), "bytes_below": 5_000_000, "load_seconds": seconds, "load_seconds_below": 1.0}


def large_folder(folder: Path, options: Options, count: int = PICTURES) -> dict[str, Any]:
    """Seconds of planning, of opening all pictures, and of opening them again."""
    from fluxkit.dataset.opened_pictures import load_once
    from fluxkit.dataset.picture_loader import load_pairs
    from fluxkit.machine.system import probe
    from fluxkit.plan.plan import make_plan
    from fluxkit.spec.toml import load_spec

    pictures = make_pictures(folder / "pictures", count)
    spec, system = load_spec("nano-laptop-cpu", ["data.source=folder", f"data.path={pictures}"]), probe()
    plan = options.seconds(lambda: make_plan(spec, system))
    once, again = (options.seconds(lambda: load_pairs(spec.data, load=load_once)) for _ in range(2))
    return {"plan_seconds": plan, "plan_seconds_below": 10.0, "open_seconds": once, "open_again_seconds": again}


def make_pictures(folder: Path, count: int) -> Path:
    """Small photographs of nothing, each another, with captions."""
    from PIL import Image

    draw = random.Random(0)
    folder.mkdir()
    for number in range(count):
        blots = Image.frombytes("RGB", (8, 8), draw.randbytes(192))
        blots.resize((96, 80), Image.Resampling.BICUBIC).save(folder / f"{number:05}.jpg")
        (folder / f"{number:05}.txt").write_text(f"a blot of colour, number {number}")
    return folder


def memory(folder: Path, count: int = LONG_RUN) -> dict[str, Any]:
    """Resident bytes of the parent and of the engine at a tenth of a run and at its end; flat is a ratio near 1."""
    import psutil

    out = folder / "study"
    settings = {
        "tune.iterations": count, "tune.seconds": 1, "tune.max_seconds": 36000, "tune.global_batch_size": 1,
        "data.resolution": 16, "inference.batch_size": 4, "inference.min_seconds": 0.01,
        "evaluate.num_images_per_prompt": 1, "evaluate.sigmas": 1,
    }  # fmt: skip
    options = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    command = [sys.executable, "-m", "fluxkit", "run", "nano-laptop-cpu", "--quiet", "--out", str(out), *options]
    seen: dict[str, list[tuple[int, int]]] = {"parent": [], "engine": []}
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as run:
        parent = psutil.Process(run.pid)
        while run.poll() is None:
            time.sleep(EVERY_SECONDS)
            done = _iterations(out)
            if not 0 < done < count:
                continue
            for name, process in zip(seen, (parent, *parent.children()), strict=False):
                seen[name].append((done, process.memory_info().rss))
    figures: dict[str, Any] = {"iterations": count}
    for name, readings in seen.items():
        early = max(size for done, size in readings if done <= readings[-1][0] // 10 or (done, size) == readings[0])
        figures[name] = {"early_bytes": early, "late_bytes": readings[-1][1], "ratio": readings[-1][1] / early}
    return figures


def _iterations(out: Path) -> int:
    """How many steps the events tell of so far, by their last line."""
    for file in out.glob("*/events/rank-0.*.jsonl"):
        with file.open("rb") as events:
            events.seek(max(0, file.stat().st_size - 100_000))
            lines = events.read().split(b"\n")[1:-1]
        blocks = [json.loads(line) for line in lines if b'"event":"iterations"' in line]
        return blocks[-1]["first"] + len(blocks[-1]["seconds"]) if blocks else 0
    return 0
