"""The speed of inference: the tuned model as it would be used, and its timed denoising steps over the batch."""

from accelerate import Accelerator

from fluxkit.engine.data.prepare import Prepared
from fluxkit.engine.flux import attention, compilation
from fluxkit.engine.flux.bf16_storage import store_as_bf16
from fluxkit.engine.flux.precision import dtype_of, observed_precision
from fluxkit.engine.flux.transformer import Flux
from fluxkit.engine.measure import sampling
from fluxkit.engine.process.event_log import EventLog
from fluxkit.plan.plan import Job
from fluxkit.record import events


def measure(job: Job, flux: Flux, prepared: Prepared, accelerator: Accelerator, log: EventLog) -> None:
    """Says how the speed is measured, warms up, and writes the seconds of the steps of this process's share."""
    spec, plan, settings = job.spec, job.plan, job.spec.inference
    flux, weights = as_used(job, flux)
    own = settings.batch_size // plan.processes
    images = range(log.rank * own, (log.rank + 1) * own)
    _, channels, height, width = prepared.latents_NCHW.shape
    batch = sampling.LatentBatch(prepared.captions, (channels, height, width), images, plan.inference_micro_batch_size)
    began = compilation.compile_blocks(flux.transformer) if spec.execution.compile else None
    seconds: list[float] = []
    with observed_precision(flux.transformer, weights) as precision:
        kernels = attention.observed_kernels(
            lambda: seconds.append(sampling.warm_up_seconds(flux, batch)), flux.transformer
        )
    log.write(
        events.InferenceSetting,
        micro_batch_size=plan.inference_micro_batch_size,
        precision=precision,
        attention=kernels,
        warm_up_seconds=sum(seconds),
        compile_seconds=None if began is None else compilation.seconds_compiled(began),
    )
    accelerator.wait_for_everyone()
    for steps in sampling.denoising_times(flux, batch, settings):
        issued = tuple(step.issue_seconds for step in steps) if flux.device.type == "cuda" else None
        log.write(events.InferenceSteps, seconds=tuple(step.seconds for step in steps), issue_seconds=issued)


def as_used(job: Job, flux: Flux) -> tuple[Flux, str]:
    """The model in the precision of the spec, its adapters fused, and how its weights are stored if otherwise.

    Weights of 8 bits and weights of bfloat16 that are widened keep the adapters beside them, because fused they would
    be others. What is fused is fused in the wider of the two precisions, the tuning's and the inference's.
    """
    execution, transformer = job.spec.execution, flux.transformer.eval()
    dtype = dtype_of(execution.inference_precision)
    if execution.quantization != "none":
        return Flux(transformer, flux.device), execution.quantization
    if execution.inference_weights == "bfloat16":
        share = store_as_bf16(transformer)
        return Flux(transformer, flux.device, dtype=dtype), f"bfloat16 ({share:.1%} of the numbers), adapters apart"
    if dtype.itemsize > transformer.dtype.itemsize:
        transformer = transformer.to(dtype)
    if job.spec.tune.method == "lora":
        transformer.fuse_lora()
        transformer.unload_lora()
    return Flux(transformer.to(dtype), flux.device), "none"
