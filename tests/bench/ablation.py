"""Each option of an execution alone, together with all others, and left out: its gain, and its cost in quality.

Every cell is a real run of the embedded model, and repeats are interleaved as in any study. Gains are ratios of speeds
inside a block. The cost is the PSNR of the untuned model's samples, same noise, against those of plain FP32.
"""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from statistics import mean

from bench.pairs import Options, Row, interval
from fluxkit.record.result import RunResult

SHORT = ("tune.iterations=40", "tune.seconds=0.1", "inference.min_seconds=1", "evaluate.sigmas=1",
         "evaluate.num_images_per_prompt=1")  # fmt: skip
PLAIN = ("execution.threads=1", "execution.inference_micro_batch_size=256", "execution.micro_batch_size=8",
         "execution.attention=math")  # fmt: skip
"""What every option is an improvement on, or a price paid for memory."""
OPTIONS: dict[str, tuple[str, ...]] = {
    "precision": ("execution.precision=bfloat16", "execution.inference_precision=bfloat16"),
    "compile": ("execution.compile=true",),
    "threads": ("execution.threads=0",),
    "micro-batch": ("execution.inference_micro_batch_size=auto", "execution.micro_batch_size=auto"),
    "checkpointing": ("execution.gradient_checkpointing=true",),
    "int8": ("execution.quantization=int8", "execution.precision=bfloat16", "execution.inference_precision=bfloat16"),
    "attention": ("execution.attention=auto",),
}
TOGETHER = ("precision", "compile", "threads", "micro-batch", "attention")
"""Those that are to make it faster; the others save memory, and are added to all of these instead of left out."""
REFUSED = {("int8", "compile")}
"""Not to be had together: a spec with both is refused."""
SPEEDS = {"tuning": "training_iterations_per_second", "inference": "inference_image_steps_per_second"}
Runs = Mapping[tuple[str, int], tuple[RunResult, Path]]
"""By cell and repeat: the result, and the folder of its samples."""


def rows(options: Options) -> list[Row]:
    """For each option its gain alone and in company, for tuning and for inference, and the same of all together."""
    with tempfile.TemporaryDirectory() as scratch:
        runs = _run(Path(scratch) / "study", options.pairs)
        return [
            _row(f"ablation-{name}-{work}", runs, over, under, work, options.pairs)
            for name, over, under in comparisons()
            for work in SPEEDS
        ]


def cells() -> dict[str, tuple[str, ...]]:
    """Settings by the name of a cell."""
    single = {name: OPTIONS[name] for name in OPTIONS}
    company = {f"all-{sign}-{name}": _of(members) for name, sign, members in _companies()}
    return {"plain": (), **single, "all": _of(TOGETHER), **company}


def comparisons() -> list[tuple[str, str, str]]:
    """What is compared: its name, the cell with an option and the one without."""
    alone = [(f"{name}-alone", name, "plain") for name in OPTIONS]
    left_out = [
        (f"{name}-left-out", "all", f"all-without-{name}") for name, sign, _ in _companies() if sign == "without"
    ]
    added = [
        (f"{name}-added", f"all-with-{name}", "all-without-compile" if (name, "compile") in REFUSED else "all")
        for name, sign, _ in _companies()
        if sign == "with"
    ]
    return [*alone, ("together", "all", "plain"), *left_out, *added]


def _companies() -> list[tuple[str, str, tuple[str, ...]]]:
    return [
        (name, "without", tuple(other for other in TOGETHER if other != name))
        if name in TOGETHER
        else (name, "with", (*(other for other in TOGETHER if (name, other) not in REFUSED), name))
        for name in OPTIONS
    ]


def _of(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(setting for name in names for setting in OPTIONS[name])


def _run(out: Path, repeats: int) -> Runs:
    """A study of all cells."""
    from fluxkit.record.run_folder import read_result
    from fluxkit.run.study import run_study
    from fluxkit.spec.toml import load_spec

    specs = [
        load_spec("nano-laptop-cpu", [*SHORT, *PLAIN, *settings, f"name={name}"]) for name, settings in cells().items()
    ]
    run_study(specs, repeats=repeats, out=out, same_seed=True)
    results = [(read_result(file), file.parent) for file in out.glob("*/result.json")]
    return {(result.spec.name, result.repeat): (result, folder) for result, folder in results}


def _row(id_: str, runs: Runs, over: str, under: str, work: str, pairs: int) -> Row:
    """Speed of `over` / speed of `under`; without an interval where runs failed, and why."""
    against = f"{work} speed: {over} / {under}"
    failed = {
        name: next(result.error.message for (cell, _), (result, _) in runs.items() if cell == name and result.error)
        for name in (over, under)
        if any(result.error for (cell, _), (result, _) in runs.items() if cell == name)
    }
    quality = {"psnr_db_against_plain": {name: psnr_db(runs, name) for name in (over, under)}}
    if failed:
        return Row(id_, against, conditions={"failed": failed, **quality})
    speeds = [[getattr(runs[cell, turn][0].summary, SPEEDS[work]) for cell in (over, under)] for turn in range(pairs)]
    ratios = [with_it / without for with_it, without in speeds]
    ratio, low, high = interval(ratios) if pairs > 1 else (ratios[0], None, None)
    return Row(id_, against, ratio, low, high, pairs, quality)


def psnr_db(runs: Runs, cell: str) -> float | str:
    """Mean PSNR of the cell's untuned samples against those of plain FP32; words where there is no number."""
    import numpy as np
    from PIL import Image

    from fluxkit.engine.evaluate.psnr_ssim import score

    def samples(name: str) -> dict[str, np.ndarray]:
        files = (runs[name, 0][1] / "samples" / "iteration-0").glob("*.png")
        return {file.name: np.asarray(Image.open(file)) for file in files}

    ours, plain = samples(cell), samples("plain")
    if not ours or ours.keys() != plain.keys():
        return "no samples"
    values = [value for name in plain if (value := score(ours[name], plain[name]).psnr_db) is not None]
    return mean(values) if values else "identical"
