"""Denoising a batch on latents against diffusers' own `FluxPipeline.__call__`, with equal outputs."""

from collections.abc import Callable
from typing import Any

from bench.pairs import Options, Row, paired_row

BATCH, STEPS, LONGEST_SECONDS = 256, 4, 60.0


def rows(options: Options) -> list[Row]:
    """`sampling-256` in the plan's micro-batches, and the whole batch in one pass where that takes a minute at most."""
    import torch

    from fluxkit.machine.system import probe
    from fluxkit.plan.plan import make_plan
    from fluxkit.spec.toml import load_spec

    size = make_plan(load_spec("nano-laptop-cpu"), probe()).inference_micro_batch_size
    ours, theirs = works(size)
    whole, _ = works(BATCH)
    expected, seconds = theirs(), options.seconds(whole)
    equal = {name: bool(torch.equal(work(), expected)) for name, work in {"planned": ours, "whole": whole}.items()}
    furthest = float((ours() - expected).abs().max())

    def timed(work: Callable[[], object]) -> Callable[[], float]:
        return lambda: options.seconds(work)

    facts = {"batch": BATCH, "steps": STEPS, "equal_to_the_last_bit": equal, "furthest": furthest}
    measured = [
        paired_row(
            f"sampling-{BATCH}", "FluxPipeline.__call__ / fluxkit, seconds for the batch",
            timed(theirs), timed(ours), options.pairs, micro_batch=size, at_least=1.4, **facts,
        )
    ]  # fmt: skip
    if seconds <= LONGEST_SECONDS:
        against = "the whole batch in one pass / the plan's micro-batches, seconds"
        row = paired_row(f"sampling-{BATCH}-whole", against, timed(whole), timed(ours), options.pairs, **facts)
        measured.append(row)
    return measured


def works(size: int) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """Latents (B, C, H, W) of the batch by fluxkit's loop in micro-batches of `size`, and by the pipeline at once."""
    import torch
    from diffusers import FluxPipeline

    from fluxkit.engine.data.prepare import prepare_data
    from fluxkit.engine.flux import flow
    from fluxkit.engine.flux.autoencoder import load_autoencoder
    from fluxkit.engine.flux.transformer import Flux, load_transformer, silence_libraries
    from fluxkit.engine.measure.sampling import LatentBatch, denoise
    from fluxkit.model.pipeline_files import pipeline_folder
    from fluxkit.spec.toml import load_spec

    silence_libraries()
    spec, device = load_spec("nano-laptop-cpu"), torch.device("cpu")
    prepared = prepare_data(spec, load_autoencoder(spec.model, device), device)
    shape = tuple(prepared.latents_NCHW.shape[1:])
    flux = Flux(load_transformer(spec.model, torch.float32, 0).eval(), device)
    batch, whole = (LatentBatch(prepared.captions, shape, range(BATCH), together) for together in (size, BATCH))
    noises, captions = whole.micro_batch(0)
    pipeline = FluxPipeline.from_pretrained(pipeline_folder(spec.model), transformer=flux.transformer)
    pipeline.set_progress_bar_config(disable=True)

    def ours() -> torch.Tensor:
        parts = (batch.micro_batch(first) for first in range(0, BATCH, size))
        return torch.cat([denoise(flux, noise, texts, STEPS) for noise, texts in parts])

    def theirs() -> torch.Tensor:
        tokens = pipeline(
            prompt_embeds=captions.prompt_NTE, pooled_prompt_embeds=captions.pooled_NP, height=spec.data.resolution,
            width=spec.data.resolution, num_inference_steps=STEPS, sigmas=flow.schedule(STEPS)[:-1],
            guidance_scale=0.0, latents=flow.pack(noises), output_type="latent",
        ).images  # fmt: skip
        return flow.unpack(tokens, *shape[1:])

    return ours, theirs
