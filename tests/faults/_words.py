"""What the parts share: how they speak, and options of small runs."""

from functools import partial

PRESETS = {1: "nano-laptop-cpu", 2: "nano-two-process"}
"""By the number of processes."""
say = partial(print, flush=True)


def settings(*values: str) -> list[str]:
    """The values as options of the command line, and what makes each run small."""
    smallest = (
        "tune.lr_warmup_steps=2", "evaluate.num_images_per_prompt=1", "evaluate.sigmas=1", "evaluate.noise_draws=1",
        "inference.batch_size=8", "execution.threads=1",
    )  # fmt: skip
    return [word for value in (*values, *smallest) for word in ("--set", value)]
