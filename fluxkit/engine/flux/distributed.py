"""Several processes that tune one model: DDP keeps all of it on each device, FSDP2 a share of every parameter.

Both give the gradient of the global batch: its mean over the processes. Source: PyTorch `torch.distributed.fsdp`.
"""

import gc
from collections.abc import Iterable, Mapping
from datetime import timedelta

import torch
from accelerate import Accelerator, InitProcessGroupKwargs
from diffusers import FluxTransformer2DModel
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from fluxkit.engine.flux.transformer import Flux
from fluxkit.plan.plan import Job
from fluxkit.plan.storage import patience_seconds
from fluxkit.spec.execution import Parallelism


def process_group(job: Job) -> InitProcessGroupKwargs:
    """How processes meet: they wait for each other as long as the first one may take to write a checkpoint."""
    seconds = patience_seconds(job.spec, job.plan.parameters, job.plan.trainable_parameters)
    return InitProcessGroupKwargs(timeout=timedelta(seconds=seconds))


def distribute_model(flux: Flux, accelerator: Accelerator, parallelism: Parallelism) -> None:
    """Makes one model of those of all processes, which have loaded the same weights."""
    if parallelism == "ddp":
        flux.forward = accelerator.prepare_model(flux.transformer)
        return
    mesh = init_device_mesh(flux.device.type, (accelerator.num_processes,))
    # Block by block, as deep as one all-gather should reach; weights stay FP32, so that autocast rounds as it does on
    # one device.
    for block in (*flux.transformer.transformer_blocks, *flux.transformer.single_transformer_blocks):
        fully_shard(block, mesh=mesh)
    fully_shard(flux.transformer, mesh=mesh)


def make_whole(flux: Flux, accelerator: Accelerator) -> None:
    """Makes the model what a process needs to grade it; of a sharded one only the shape, for `copy_weights` to fill.

    What tuning by several processes needed is gone before the whole of it takes memory: shares of weights, which lie in
    cycles of FSDP2's hooks, and DDP's copy of all gradients, which accelerate keeps.
    """
    sharded = any(isinstance(parameter, DTensor) for parameter in flux.transformer.parameters())
    if sharded:
        with torch.device("meta"):
            flux.transformer = FluxTransformer2DModel.from_config(flux.transformer.config)
    flux.forward = flux.transformer
    accelerator.free_memory()
    gc.collect()  # accelerate does so before it lets go of the wrapper
    if sharded:
        flux.transformer.to_empty(device=flux.device)


def local_shards(tensors: Iterable[Tensor]) -> list[Tensor]:
    """What of each tensor lies in this process, for use under `no_grad`; changing it changes the tensor."""
    return [tensor.to_local() if isinstance(tensor, DTensor) else tensor for tensor in tensors]


def gather_whole(tensors: Mapping[str, Tensor], *, keep: bool) -> dict[str, Tensor]:
    """All of each tensor on the CPU where `keep`, else nothing; every process has to call it, with the same names."""
    kept = {}
    for name, tensor in tensors.items():
        whole = tensor.detach()
        whole = whole.full_tensor() if isinstance(whole, DTensor) else whole
        if keep:
            kept[name] = whole.cpu()
    return kept


def shard_like(whole: Tensor, like: Tensor) -> Tensor:
    """The tensor on the device of `like`, cut as `like` is; every process has all of it, so nothing is sent."""
    on_device = whole.to(like.device)
    if not isinstance(like, DTensor) or on_device.shape != like.shape:
        return on_device
    return distribute_tensor(on_device, like.device_mesh, like.placements, src_data_rank=None)


@torch.no_grad()
def copy_weights(parameters: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> None:
    """Overwrites parameters, whole or sharded, with whole weights of the same names."""
    for name, parameter in parameters.items():
        parameter.copy_(shard_like(weights[name], parameter))
