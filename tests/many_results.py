"""A thousand plausible results, made of a committed one: its values scattered, with labels and seeds of their own."""

import json
import math
import random
import shutil
from pathlib import Path

from fluxkit.files.atomic_file import write_with_sha256
from fluxkit.record.run_folder import RESULT_FILE

COMMITTED = Path(__file__).parents[1] / "reports" / "laptop" / "results" / "02-nano-laptop-cpu-r0"
SCATTERED = ("iteration_seconds", "losses", "step_seconds", "psnr_db", "mse", "ssim", "loss", "seconds")
"""Fields of raw values; `ssim` stays below 1."""


def scattered(value, factor, name=""):
    """A JSON value whose raw values are all so many times as large."""
    if isinstance(value, dict):
        return {key: scattered(inner, factor, key) for key, inner in value.items()}
    if isinstance(value, list):
        return [scattered(inner, factor, name) for inner in value]
    if name in SCATTERED and isinstance(value, float):
        return min(value * factor, 1.0) if name == "ssim" else value * factor
    return value


def write_results(folder, configurations, repeats, *, pictures=True):
    """Writes `configurations` x `repeats` run folders; those of repeat 0 have the committed one's pictures."""
    committed = json.loads((COMMITTED / RESULT_FILE).read_text("utf-8"))
    draw = random.Random(0)
    for configuration in range(configurations):
        speed = math.exp(draw.gauss(0.0, 0.3))
        for repeat in range(repeats):
            values = dict(committed)
            factor = speed * math.exp(draw.gauss(0.0, 0.02))
            for part in ("tuning", "inference", "quality", "phases"):
                values[part] = scattered(values[part], factor if part != "quality" else factor**0.1)
            values |= {"id": f"{configuration:016x}{repeat:016x}", "repeat": repeat, "seed": repeat, "study": "many"}
            values["order"] = repeat * configurations + configuration
            values["spec"] = values["spec"] | {"hardware": {"label": f"Node {configuration:04d}", "usd_per_hour": 0.5}}
            run = folder / f"{configuration:04d}-r{repeat:04d}"
            if pictures and repeat == 0:
                shutil.copytree(COMMITTED / "samples", run / "samples")
            write_with_sha256(run / RESULT_FILE, json.dumps(values) + "\n")
    return folder
