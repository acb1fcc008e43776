"""fluxkit's steady step, as a run takes it, against a bare loop of the same mathematics on the embedded model.

Both have the same layers and adapters. The bare loop draws each batch's noise in one call and keeps no events, no
marks and no clock; beside fluxkit's steps the telemetry of a run is at work.
"""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from accelerate import Accelerator

from bench.pairs import Options, Row, paired_row
from fluxkit.engine.data.prepare import Prepared, prepare_data
from fluxkit.engine.flux import flow
from fluxkit.engine.flux.autoencoder import load_autoencoder
from fluxkit.engine.flux.compilation import compile_blocks
from fluxkit.engine.flux.distributed import distribute_model
from fluxkit.engine.flux.precision import set_fp32_products
from fluxkit.engine.flux.transformer import load_flux, silence_libraries
from fluxkit.engine.process.event_log import EventLog
from fluxkit.engine.tuning.optimizer_step import Optimiser
from fluxkit.engine.tuning.sample_stream import Samples
from fluxkit.engine.tuning.trajectory import Trajectory
from fluxkit.machine.system import probe
from fluxkit.plan.plan import Job, make_plan
from fluxkit.run.telemetry import Sampler
from fluxkit.spec.run_spec import RunSpec
from fluxkit.spec.toml import parse_spec

BATCHES = (4, 8, 20)
STEPS = 24
CPU = torch.device("cpu")


def rows(options: Options) -> list[Row]:
    """A row for each batch size."""
    return [_row(options, batch) for batch in BATCHES]


def nano_spec(options: Options, batch: int, **tune: Any) -> RunSpec:
    """The laptop's preset in what concerns a step, with budgets that do not end."""
    tune = {"learning_rate": 8e-3, "ema_decay": 0.98, "iterations": 10**6, "seconds": 1e6, "max_seconds": 1e6, **tune}
    execution = {"threads": options.threads}
    return parse_spec({
        "schema": "fluxkit.spec/1", "name": "bench",
        "tune": {"global_batch_size": batch, **tune}, "execution": execution,
    }, "the bench")  # fmt: skip


def prepared_here(spec: RunSpec) -> tuple[Job, Prepared]:
    """The job on this machine and its data, with the precision and threads of a run."""
    silence_libraries()
    set_fp32_products("ieee")
    job = Job(spec=spec, plan=make_plan(spec, probe()), seed=0)
    torch.set_num_threads(job.plan.threads_per_process)
    return job, prepare_data(spec, load_autoencoder(spec.model, CPU), CPU)


def _row(options: Options, batch: int) -> Row:
    job, prepared = prepared_here(nano_spec(options, batch))
    with tempfile.TemporaryDirectory() as folder:
        ours, bare = steady_steps(job, prepared, Path(folder)), bare_step(job, prepared)
        return paired_row(
            f"harness-batch-{batch}", f"seconds of fluxkit's step / of a bare loop's, nano, batch {batch}",
            lambda: options.seconds(ours), lambda: options.seconds(lambda: [bare() for _ in range(STEPS)]),
            options.pairs, steps=STEPS, at_most=1.02,
        )  # fmt: skip


def steady_steps(job: Job, prepared: Prepared, folder: Path, *, compiled: bool = False) -> Callable[[], None]:
    """Takes `STEPS` steps of a trajectory at each call: its blocks, clock, events and marks, with telemetry beside."""
    accelerator = Accelerator(cpu=True, mixed_precision="no")
    flux = load_flux(job.spec, job.seed, CPU)
    distribute_model(flux, accelerator, "ddp")
    flux.transformer.train()
    if compiled:
        compile_blocks(flux.transformer)
    optimiser = Optimiser(job, flux, Samples(job, prepared, flux), accelerator)
    log, stop = EventLog(folder, rank=0, attempt=0), SimpleNamespace(requested=False)
    trajectory = Trajectory(job, folder, optimiser, accelerator, log=log, stop=stop)

    def stretch() -> None:
        """What `Trajectory.run` does between two readings of its budgets, until so many steps are done."""
        end = trajectory.state.iteration + STEPS
        with Sampler(lambda: "tune").watch(os.getpid()):
            while trajectory.state.iteration < end:
                weights = optimiser.graded()
                trajectory._block(min(trajectory._agree_on_steps(), end - trajectory.state.iteration))
                trajectory._reach(weights, start=trajectory.state)

    return stretch


def bare_step(job: Job, prepared: Prepared) -> Callable[[], None]:
    """Forward, mean squared error, backward, clipping, fused AdamW and EMA, and nothing else."""
    tune = job.spec.tune
    transformer = load_flux(job.spec, job.seed, CPU).transformer.train()
    weights = [value for value in transformer.parameters() if value.requires_grad]
    averages = [weight.detach().clone() for weight in weights]
    optimizer = torch.optim.AdamW(
        weights, tune.learning_rate, (tune.adam_beta1, tune.adam_beta2), tune.adam_epsilon, tune.weight_decay,
        fused=True,
    )  # fmt: skip
    places = torch.tensor(prepared.of_split("tuning"))
    latents, captions = prepared.latents_NCHW[places], prepared.captions.of(places)
    fixed = {
        "txt_ids": torch.zeros(captions.prompt_NTE.shape[1], 3), "img_ids": flow.image_ids(*prepared.size),
        "guidance": None, "return_dict": False,
    }  # fmt: skip

    def step() -> None:
        rows = torch.randint(len(places), (tune.global_batch_size,))
        clean = latents[rows]
        noise, sigmas = torch.randn_like(clean), torch.rand(tune.global_batch_size)
        sigma = sigmas.view(-1, 1, 1, 1)
        velocity = transformer(
            hidden_states=flow.pack((1 - sigma) * clean + sigma * noise), timestep=sigmas,
            encoder_hidden_states=captions.prompt_NTE[rows], pooled_projections=captions.pooled_NP[rows], **fixed,
        )[0]  # fmt: skip
        torch.nn.functional.mse_loss(velocity, flow.pack(noise - clean)).backward()
        torch.nn.utils.clip_grad_norm_(weights, tune.max_grad_norm, foreach=True)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        with torch.no_grad():
            torch._foreach_lerp_(averages, weights, 1 - tune.ema_decay)

    return step
