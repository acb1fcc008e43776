"""From a command to the first tuning step, against a bare script with the same model; and a second preparation."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.pairs import Options, Row, paired_row

BARE = """
import sys, torch
from diffusers import FluxTransformer2DModel
from peft import LoraConfig
torch.manual_seed(0)
model = FluxTransformer2DModel.from_pretrained(sys.argv[1], subfolder="transformer").requires_grad_(False)
model.add_adapter(LoraConfig(r=16, lora_alpha=16, target_modules=sys.argv[2]))
optimizer = torch.optim.AdamW([value for value in model.parameters() if value.requires_grad], fused=True)
tokens, texts = torch.randn(8, 64, 64), torch.randn(8, 32, model.config.joint_attention_dim)
out = model(hidden_states=tokens, encoder_hidden_states=texts, timestep=torch.rand(8), guidance=None,
            pooled_projections=torch.randn(8, model.config.pooled_projection_dim), img_ids=torch.zeros(64, 3),
            txt_ids=torch.zeros(32, 3), return_dict=False)[0]
out.pow(2).mean().backward()
optimizer.step()
"""
RUN = ("run", "nano-laptop-cpu", "--quiet", "--set", "tune.iterations=1", "--set", "tune.seconds=0.01", "--out")
POLL_SECONDS = 0.005


def rows(options: Options) -> list[Row]:
    """Seconds on the wall, whatever the clock: other processes do the work."""
    with tempfile.TemporaryDirectory() as scratch:
        caches = Path(scratch) / "cache"
        start = paired_row(
            "start-up", "fluxkit run nano-laptop-cpu to its first step / a bare script to its step, seconds",
            lambda: to_first_step(Path(scratch), caches)[0], bare, options.pairs, clock="wall", at_most=1.3,
        )  # fmt: skip
        prepared = paired_row(
            "second-preparation", "preparing with an empty cache / with the cache of a run before, seconds",
            lambda: to_first_step(Path(scratch), Path(tempfile.mkdtemp(dir=scratch)))[1],
            lambda: to_first_step(Path(scratch), caches)[1], options.pairs, clock="wall", at_least=5.0,
        )  # fmt: skip
    return [start, prepared]


def bare() -> float:
    """Seconds of the bare script."""
    from fluxkit.engine.flux.transformer import LORA_TARGETS
    from fluxkit.model.pipeline_files import NANO_FOLDER

    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", BARE, str(NANO_FOLDER), LORA_TARGETS], check=True, capture_output=True)
    return time.perf_counter() - began


def to_first_step(scratch: Path, cache: Path) -> tuple[float, float]:
    """Seconds from the command to the first step's event, and those of the phase `prepare`; then it is stopped."""
    out = Path(tempfile.mkdtemp(dir=scratch)) / "study"
    environment = {**os.environ, "FLUXKIT_CACHE": str(cache)}
    began = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "-m", "fluxkit", *RUN, str(out)], env=environment, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as command:  # fmt: skip
        events: list[dict[str, float | str]] = []
        while not any(event["event"] == "iterations" for event in events):
            if command.poll() is not None:
                raise RuntimeError(f"fluxkit ended with {command.returncode} before its first step")
            time.sleep(POLL_SECONDS)
            lines = [line for path in out.glob("*/events/rank-0.*.jsonl") for line in path.read_text().splitlines(True)]
            events = [json.loads(line) for line in lines if line.endswith("\n")]
        seconds = time.perf_counter() - began
        command.send_signal(signal.SIGINT)
        command.send_signal(signal.SIGINT)
    ended = [event for event in events if event["event"] == "phase_ended" and event["phase"] == "prepare"]
    return seconds, float(ended[0]["seconds"])
