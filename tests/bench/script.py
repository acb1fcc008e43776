"""fluxkit against diffusers' `train_dreambooth_lora_flux.py`: `just bench script --script PATH`.

Equal work: the embedded model and its photos, latents and text cached, the same layers adapted with rank 4, FP32, the
script's AdamW. The script's own `main` runs in a process that waits after each stretch of steps, so that both take
turns. Its progress bar and log, the optimizer, the loader and `loss.item()` are left as they are;
what is replaced is the text encoding, which it would repeat in each step, and what follows the last step.
"""

import hashlib
import importlib.util
import json
import multiprocessing
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest import mock

import torch
from accelerate import Accelerator
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from torch import Tensor

from bench.harness import CPU, STEPS, nano_spec, prepared_here, steady_steps
from bench.pairs import ATTENTION, MATRIX_PRODUCTS, Options, Row, paired_row, seconds_within
from fluxkit.engine.data.images import to_tensor
from fluxkit.engine.data.prepare import Prepared
from fluxkit.engine.flux import flow
from fluxkit.engine.flux.captions import Embeddings
from fluxkit.engine.flux.distributed import copy_weights
from fluxkit.engine.flux.transformer import Flux, OneAdapterLinear, load_flux
from fluxkit.engine.tuning.optimizer_step import Optimiser
from fluxkit.model.pipeline_files import pipeline_folder
from fluxkit.plan.plan import Job

BATCHES = (4, 20)
RANK, RATE, REPEATS = 4, 1e-4, 40
AGREEMENT_STEPS, AGREEMENT = 6, 1e-5
WITHIN_STEPS = {"matrix products": MATRIX_PRODUCTS, "attention": ATTENTION}
"""Arithmetic that both sides have in common: what neither can save."""
DRAWS = "draws"
"""Asks the script's process for what it drew."""


def rows(options: Options) -> list[Row]:
    """Equal work uncompiled, then fluxkit compiled: in FP32 on a CPU no flag of the script makes it faster."""
    if options.script is None:
        raise SystemExit("just bench script needs --script PATH of diffusers' train_dreambooth_lora_flux.py.")
    return [_row(options, batch, kind) for kind in ("equal", "best") for batch in BATCHES]


def _row(options: Options, batch: int, kind: str) -> Row:
    least = {("equal", 4): 1.25, ("equal", 20): 1.0, ("best", 4): 1.6, ("best", 20): 1.1}[kind, batch]
    tune = {
        "lora_rank": RANK, "lora_alpha": RANK, "learning_rate": RATE, "lr_warmup_steps": 0, "ema_decay": 0.0,
        "adam_beta2": 0.999, "weight_decay": 1e-4,
    }  # fmt: skip
    job, prepared = prepared_here(nano_spec(options, batch, **tune))
    with tempfile.TemporaryDirectory() as folder:
        script = SteppedScript(options.script, job, prepared, Path(folder) / "script", options)
        difference = script.greatest_difference(job, prepared)
        if difference > AGREEMENT:
            raise SystemExit(f"The losses of equal work differ by {difference:.2g}, so speeds are not compared.")
        ours = steady_steps(job, prepared, Path(folder), compiled=kind == "best")
        row = paired_row(
            f"script-{kind}-batch-{batch}", f"seconds of the script's step / of fluxkit's, nano, batch {batch}",
            lambda: script.take(STEPS), lambda: options.seconds(ours), options.pairs,
            steps=STEPS, script=version_of(options.script), loss_difference=difference,
            compiled=kind == "best", at_least=least,
        )  # fmt: skip
        script.end()
        return replace(row, conditions={**row.conditions, "ours_within": seconds_within(ours, WITHIN_STEPS, calls=1)})


def version_of(script: Path) -> dict[str, str | None]:
    """Its SHA-256, and the commit where it lies in a checkout."""
    done = subprocess.run(
        ["git", "-C", str(script.resolve().parent), "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    )
    return {
        "sha256": hashlib.sha256(script.read_bytes()).hexdigest(),
        "commit": done.stdout.strip() if done.returncode == 0 else None,
    }


class SteppedScript:
    """The script in a process of its own, which has taken one step and takes more when it is told to.

    In a thread of this process its operators would take turns with fluxkit's in more OpenMP threads than there are
    processors; then all of them sleep between two operators, and both sides are slow.
    """

    def __init__(self, path: Path, job: Job, prepared: Prepared, folder: Path, options: Options) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        words = (path, _flags(job, prepared, folder), job.plan.threads_per_process, options, theirs)
        self._process = context.Process(target=run_script, args=words, daemon=True)
        self._process.start()
        theirs.close()
        self._answer()

    def _answer(self) -> Any:
        try:
            return self._pipe.recv()
        except EOFError:
            raise SystemExit("The script ended; what it said stands above.") from None

    def take(self, steps: int) -> float:
        """Takes so many steps; gives their seconds."""
        self._pipe.send(steps)
        return float(self._answer())

    def end(self) -> None:
        """The script does not go on, and its process is gone."""
        self._pipe.send(0)
        self._process.join()

    def greatest_difference(self, job: Job, prepared: Prepared) -> float:
        """Of the losses of the first steps and those of fluxkit's optimiser on the same draws, relative."""
        self.take(AGREEMENT_STEPS - 1)
        self._pipe.send(DRAWS)
        records, losses, first_weights = self._answer()
        flux = load_flux(job.spec, job.seed, CPU)
        flux.transformer.train()
        copy_weights(flux.trainable(), first_weights)
        draws = RecordedSamples(flux, records, prepared.size, pipeline_folder(job.spec.model))
        optimiser = Optimiser(job, flux, draws, Accelerator(cpu=True, mixed_precision="no"))
        ours = [float(optimiser.step(step)) for step in range(AGREEMENT_STEPS)]
        return max(abs(one - other) / other for one, other in zip(ours, losses, strict=True))


class _EndedError(Exception):
    """Leaves the script's loop."""


def run_script(path: Path, flags: list[str], threads: int, options: Options, pipe: Connection) -> None:
    """The script's own process."""
    specification = importlib.util.spec_from_file_location("train_dreambooth_lora_flux", path)
    script: Any = importlib.util.module_from_spec(specification)
    with mock.patch.dict(sys.modules, _picture_transforms()):
        specification.loader.exec_module(script)
    torch.set_num_threads(threads)
    script.args = script.parse_args(flags)
    script.args.report_to = None
    _Turns(script, options, pipe)
    with suppress(_EndedError):
        script.main(script.args)


class _Turns:
    """Lets the script wait after each stretch of steps, and keeps what its first steps drew."""

    def __init__(self, script: Any, options: Options, pipe: Connection) -> None:
        self._pipe, self._now = pipe, options.now
        self._left, self._began = 1, self._now()
        self._records, self._losses = list[dict[str, Any]](), list[float]()
        self._first_weights = dict[str, Tensor]()
        self._encode_once(script)
        self._wait_in_the_progress_bar(script)
        self._record_draws(script)

    def _stepped(self, loss: float) -> None:
        """Called after each step."""
        self._losses.append(loss)
        self._left -= 1
        if self._left:
            return
        self._pipe.send(self._now() - self._began)
        while (told := self._pipe.recv()) == DRAWS:
            self._pipe.send(self._draws())
        if not told:
            raise _EndedError
        self._left, self._began = told, self._now()

    def _encode_once(self, script: Any) -> None:
        encode, encoded = script.encode_prompt, {}

        def encode_once(encoders: Any, tokenizers: Any, prompt: Any, length: int) -> Any:
            key = tuple([prompt] if isinstance(prompt, str) else prompt)
            if key not in encoded:
                encoded[key] = encode(encoders, tokenizers, prompt, length)
            return encoded[key]

        script.encode_prompt = encode_once

    def _wait_in_the_progress_bar(self, script: Any) -> None:
        """It gets every loss."""
        stepped = self._stepped

        class Bar(script.tqdm):
            def set_postfix(self, **named: Any) -> None:
                super().set_postfix(**named)
                stepped(named["loss"])

        script.tqdm = Bar

    def _record_draws(self, script: Any) -> None:
        load = script.FluxTransformer2DModel.from_pretrained

        def load_watched(*words: Any, **named: Any) -> Any:
            transformer = load(*words, **named)
            self._hook = transformer.register_forward_pre_hook(self._record, with_kwargs=True)
            return transformer

        script.FluxTransformer2DModel = SimpleNamespace(from_pretrained=load_watched)
        self._sample, self._randn_like = DiagonalGaussianDistribution.sample, torch.randn_like
        DiagonalGaussianDistribution.sample = lambda latent: self._kept("latents", self._sample(latent))
        torch.randn_like = lambda like: self._kept("noise", self._randn_like(like))

    def _kept(self, name: str, value: Tensor) -> Tensor:
        if name == "latents":
            self._records.append({})
        self._records[-1][name] = value.clone()
        return value

    def _record(self, transformer: Any, _: Any, named: dict[str, Any]) -> None:
        self._records[-1].update(named)
        if not self._first_weights:
            weights = transformer.named_parameters()
            self._first_weights = {name: value.detach().clone() for name, value in weights if value.requires_grad}

    def _draws(self) -> tuple[list[dict[str, Any]], list[float], dict[str, Tensor]]:
        """What the steps so far drew, their losses, and the weights before the first; no more is recorded."""
        self._hook.remove()
        DiagonalGaussianDistribution.sample, torch.randn_like = self._sample, self._randn_like
        return self._records, self._losses, self._first_weights


class RecordedSamples:
    """The script's draws in the place of fluxkit's own."""

    def __init__(self, flux: Flux, records: list[dict[str, Any]], size: tuple[int, int], pipeline: Path) -> None:
        self._flux, self._records, self._size = flux, records, size
        self._vae = json.loads((pipeline / "vae" / "config.json").read_text(encoding="utf-8"))

    def loss(self, positions: range) -> Tensor:
        """Mean velocity loss of these samples."""
        record = self._records[positions.start // len(positions)]
        clean = (record["latents"] - self._vae["shift_factor"]) * self._vae["scaling_factor"]
        captions = Embeddings(record["encoder_hidden_states"], record["pooled_projections"])
        velocity = self._flux.velocity(record["hidden_states"], record["timestep"], captions, self._size)
        return flow.squared_error(velocity, flow.pack(record["noise"] - clean)).mean()


def _picture_transforms() -> dict[str, Any]:
    """What the script uses of torchvision before its first step; the photos have their size already."""
    names = ("torchvision", "torchvision.transforms", "torchvision.transforms.functional")
    package, transforms, functional = (ModuleType(name) for name in names)
    package.transforms, transforms.functional, functional.crop = transforms, functional, None
    transforms.InterpolationMode = SimpleNamespace(BILINEAR="bilinear")
    for name in ("Resize", "CenterCrop", "RandomCrop", "RandomHorizontalFlip", "ToTensor", "Normalize"):
        setattr(transforms, name, lambda *_words, **_named: lambda image: image)
    transforms.Compose = lambda _: lambda image: to_tensor([image])[0]
    return dict(zip(names, (package, transforms, functional), strict=True))


def _flags(job: Job, prepared: Prepared, folder: Path) -> list[str]:
    tune, photos = job.spec.tune, folder / "photos"
    photos.mkdir(parents=True)
    for place in prepared.of_split("tuning"):
        prepared.pairs[place].image.save(photos / f"{place}.png")
    transformer = load_flux(job.spec, job.seed, CPU).transformer
    adapted = [name for name, module in transformer.named_modules() if isinstance(module, OneAdapterLinear)]
    flags = {
        "pretrained_model_name_or_path": pipeline_folder(job.spec.model), "instance_data_dir": photos,
        "instance_prompt": "a photo", "output_dir": folder / "out", "resolution": job.spec.data.resolution,
        "train_batch_size": tune.global_batch_size, "rank": tune.lora_rank, "lora_alpha": int(tune.lora_alpha),
        "lora_layers": ",".join(adapted), "learning_rate": tune.learning_rate, "lr_scheduler": "constant",
        "lr_warmup_steps": 0, "repeats": REPEATS, "max_train_steps": 10**6, "checkpointing_steps": 10**7,
        "max_sequence_length": prepared.captions.prompt_NTE.shape[1], "mixed_precision": "no", "seed": 0,
        "weighting_scheme": "none",
    }  # fmt: skip
    words = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
    return [*words, "--cache_latents", "--center_crop"]
