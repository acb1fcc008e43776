"""Every metric, a row each: how it is called and measured, graded, compared, told and drawn."""

from typing import Literal, NamedTuple

from fluxkit.stats import LOSS_MARGIN, PSNR_MARGIN_DB, SPEED_MARGIN, SSIM_MARGIN

Subject = Literal["training_speed", "inference_speed", "quality", "energy", "run"]
"""What a number, and a check of it, is about."""

FASTER = ("faster", "slower")
BETTER = ("better", "worse")
WORSE = ("worse", "better")
LARGER = ("larger", "smaller")
DEARER = ("dearer", "cheaper")


class Scored(NamedTuple):
    """Which scores of a run a metric of quality is the mean of."""

    field: str
    """Of `ReconstructionScore`, or of `ValidationScore`."""
    mark: Literal["time", "iterations"] = "time"
    """At which of the two protocols' marks."""
    held_out: bool = False


class Question(NamedTuple):
    """The question that a metric answers, and the words of its answer."""

    place: int
    """Among the answers, from 1."""
    scenario: str
    leads: str
    """Said of the one that is best."""
    ties: str
    """Said of several that are equally good."""
    asks: Literal["time", "images", "memory"] | None = None
    """What the question names, where that is not the metric itself: the time of the iterations that all do, whole
    images a second, or which memory holds each configuration."""


class Metric(NamedTuple):
    """A number of a run's summary, or what it costs."""

    key: str
    """Field of `Summary`, or name of the cost."""
    title: str
    unit: str
    """Empty where there is none."""
    better: Literal["higher", "lower"] | None
    """Which way is better; None where neither is, and nothing leads."""
    subject: Subject
    """Of its grade."""
    also: tuple[Subject, ...] = ()
    """Subjects that its grade is about besides: a speed decides how many iterations fell into an equal time."""
    factor: float = 1.0
    """Stored value times this is the value in `unit`."""
    geometric: bool = False
    """A ratio has a geometric mean and an interval on the log scale."""
    per: str | None = None
    """Of a cost alone: the unit of work that is priced."""
    per_thousand: str | None = None
    """A thousand units of it, which are priced where one costs less than a cent."""
    of_all_runs: bool = False
    """Of a cost: whether it needs all runs, because those that have it would flatter those that do not."""
    of_inference: bool = False
    """Whether it is of the inference phase, and stands with its batch size and its precision."""
    role: Literal["primary", "supporting", "descriptive"] = "descriptive"
    """Primary: one of the study's three questions. Supporting: its subject is graded too where this alone is known."""
    verdicts: tuple[str, str] | None = None
    """Said of the first of two if it has more, and if it has less; None: it is not contrasted."""
    contrast_name: str | None = None
    """Its quantity in contrasts, where that is not the key."""
    same_verdict_as: str | None = None
    """Key of the metric whose contrasts decide: the same speed in another unit."""
    scored: Scored | None = None
    """Of quality: contrasted photo by photo as a difference; others as a ratio of runs."""
    margin: float = SPEED_MARGIN
    """Two values no further apart are equivalent."""
    relative: bool = True
    """Whether the margin is a share of the value, or in `unit`."""
    untuned: str | None = None
    """Key of the same score before tuning, without which it does not stand. What is worse than that is not ranked."""
    scaling_batch: tuple[str, str] | None = None
    """Table and key of the batch in the spec, where this rate says how well several devices do the work of one."""
    question: Question | None = None
    rerun: bool = False
    """Whether a run that is done again has to reproduce it."""
    headline: Literal["always", "where priced"] | None = None
    """Whether it stands in the first table of a page."""
    end_of_run: str | None = None
    """Its unit in the sentence that ends a run, where it stands in that."""
    held_out_title: str | None = None
    """Its title among the held-out scores of a page."""
    curve_title: str | None = None
    """Of its chart over the trajectory; `CurvePoint` has a field of its key then."""
    bars: bool = False
    """Whether a page draws it as a bar chart, and its contrasts as ratios to the fastest."""

    @property
    def quantity(self) -> str:
        """Its name in contrasts and answers."""
        return self.contrast_name or self.key

    @property
    def judged(self) -> bool:
        """Whether its contrasts have a verdict: the study's questions and the costs do, all else is descriptive."""
        return bool(self.verdicts) and (self.role == "primary" or self.per is not None)

    @property
    def margin_text(self) -> str:
        """The margin with its unit."""
        return f"{100 * self.margin:g} %" if self.relative else f"{self.margin:g} {self.unit}".rstrip()

    def unit_of_work(self, iterations: int) -> str:
        """Of a cost, what is priced, where so many iterations are the constant of the protocol."""
        return (self.per or "").format(iterations=f"{iterations:,}")


METRICS = (
    Metric(
        "training_iterations_per_second", "Training speed", "iterations/s", "higher", "training_speed",
        role="primary", verdicts=FASTER, contrast_name="training_speed", rerun=True,
        headline="always", end_of_run="iterations/s", bars=True,
        question=Question(1, "Least time to tune", "tunes fastest", "tune equally fast", "time"),
    ),
    Metric(
        "training_images_per_second", "Training throughput", "images/s", "higher", "training_speed",
        same_verdict_as="training_iterations_per_second", headline="always",
        scaling_batch=("tune", "global_batch_size"),
    ),
    Metric(
        "inference_image_steps_per_second", "Inference speed", "image-steps/s", "higher", "inference_speed",
        of_inference=True, role="primary", verdicts=FASTER, contrast_name="inference_speed", rerun=True,
        headline="always", end_of_run="image-steps/s", bars=True, scaling_batch=("inference", "batch_size"),
        question=Question(3, "Fastest generation", "generates fastest", "generate equally fast", "images"),
    ),
    Metric(
        "inference_batch_steps_per_second", "Inference, whole batch", "batch-steps/s", "higher", "inference_speed",
        of_inference=True, same_verdict_as="inference_image_steps_per_second",
    ),
    Metric(
        "psnr_db", "PSNR in equal time", "dB", "higher", "quality", also=("training_speed",),
        role="primary", verdicts=BETTER, scored=Scored("psnr_db"), margin=PSNR_MARGIN_DB, relative=False,
        untuned="psnr_db_untuned", rerun=True, headline="always", end_of_run="dB PSNR",
        curve_title="PSNR of the tuned images",
        question=Question(
            2, "Best quality in equal time", "generates the tuned images best after equal time",
            "generate the tuned images equally well after equal time",
        ),
    ),
    Metric("psnr_db_untuned", "PSNR untuned", "dB", None, "quality"),
    Metric(
        "ssim", "SSIM in equal time", "", "higher", "quality", also=("training_speed",),
        verdicts=BETTER, scored=Scored("ssim"), margin=SSIM_MARGIN, relative=False,
        untuned="ssim_untuned", rerun=True, headline="always", end_of_run="SSIM",
        curve_title="SSIM of the tuned images",
    ),
    Metric("ssim_untuned", "SSIM untuned", "", None, "quality"),
    Metric(
        "psnr_db_at_iterations", "PSNR at equal iterations", "dB", "higher", "quality",
        verdicts=BETTER, scored=Scored("psnr_db", "iterations"), margin=PSNR_MARGIN_DB, relative=False,
        untuned="psnr_db_untuned", rerun=True,
        question=Question(
            6, "Best quality after equal iterations", "generates the tuned images best after equal iterations",
            "generate the tuned images equally well after equal iterations",
        ),
    ),
    Metric(
        "ssim_at_iterations", "SSIM at equal iterations", "", "higher", "quality",
        verdicts=BETTER, scored=Scored("ssim", "iterations"), margin=SSIM_MARGIN, relative=False,
        untuned="ssim_untuned", rerun=True,
    ),
    Metric(
        "validation_loss", "Held-out loss", "", "lower", "quality", also=("training_speed",),
        role="supporting", verdicts=WORSE, scored=Scored("loss", held_out=True), margin=LOSS_MARGIN,
        untuned="validation_loss_untuned", headline="always", held_out_title="Loss",
        curve_title="Loss on held-out images",
        question=Question(
            7, "Best held-out score in equal time", "does best on images it never saw",
            "do equally well on images they never saw",
        ),
    ),
    Metric(
        "validation_loss_untuned", "Held-out loss untuned", "", None, "quality", held_out_title="Loss untuned"
    ),
    Metric(
        "validation_psnr_db", "Held-out PSNR", "dB", "higher", "quality", also=("training_speed",),
        margin=PSNR_MARGIN_DB, relative=False, untuned="validation_psnr_db_untuned", rerun=True,
        held_out_title="One-step PSNR (dB)",
    ),
    Metric(
        "validation_psnr_db_untuned", "Held-out PSNR untuned", "dB", None, "quality",
        held_out_title="One-step PSNR untuned (dB)",
    ),
    Metric(
        "validation_ssim", "Held-out SSIM", "", "higher", "quality", also=("training_speed",),
        margin=SSIM_MARGIN, relative=False, untuned="validation_ssim_untuned", rerun=True,
        held_out_title="One-step SSIM",
    ),
    Metric(
        "validation_ssim_untuned", "Held-out SSIM untuned", "", None, "quality",
        held_out_title="One-step SSIM untuned",
    ),
    Metric(
        "peak_memory_bytes", "Peak memory", "GiB", "lower", "run",
        factor=2.0**-30, verdicts=LARGER, headline="always",
        question=Question(8, "Memory needed", "needs the least memory", "need the same memory", "memory"),
    ),
    Metric("tuning_seconds", "Tuning time", "s", None, "training_speed"),
    Metric("total_seconds", "Whole run", "s", None, "training_speed", also=("inference_speed",)),
    Metric(
        "training_flops_share", "Share of this machine's ceiling, tuning", "%", None, "training_speed",
        factor=100.0, geometric=True,
    ),
    Metric(
        "inference_flops_share", "Share of this machine's ceiling, inference", "%", None, "inference_speed",
        factor=100.0, geometric=True, of_inference=True,
    ),
    Metric(
        "energy_joules", "Energy of the run, gross", "kJ", "lower", "energy",
        factor=1e-3, role="supporting", headline="always",
    ),
    Metric(
        "usd_per_1000_iterations", "Cost per 1,000 iterations", "USD", "lower", "training_speed",
        per="1,000 iterations", per_thousand="1,000,000 iterations", verdicts=DEARER, headline="where priced",
        question=Question(5, "Least money per iteration", "iterates cheapest", "cost the same per iteration"),
    ),
    Metric(
        "usd_per_adapter", "Cost per tuned adapter", "USD", "lower", "training_speed",
        per="adapter of {iterations} iterations, loading and warm-up included",
        per_thousand="1,000 adapters of {iterations} iterations, loading and warm-up included",
        verdicts=DEARER, headline="always",
        question=Question(4, "Least money per adapter", "tunes an adapter cheapest", "cost the same per adapter"),
    ),
    Metric(
        "usd_per_job", "Cost per whole job", "USD", "lower", "training_speed",
        per="whole job of {iterations} iterations, from loading to the graded adapter",
        per_thousand="1,000 whole jobs of {iterations} iterations, from loading to the graded adapter",
        verdicts=DEARER, headline="where priced",
    ),
    Metric(
        "usd_per_1000_images", "Cost per 1,000 images", "USD", "lower", "inference_speed",
        per="1,000 images", per_thousand="1,000,000 images", verdicts=DEARER, headline="where priced",
    ),
    Metric(
        "usd_per_db", "Cost per dB gained", "USD", "lower", "quality", also=("training_speed",),
        per="dB gained over untuned", per_thousand="1,000 dB gained over untuned", of_all_runs=True,
    ),
)  # fmt: skip
"""In the order in which tables have them. A row says no more than what it does not share with most."""

COSTS = tuple(metric for metric in METRICS if metric.per)
"""Made of what a run took and of the reader's prices, so in no result."""
SUMMARY_METRICS = tuple(metric for metric in METRICS if not metric.per)
"""One for each field of `Summary`."""
CONTRASTED = tuple(metric for metric in METRICS if metric.verdicts)
CURVES = tuple(metric for metric in METRICS if metric.curve_title)
UNTUNED_KEYS = frozenset(metric.untuned for metric in METRICS if metric.untuned)
"""Scores of the model before tuning, which is the same in all runs of one precision."""
HELD_OUT = tuple(metric for metric in METRICS if metric.held_out_title)
SCALING_RATES = tuple(metric for metric in METRICS if metric.scaling_batch)
QUESTIONS = tuple(sorted((metric for metric in METRICS if metric.question), key=lambda each: each.question or ()))
BY_KEY = {metric.key: metric for metric in METRICS}
BY_QUANTITY = {metric.quantity: metric for metric in CONTRASTED}
