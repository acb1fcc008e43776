"""A study of one real run, seconds long, for faults that are done to what it left on disk."""

import os
import subprocess
import sys
from pathlib import Path

SMALL = (
    "tune.iterations=8", "tune.seconds=3.0", "tune.lr_warmup_steps=2", "evaluate.num_images_per_prompt=1",
    "evaluate.sigmas=1", "evaluate.noise_draws=1", "inference.batch_size=8", "inference.min_seconds=1.0",
    "execution.threads=1",
)  # fmt: skip


def measured_study(scratch: Path) -> tuple[Path, Path]:
    """The folder of the study and that of its cache, both below `scratch`."""
    words = [word for value in SMALL for word in ("--set", value)]
    command = [sys.executable, "-m", "fluxkit", "run", "nano-laptop-cpu", "--out", str(scratch / "study"), *words]
    environment = os.environ | {"FLUXKIT_CACHE": str(scratch / "cache")}
    subprocess.run([*command, "--quiet"], check=True, env=environment, stdout=subprocess.DEVNULL)
    return scratch / "study", scratch / "cache"
