"""Stands in for the engine: `python stand_in.py SCENARIO RUN_FOLDER` writes the events of a small made-up run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

STEP_SECONDS = 0.5
PRECISION = {"dtype": "float32", "cuda.matmul": "ieee", "mkldnn.matmul": "ieee"}
PEAK_BYTES = 1_000_000


class Log:
    """An events file."""

    def __init__(self, folder, attempt=0, rank=0):
        path = Path(folder) / "events" / f"rank-{rank}.attempt-{attempt}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)  # as the engine does: what a second name may be that of is not emptied
        path.write_text("")
        self.path, self.at = path, 0.0

    def write(self, event, **facts):
        self.at += 0.5
        self.add(json.dumps({"event": event, "at_seconds": self.at, **facts}, separators=(",", ":")) + "\n")

    def add(self, text):
        with self.path.open("a") as file:
            file.write(text)

    def phase(self, name, seconds=1.0):
        self.write("phase_started", phase=name)
        self.write("phase_ended", phase=name, seconds=seconds)


def begin(log, rank=0, clusters=10, precision=PRECISION):
    """First words, inputs, and an open phase `tune`."""
    log.write("started", rank=rank, device_name="Made-up CPU", threads=1, precision=precision, versions={"torch": "0"})
    log.phase("import")
    log.phase("load", 2.0)
    pairs = [pair("cat", "tuning", "cat")] + [pair(f"held-{n}", "held_out", f"cluster-{n}") for n in range(clusters)]
    log.write(
        "inputs", weights_sha256="0" * 64, dataset_sha256="1" * 64, pairs=pairs, parameters=10, trainable_parameters=5
    )
    log.write("phase_started", phase="tune")


def pair(name, split, cluster):
    return {"id": name, "caption": "a cat", "split": split, "cluster": cluster, "pixels_sha256": "2" * 64}


def steps(log, first, count, seconds=STEP_SECONDS, loss=0.5):
    """A block of steps of equal length."""
    total = (first + count) * seconds
    log.write("iterations", first=first, seconds=[seconds] * count, losses=[loss] * count, total_seconds=total)


def mark(log, name, iteration, target=None, seconds=None):
    at = iteration * STEP_SECONDS if seconds is None else seconds
    log.write("mark", id=name, target_seconds=target, seconds=at, iteration=iteration, samples=iteration * 8)


def canary(log, phase, when, flops=1e4, copy=1e6, precision="ieee_float32", error=2e-7):
    log.write(
        "canary", phase=phase, when=when, precision=precision, matmul_size=8, matmul_flops_per_second=flops,
        matmul_relative_error=error, copy_bytes_per_second=copy,
    )  # fmt: skip


def tune(log, tune_spec, first=0):
    """All steps and marks from `first` on: the constant-time mark after its seconds, then the iteration mark."""
    by_time = int(tune_spec["seconds"] / STEP_SECONDS)
    iterations = tune_spec["iterations"]
    canary(log, "tune", "before")
    if not first:
        mark(log, "untuned", 0)
    for start in range(first, max(by_time, iterations), 10):
        steps(log, start, min(10, max(by_time, iterations) - start))
    mark(log, f"seconds-{tune_spec['seconds']:g}", by_time, target=tune_spec["seconds"])
    mark(log, f"iterations-{iterations}", iterations)
    log.write("memory", phase="tune", peak_bytes={"resident": PEAK_BYTES})
    log.write("phase_ended", phase="tune", seconds=30.0)
    canary(log, "tune", "after")


def grade(log, tune_spec):
    """Scores of every mark: 10 dB untuned, 20 at the constant time, 22 at the iterations."""
    named = {"untuned": 10.0, f"seconds-{tune_spec['seconds']:g}": 20.0, f"iterations-{tune_spec['iterations']}": 22.0}
    log.write("phase_started", phase="evaluate")
    for name, psnr in named.items():
        for seed, offset in enumerate((-1.0, 1.0)):
            log.write(
                "reconstruction", mark=name, pair="cat", seed=seed, mse=1.0, psnr_db=psnr + offset, ssim=psnr / 100
            )
        log.write(
            "validation", mark=name, pair="held-0", sigma=0.5, draw=0, loss=1 / psnr, psnr_db=psnr / 2, ssim=psnr / 200
        )
    log.write("anchor", anchor="flat_colour", pair="cat", mse=9.0, psnr_db=8.0, ssim=0.1)
    log.write("phase_ended", phase="evaluate", seconds=3.0)


def infer(log, micro_batch_size=16, count=64, seconds=0.25, precision=PRECISION, flops=1e4):
    canary(log, "inference", "before", flops=flops)
    log.write("phase_started", phase="inference")
    log.write(
        "inference_setting", micro_batch_size=micro_batch_size, precision=precision, attention="sdpa",
        warm_up_seconds=0.1,
    )  # fmt: skip
    log.write("inference_steps", seconds=[seconds] * count)
    log.write("phase_ended", phase="inference", seconds=16.0)
    canary(log, "inference", "after", flops=flops)


def finish(log, outcome="completed"):
    log.write("finished", outcome=outcome)


def agree(log, relative_l2=1.6e-6):
    """The certificate of a device that computes what the others compute."""
    log.write(
        "agreement", precision="ieee_float32", weights_equal=True, relative_l2=relative_l2, largest_error=5.8e-6,
        loss_errors=[3e-7, 3e-7, 3e-7], latents_psnr_db=132.0, seconds=0.2,
    )  # fmt: skip


def whole_run(log, tune_spec, **beginning):
    """Everything, in order."""
    begin(log, **beginning)
    agree(log)
    tune(log, tune_spec)
    grade(log, tune_spec)
    infer(log)
    finish(log)


def completed(log, job, folder):
    (folder / "samples").mkdir(exist_ok=True)
    (folder / "samples" / "cat.png").write_bytes(b"picture")
    whole_run(log, job["spec"]["tune"])
    return 0


def disagrees(log, job, _folder):
    """A device that computes something else."""
    begin(log)
    agree(log, relative_l2=1e-3)
    tune(log, job["spec"]["tune"])
    grade(log, job["spec"]["tune"])
    infer(log)
    finish(log)
    return 0


def told(log, job, folder):
    """What it was started with."""
    names = ("OMP_NUM_THREADS", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "TOKENIZERS_PARALLELISM")
    sys.stdout.write(f"{ {name: os.environ.get(name) for name in names} } {Path.home()} {folder}\n")
    return completed(log, job, folder)


def fails(log, _job, folder):
    begin(log)
    steps(log, 0, 5)
    message = f"{Path.home()}/weights and {folder}/x are broken"
    log.write("failed", phase="tune", kind="ValueError", message=message, exit_code=4)
    return 4


def runs_out(log, job, folder):
    """Has no memory for more than two samples in a pass."""
    if job["plan"]["micro_batch_size"] <= 2:
        return completed(log, job, folder)
    begin(log)
    steps(log, 0, 5)
    (folder / "checkpoint").mkdir(exist_ok=True)
    message = f"CUDA out of memory. {folder} is too small."
    log.write("failed", phase="tune", kind="OutOfMemoryError", message=message, exit_code=4)
    return 4


def never_enough(log, _job, _folder):
    """Has no memory for a single sample."""
    begin(log)
    log.write("failed", phase="tune", kind="OutOfMemoryError", message="CUDA out of memory.", exit_code=4)
    return 4


def dies(log, _job, _folder):
    begin(log)
    steps(log, 0, 5)
    os.kill(os.getpid(), signal.SIGKILL)
    return 0


def crashes(_log, _job, _folder):
    sys.stderr.write("Traceback: out of luck\n")
    return 1


def garbage(log, _job, _folder):
    begin(log)
    log.add("no event\n")
    finish(log)
    return 0


def stoppable(log, job, folder):
    """Tunes until it is told to stop; a later attempt continues from its checkpoint and completes."""
    checkpoint = folder / "checkpoint" / "state"
    if checkpoint.is_file():
        begin(log)
        log.write("resumed", iteration=10, seconds=10 * STEP_SECONDS)
        tune(log, job["spec"]["tune"], first=10)
        grade(log, job["spec"]["tune"])
        infer(log)
        finish(log)
        return 0
    stopped = []
    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, lambda number, _frame: stopped.append(number))
    begin(log)
    mark(log, "untuned", 0)
    steps(log, 0, 10)
    steps(log, 10, 5)
    (folder / "ready").touch()
    while not stopped:
        time.sleep(0.02)
    checkpoint.parent.mkdir()
    checkpoint.write_text(signal.Signals(stopped[0]).name)
    finish(log, "checkpointed")
    return 75


def stubborn(log, _job, folder):
    """Does not listen."""
    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    begin(log)
    (folder / "ready").touch()
    time.sleep(60)
    return 0


def leaves_child(log, job, folder):
    """Leaves a process behind, in a session of its own."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
    (folder / "child").write_text(str(child.pid))
    time.sleep(0.8)
    return completed(log, job, folder)


def rank_dies(log, job, folder):
    """Rank 1 runs out of memory, and torchrun ends rank 0."""
    other = Log(folder, job["attempt"], rank=1)
    begin(log)
    begin(other, rank=1)
    other.write("failed", phase="tune", kind="MemoryError", message="out of memory", exit_code=4)
    sys.stderr.write("E0101 failed (exitcode: 4) local_rank: 1 (pid: 7) of binary: python\n")
    return 1


def rank_fails_first(log, job, folder):
    """Rank 1 fails; rank 0, which began later, complains of it after less time of its own."""
    other = Log(folder, job["attempt"], rank=1)
    begin(log)
    begin(other, rank=1)
    words = {"phase": "tune", "exit_code": 4}
    other.at = 60.0
    other.write("failed", kind="ValueError", message="a bad image", unix_seconds=1e9, **words)
    log.write("failed", kind="RuntimeError", message="connection reset by peer", unix_seconds=1e9 + 0.2, **words)
    return 1


def rank_is_killed(log, job, folder):
    """Rank 1 is killed, and rank 0 complains of it."""
    begin(log)
    begin(Log(folder, job["attempt"], rank=1), rank=1)
    log.write("failed", phase="tune", kind="RuntimeError", message="connection reset by peer", exit_code=4)
    sys.stderr.write("E0101 failed (exitcode: -9) local_rank: 1 (pid: 7) of binary: python\n")
    return 1


def rank_is_killed_at_once_with_the_other(log, job, folder):
    """Rank 1 is killed and rank 0 has complained of it before torchrun looks: it takes rank 0 for the first."""
    code = rank_is_killed(log, job, folder)
    workers = [(1, "-9 (pid: 7)  (SIGKILL)"), (0, "4 (pid: 6) ")]
    one, root = (f"  rank      : {rank} (local_rank: {rank})\n  exitcode  : {end}\n" for rank, end in workers)
    sys.stderr.write(f"Failures:\n[1]:\n{one}Root Cause (first observed failure):\n[0]:\n{root}")
    return code


def main(scenario, folder):
    job = json.loads((folder / "job.json").read_text())
    sys.exit(globals()[scenario](Log(folder, job["attempt"]), job, folder))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
