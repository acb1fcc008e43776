"""One optimiser step over the global batch: gradients of all micro-batches and processes, clipped, then AdamW."""

import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext

import torch
from accelerate import Accelerator
from torch import Tensor

from fluxkit.engine.flux.distributed import copy_weights, local_shards, shard_like
from fluxkit.engine.flux.transformer import Flux
from fluxkit.engine.measure.timing import LONG_SECONDS, WARM_UP_STEPS, synchronize
from fluxkit.engine.tuning.sample_stream import Samples
from fluxkit.machine.stop_requests import StopRequestedError
from fluxkit.plan.plan import Job

ADAM_STATE = ("step", "exp_avg", "exp_avg_sq")


class Optimiser:
    """The optimiser, its state and the steps it takes."""

    def __init__(self, job: Job, flux: Flux, samples: Samples, accelerator: Accelerator) -> None:
        self._tune, self._micro = job.spec.tune, job.plan.micro_batch_size
        self._batch_here = job.spec.tune.global_batch_size // job.plan.processes
        self._accelerator, self._samples, self._flux = accelerator, samples, flux
        self.parameters = flux.trainable()
        self._optimizer = torch.optim.AdamW(
            self.parameters.values(), lr=self._tune.learning_rate, betas=(self._tune.adam_beta1, self._tune.adam_beta2),
            eps=self._tune.adam_epsilon, weight_decay=self._tune.weight_decay, fused=True,
        )  # fmt: skip
        self._averages = self._copies() if self._tune.ema_decay else None

    def _copies(self) -> list[Tensor]:
        return [parameter.detach().clone() for parameter in self.parameters.values()]

    def step(self, iteration: int, told_to_stop: Callable[[], bool] = lambda: False) -> Tensor:
        """One optimiser step over this process's share of the global batch; gives its mean loss, not yet read.

        Raises:
            StopRequestedError: `told_to_stop` said so before a micro-batch; the step has changed nothing.
        """
        first = iteration * self._tune.global_batch_size + self._accelerator.process_index * self._batch_here
        losses = []
        for start in range(0, self._batch_here, self._micro):
            if told_to_stop():
                self._optimizer.zero_grad(set_to_none=True)
                raise StopRequestedError
            last = start + self._micro >= self._batch_here
            # A sharded model has no `no_sync`: its gradients are shared out at every pass, or they would not fit.
            with self._accelerator.no_sync(self._flux.forward) if not last else nullcontext():
                loss = self._samples.loss(range(first + start, first + start + self._micro))
                if self._micro < self._batch_here:
                    loss = loss * (self._micro / self._batch_here)
                loss.backward()
            losses.append(loss.detach())
        self._update(iteration)
        return sum(losses[1:], start=losses[0])

    @torch.no_grad()
    def _update(self, iteration: int) -> None:
        warm_up = min(1.0, (iteration + 1) / max(1, self._tune.lr_warmup_steps))
        for group in self._optimizer.param_groups:
            group["lr"] = self._tune.learning_rate * warm_up
        torch.nn.utils.clip_grad_norm_(self.parameters.values(), self._tune.max_grad_norm, foreach=True)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        if self._averages is not None:
            # Ramped, so that the first steps are not dominated by the start.
            decay = min(self._tune.ema_decay, (1 + iteration) / (10 + iteration))
            torch._foreach_lerp_(local_shards(self._averages), local_shards(self.parameters.values()), 1 - decay)

    def warm_up(self) -> None:
        """Real steps on this machine's kernels, after which weights and optimiser are as if they had not been."""
        before = self._copies()
        for iteration in range(WARM_UP_STEPS):
            began = time.perf_counter()
            self.step(iteration)
            if self._all_took_long(began):
                break
        with torch.no_grad():
            torch._foreach_copy_(local_shards(self.parameters.values()), local_shards(before))
            if self._averages is not None:  # they began as the weights, so no copy of their own is needed
                torch._foreach_copy_(local_shards(self._averages), local_shards(before))
        self._optimizer.state.clear()
        synchronize(self._flux.device)

    def _all_took_long(self, began: float) -> bool:
        """Whether the step since `began` was long enough on every process: they must agree on the number of steps."""
        synchronize(self._flux.device)
        short = torch.tensor(float(time.perf_counter() - began < LONG_SECONDS)).to(self._flux.device)
        return float(self._accelerator.reduce(short, "sum")) == 0

    def graded(self) -> dict[str, Tensor]:
        """Copies of the weights that a mark grades: the averaged ones where an average is kept."""
        values = self._averages if self._averages is not None else list(self.parameters.values())
        return {name: value.detach().clone() for name, value in zip(self.parameters, values, strict=True)}

    def state(self) -> dict[str, Tensor]:
        """Weights, moments and averages by name: everything the next step depends on."""
        tensors: dict[str, Tensor] = {f"weight.{name}": parameter for name, parameter in self.parameters.items()}
        for name, parameter in self.parameters.items():
            tensors |= {f"optimizer.{key}.{name}": self._optimizer.state[parameter][key] for key in ADAM_STATE}
        for name, average in zip(self.parameters, self._averages or [], strict=False):
            tensors[f"average.{name}"] = average
        return tensors

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """The inverse of `state`, from whole tensors."""
        for name, parameter in self.parameters.items():
            copy_weights({name: parameter}, {name: tensors[f"weight.{name}"]})
            for key in ADAM_STATE:
                self._optimizer.state[parameter][key] = shard_like(tensors[f"optimizer.{key}.{name}"], parameter)
        if self._averages is not None:
            self._averages = [
                shard_like(tensors[f"average.{name}"], parameter) for name, parameter in self.parameters.items()
            ]
