"""One run on one rank: prepare, load, warm up, tune, evaluate, measure inference. Only this file knows the order."""

import platform
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator

from fluxkit.engine.data.prepare import Prepared, prepare_data
from fluxkit.engine.data.tensor_file import TensorFile
from fluxkit.engine.data.weights_hash import weights_sha256
from fluxkit.engine.evaluate.protocols import Evaluator, save_image
from fluxkit.engine.flux import compilation, distributed
from fluxkit.engine.flux.assistant_adapter import Assistant
from fluxkit.engine.flux.attention import attention_backends, observed_kernels
from fluxkit.engine.flux.autoencoder import Autoencoder, load_autoencoder
from fluxkit.engine.flux.precision import fp32_products, observed_precision, set_fp32_products, switches_in_force
from fluxkit.engine.flux.transformer import Flux, load_flux, save_lora, silence_libraries
from fluxkit.engine.measure import agreement_probe, inference_speed
from fluxkit.engine.measure.microbenchmark import measure_rates
from fluxkit.engine.measure.timing import host_time, peak_memory_bytes, reset_peak_memory
from fluxkit.engine.process.device_check import check_device
from fluxkit.engine.process.event_log import EventLog
from fluxkit.engine.tuning.optimizer_step import Optimiser
from fluxkit.engine.tuning.sample_stream import Samples
from fluxkit.engine.tuning.trajectory import Trajectory, snapshot_path
from fluxkit.files.atomic_file import written_whole
from fluxkit.machine.environment import recorded
from fluxkit.machine.stop_requests import StopRequestedError, StopRequests, check_stop
from fluxkit.plan.plan import Job
from fluxkit.record import events
from fluxkit.record.facts import InputPair, TimedPhase, When
from fluxkit.record.input_files import input_files
from fluxkit.record.redact import redact


class Run:
    """What the phases of a run share."""

    def __init__(self, job: Job, folder: Path, log: EventLog, stop: StopRequests) -> None:
        silence_libraries()
        self.job, self.folder, self.log, self.stop = job, folder, log, stop
        torch.set_num_threads(job.plan.threads_per_process)
        set_fp32_products("ieee")
        # "no": what is asked of precision stands in the spec, and autocast is the model's own (`Flux`).
        self.accelerator = Accelerator(
            cpu=job.plan.device == "cpu", mixed_precision="no", kwargs_handlers=[distributed.process_group(job)]
        )
        self.device = self.accelerator.device
        check_device(job.plan, self.device, self.accelerator.local_process_index)
        self._log_started()

    def _log_started(self) -> None:
        execution = self.job.spec.execution
        properties = torch.cuda.get_device_properties(self.device) if self.device.type == "cuda" else None
        versions = {
            "python": platform.python_version(), "torch": torch.__version__,
            "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        }  # fmt: skip
        if properties:
            versions |= {"cuda": str(torch.version.cuda), "cudnn": str(torch.backends.cudnn.version())}
        self.log.write(
            events.Started,
            rank=self.log.rank,
            device_name=properties.name if properties else self.job.plan.device_names[0],
            device_uuid=str(properties.uuid) if properties else None,
            threads=torch.get_num_threads(),
            precision=switches_in_force(execution.quantization),
            versions=versions,
            environment={name: redact(value, self.folder) for name, value in recorded().items()},
        )

    def execute(self) -> None:
        """All phases.

        Raises:
            StopRequestedError: it was told to stop, and a later attempt can go on.
        """
        spec = self.job.spec
        with self._phase("prepare"):
            autoencoder = load_autoencoder(spec.model, self.device) if spec.model.can_draw else None
            prepared = prepare_data(spec, autoencoder, self.device, self.log.watched)
        with self._phase("load"):
            assistant = Assistant(spec.model.assistant_adapter) if spec.model.assistant_adapter else None
            flux = load_flux(spec, self.job.seed, self.device, assistant)
            distributed.distribute_model(flux, self.accelerator, spec.execution.parallelism)
            self._log_inputs(prepared, flux)
        self._certify(autocast=flux.autocast)
        with self._attention(spec.execution.precision):
            reached = self._tune(prepared, flux)
            with self._phase("evaluate"), compilation.uncompiled():
                distributed.make_whole(flux, self.accelerator)
                if assistant:
                    assistant.add(flux.transformer, -1.0)
                self._evaluate(prepared, autoencoder, flux, reached)
        del autoencoder  # no part of the memory that inference needs
        precision = spec.execution.inference_precision
        with (
            self._attention(precision),
            fp32_products("tf32" if precision == "tf32" else "ieee"),
            self._between_canaries("inference", precision),
            self._phase("inference"),
        ):
            inference_speed.measure(self.job, flux, prepared, self.accelerator, self.log)

    def _attention(self, precision: str) -> AbstractContextManager[None]:
        return attention_backends(self.device, precision, self.job.spec.execution.attention)

    @contextmanager
    def _phase(self, phase: events.Phase) -> Iterator[None]:
        """A phase with its own memory peak; all ranks leave it together. Its two ends are boundaries."""
        check_stop()
        reset_peak_memory(self.device)
        with self.log.during(phase):
            yield
            self.accelerator.wait_for_everyone()
            self.log.write(events.Memory, phase=phase, peak_bytes=peak_memory_bytes(self.device))
        check_stop()

    @contextmanager
    def _between_canaries(self, phase: TimedPhase, precision: str) -> Iterator[None]:
        """A canary on every rank at once before the phase and, unless it was stopped, after it."""
        self._canary(phase, "before", precision)
        yield
        self._canary(phase, "after", precision)

    def _canary(self, phase: TimedPhase, when: When, precision: str) -> None:
        self.accelerator.wait_for_everyone()
        rates = None
        with suppress(torch.OutOfMemoryError):  # a device that is full to the brim is measured without one
            rates = measure_rates(self.device, precision)
        self.accelerator.wait_for_everyone()
        if rates:
            self.log.write(events.Canary, phase=phase, when=when, precision=precision, **rates._asdict())

    def _log_inputs(self, prepared: Prepared, flux: Flux) -> None:
        if not self.accelerator.is_main_process:
            return
        pairs = tuple(
            InputPair(
                id=pair.id, caption=pair.caption, split=pair.split, cluster=pair.cluster,
                pixels_sha256=pair.pixels_sha256,
                image=None if pair.split == "regularization"
                else save_image(self.folder, f"samples/real/{pair.id}.png", np.asarray(pair.image)),
            )
            for pair in prepared.pairs
        )  # fmt: skip
        self.log.write(
            events.Inputs,
            weights_sha256=weights_sha256(self.job.spec.model),
            dataset_sha256=prepared.sha256(),
            skipped=[redact(f"{problem.name}: {problem.reason}", self.folder) for problem in prepared.skipped],
            pairs=pairs,
            parameters=sum(value.numel() for name, value in flux.transformer.named_parameters() if "lora_" not in name),
            trainable_parameters=sum(value.numel() for value in flux.trainable().values()),
            files=input_files(self.job.spec),
        )

    def _certify(self, *, autocast: bool) -> None:
        """Whether this device computes what the others compute, in each precision of the run, outside of all phases.

        With the kernels of attention that the run may use, and where the run tunes by autocast, by autocast too.
        """
        execution = self.job.spec.execution
        for precision in dict.fromkeys((execution.tuning_precision, execution.inference_precision)):
            by_autocast = autocast and precision == execution.tuning_precision
            with self._attention(precision):
                facts = agreement_probe.certify(self.device, precision, autocast=by_autocast)
            self.log.write(events.Agreement, **facts)

    def _tune(self, prepared: Prepared, flux: Flux) -> list[dict[str, Any]]:
        """Facts of the marks reached; the optimiser's memory is free again afterwards."""
        flux.transformer.train()
        samples = Samples(self.job, prepared, flux)
        optimiser = Optimiser(self.job, flux, samples, self.accelerator)
        trajectory = Trajectory(self.job, self.folder, optimiser, self.accelerator, log=self.log, stop=self.stop)
        began = compilation.compile_blocks(flux.transformer) if self.job.spec.execution.compile else None
        # The canary frees what the allocator keeps, so warming up comes after it, as inference does.
        with self._between_canaries("tune", self.job.spec.execution.tuning_precision):
            with self._phase("warm_up"):
                with observed_precision(flux.transformer, self.job.spec.execution.quantization) as precision:
                    kernels = observed_kernels(optimiser.warm_up, flux.transformer)
                micro_batch = range(self.job.plan.micro_batch_size)
                host = host_time(lambda: samples.loss(micro_batch).backward(), self.device)
                flux.transformer.zero_grad(set_to_none=True)
                trajectory.resume()
            seconds = None if began is None else compilation.seconds_compiled(began)
            seen = {"attention": kernels, "precision": precision, "host": host}
            self.log.write(events.TuningSetting, compile_seconds=seconds, **seen)
            with self._phase("tune"), self.stop.deferred():
                completed = trajectory.run()
            if not completed:
                raise StopRequestedError
        return trajectory.state.reached

    def _evaluate(
        self, prepared: Prepared, autoencoder: Autoencoder | None, flux: Flux, reached: list[dict[str, Any]]
    ) -> None:
        """Grades every distinct state once; the last one is saved and timed. Without an autoencoder none is graded."""
        evaluator = Evaluator(self.job, prepared, autoencoder, self.folder, self.log) if autoencoder else None
        if evaluator:
            evaluator.anchors()
        by_iteration: dict[int, list[str]] = {}
        for mark in reached:
            by_iteration.setdefault(mark["iteration"], []).append(mark["id"])
        states = sorted(by_iteration.items())
        for iteration, marks in states:
            ungraded = evaluator is not None and not evaluator.has_graded(marks)
            if ungraded or iteration == states[-1][0]:
                distributed.copy_weights(flux.trainable(), TensorFile(snapshot_path(self.folder, iteration)))
            if evaluator and ungraded:
                evaluator.grade(flux, iteration, marks)
        if self.accelerator.is_main_process:
            self._save_tuned(flux)

    def _save_tuned(self, flux: Flux) -> None:
        """The tuned weights as plain diffusers loads them, and adapters as ComfyUI does."""
        if self.job.spec.tune.method == "full":
            with written_whole(self.folder / "transformer", below=self.folder) as temporary:
                flux.transformer.save_pretrained(temporary)
            return
        with written_whole(self.folder / "adapter", below=self.folder) as temporary:
            save_lora(flux.transformer, temporary)
