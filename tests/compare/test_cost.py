"""`fluxkit.compare.cost`: prices of the instance and its energy times what was measured, through whole results."""

import json

import builders
import pytest

from fluxkit.compare.compare import compare
from fluxkit.compare.reader_options import ReaderOptions, price_sheet
from fluxkit.errors import UsageError
from fluxkit.record.metrics import COSTS
from fluxkit.record.run_folder import find_results, read_result
from fluxkit.text.answers import answers
from fluxkit.text.text_table import render


def timed(label, iterations, seconds, usd_per_hour=None, usd_per_kwh=None, **changes):
    """A run of so many iterations that took so many seconds in all."""
    asked = builders.spec(
        name=f"schnell-{iterations}",
        tune={"iterations": iterations, "seconds": 60.0},
        hardware={"label": label, "usd_per_hour": usd_per_hour, "usd_per_kwh": usd_per_kwh},
        execution={"threads": len(label)},
    )
    changes.setdefault("id", f"{label}-{iterations}")
    return builders.result(of=asked, iteration_seconds=(seconds / iterations,) * iterations, **changes)


SETUP_SECONDS = 3.1 + 1.2 + 0.8 + 2.0
"""Import, preparation, loading and warm-up of made-up results."""


def row_of(*runs, given=ReaderOptions()):  # noqa: B008 - an immutable value
    """The one row of a comparison of these runs."""
    (workload,) = compare(runs, given).workloads
    (row,) = workload.rows
    return row


def test_the_known_table_comes_out_of_result_files(tmp_path):
    """Four known runs, written and read as files, give their four rates and a ratio of 1.72 in both columns."""
    table = {("A100", 500): 1013, ("A100", 2000): 5236, ("A40", 500): 1744, ("A40", 2000): 9017}
    for (label, iterations), seconds in table.items():
        run = timed(label, iterations, seconds)
        builders.run_folder(tmp_path / run.id, run)
    comparison = compare(result for _, result in find_results([tmp_path]))
    speeds = {
        (row.label, workload.tables["tune"]["iterations"]): row.metrics["training_iterations_per_second"].mean
        for workload in comparison.workloads
        for row in workload.rows
    }
    assert {key: round(value, 4) for key, value in speeds.items()} == {
        ("A100", 500): 0.4936,
        ("A100", 2000): 0.3820,
        ("A40", 500): 0.2867,
        ("A40", 2000): 0.2218,
    }
    ratios = [
        each.value
        for workload in comparison.workloads
        for each in workload.contrasts
        if each.quantity == "training_speed"
    ]
    assert [round(ratio, 2) for ratio in ratios] == [1.72, 1.72]
    assert not comparison.comparable


def test_costs_are_price_times_seconds():
    """At 3.60 USD an hour a second costs 0.001 USD: iterations, adapter and images follow from the measured rates."""
    run = timed("GPU", 500, 1000.0, usd_per_hour=3.6)
    costs = compare([run]).workloads[0].rows[0].costs
    assert costs["usd_per_1000_iterations"].mean == pytest.approx(2.0)
    assert costs["usd_per_adapter"].mean == pytest.approx((1000 + SETUP_SECONDS) * 0.001)
    steps = run.summary.inference_image_steps_per_second
    assert costs["usd_per_1000_images"].mean == pytest.approx(1000 * 4 / steps * 0.001)


def test_an_adapter_is_equal_work_on_every_machine():
    """At one price the machine that takes half the time makes an adapter at half the price, but for its setting up."""
    slow, fast = (
        timed(label, 500, seconds, usd_per_hour=3.6) for label, seconds in (("A40", 2000.0), ("A100", 1000.0))
    )
    workload = compare([slow, fast]).workloads[0]
    costs = {row.label: row.costs["usd_per_adapter"].mean for row in workload.rows}
    assert costs == {"A40": pytest.approx(2.0 + 0.0071), "A100": pytest.approx(1.0 + 0.0071)}
    assert {row.bases["usd_per_adapter"].per for row in workload.rows} == {
        "adapter of 500 iterations, loading and warm-up included"
    }
    (answer,) = [each for each in answers(workload) if each.quantity == "usd_per_adapter"]
    assert answer.sentence.startswith("“A100” tunes an adapter cheapest: 49.8 % less than “A40”")
    assert "1.01 USD" in answer.sentence
    assert "For an adapter of 500 iterations, loading and warm-up included, n = 1, grade A" in answer.detail


def test_an_adapter_that_was_not_finished_has_no_price():
    """Half the iterations are half an adapter: its cost is missing and says how many were done."""
    of = builders.spec(tune={"iterations": 500}, hardware={"label": "GPU", "usd_per_hour": 3.6})
    run = builders.result(of=of, iteration_seconds=(1.0,) * 250)
    cost = row_of(run).costs["usd_per_adapter"]
    assert (cost.mean, cost.reason) == (None, "250 of 500 iterations were done")
    lost = tuple(phase.model_copy(update={"seconds": None}) if phase.name == "load" else phase for phase in run.phases)
    whole = timed("GPU", 500, 1000.0, usd_per_hour=3.6).model_copy(update={"phases": lost})
    assert row_of(whole).costs["usd_per_adapter"].reason == "the time of load was not measured"


def test_a_machine_may_be_free():
    """A price of 0 is a price: the free machine costs nothing, is the cheapest beyond doubt, and the answer says so."""
    runs = [
        timed(label, 500, 1000.0 + n, usd_per_hour=price, repeat=n, id=f"{label}{n}")
        for label, price in (("My laptop", 0.0), ("GPU", 3.6), ("Unpriced", None))
        for n in range(3)
    ]
    (workload,) = compare(runs).workloads
    costs = {row.label: row.costs["usd_per_adapter"].mean for row in workload.rows}
    assert costs == {"GPU": pytest.approx(1.0081, abs=1e-4), "My laptop": 0.0, "Unpriced": None}
    (answer,) = [answer for answer in answers(workload) if answer.quantity == "usd_per_adapter"]
    assert (answer.state, answer.names[0].name) == ("decided", "My laptop")
    assert "1.0081 USD less than “GPU”" in answer.sentence
    (workload,) = compare(
        [*runs[:3], *(timed("PC", 500, 1.0, usd_per_hour=0.0, id=str(n)) for n in range(3))]
    ).workloads
    (answer,) = [answer for answer in answers(workload) if answer.quantity == "usd_per_adapter"]
    assert answer.verdict == "Equal"


def test_free_hours_without_a_meter_are_not_free_where_energy_has_a_price():
    """Energy that is paid for and was not measured leaves the cost unknown, whatever the hours cost."""
    cost = row_of(timed("Own", 500, 1000.0, usd_per_hour=0.0, usd_per_kwh=0.3)).costs["usd_per_adapter"]
    assert cost.mean is None
    assert "no energy" in cost.reason


def test_a_zero_of_the_first_format_is_no_price(tmp_path):
    """Stored results of fluxkit.spec/1 keep their spec as it is, and their 0 stays what it meant: not given."""
    of = builders.spec(schema="fluxkit.spec/1", hardware={"label": "GPU", "usd_per_hour": 0.0, "usd_per_kwh": 0.0})
    run = builders.result(of=of)
    builders.run_folder(tmp_path, run)
    read = read_result(tmp_path)
    assert (read.spec.schema_, read.spec.hardware.usd_per_hour) == ("fluxkit.spec/1", 0.0)
    assert read == run
    cost = row_of(read).costs["usd_per_adapter"]
    assert (cost.mean, cost.reason) == (None, "no price given")
    newer = builders.result(of=of.in_this_version())
    assert newer.configuration_sha256 == run.configuration_sha256
    assert newer.spec.hardware.usd_per_hour is None


def test_costs_below_a_cent_are_those_of_a_thousand():
    """Where an adapter costs less than a cent, answers and tables price a thousand of them, on every machine."""
    runs = [timed(label, 500, seconds, usd_per_hour=0.36) for label, seconds in (("A", 10.0), ("B", 20.0))]
    (workload,) = compare(runs).workloads
    assert workload.rows[0].costs["usd_per_adapter"].mean == pytest.approx(0.00171)
    (answer,) = [answer for answer in answers(workload) if answer.quantity == "usd_per_adapter"]
    assert "1.71 USD, for 1,000 adapters of 500 iterations" in answer.sentence
    assert "Cost per 1,000 adapters of 500 iterations (USD)" in render(compare(runs), "table", 200, everything=True)
    dear = compare([timed("C", 500, 200.0, usd_per_hour=3.6)]).workloads[0]
    (answer,) = [answer for answer in answers(dear) if answer.quantity == "usd_per_adapter"]
    assert "0.207 USD, for an adapter of 500" in answer.sentence


def test_a_whole_job_is_priced_from_loading_to_grading():
    """The job has the adapter's seconds, the checkpoints' and the grading's; the measured inference is none of it."""
    run = timed("GPU", 500, 1000.0, usd_per_hour=3.6)
    run = run.model_copy(update={"tuning": run.tuning.model_copy(update={"checkpoint_seconds": 5.0})})
    graded = next(phase.seconds for phase in run.phases if phase.name == "evaluate")
    costs = row_of(run).costs
    assert costs["usd_per_job"].mean - costs["usd_per_adapter"].mean == pytest.approx(0.001 * (graded + 5.0))


def test_no_price_is_no_cost():
    """Without a price costs are missing with that reason, never 0."""
    costs = compare([timed("GPU", 500, 1000.0)]).workloads[0].rows[0].costs
    assert set(costs) == {metric.key for metric in COSTS}
    assert {cost.mean for cost in costs.values()} == {None}
    assert all("no price given" in cost.reason for cost in costs.values())


def test_a_missing_rate_is_a_cost_with_its_reason():
    """A run without inference speed has no price per image, and says why; its other costs stand."""
    run = timed("GPU", 500, 1000.0, usd_per_hour=3.6)
    blind = run.model_copy(
        update={"summary": run.summary.model_copy(update={"inference_image_steps_per_second": None})}
    )
    costs = compare([blind]).workloads[0].rows[0].costs
    assert costs["usd_per_1000_images"].mean is None
    assert "no inference speed" in costs["usd_per_1000_images"].reason
    assert costs["usd_per_adapter"].mean is not None


def test_a_db_costs_what_the_equal_time_costs_by_its_gain():
    """The cost per dB is that of the equal time, divided by what the same run gained in it over the untuned model."""
    run = timed("GPU", 500, 1000.0, usd_per_hour=3.6)
    gain = run.summary.psnr_db - run.summary.psnr_db_untuned
    assert row_of(run).costs["usd_per_db"].mean == pytest.approx(0.06 / gain)


def test_a_run_that_gained_nothing_has_no_cost_per_db():
    """One run without a gain takes the cost per dB from the whole row: the others' would flatter it."""
    runs = [timed("GPU", 500, 1000.0, usd_per_hour=3.6, id=str(n), repeat=n, psnr_gain=9.0 * n) for n in range(2)]
    lost = runs[0].summary.model_copy(update={"psnr_db": runs[0].summary.psnr_db_untuned - 0.1})
    cost = row_of(runs[0].model_copy(update={"summary": lost}), runs[1]).costs["usd_per_db"]
    assert cost.mean is None
    assert "gained no PSNR" in cost.reason


def test_energy_is_priced_by_the_power_of_the_phase():
    """At 40 W an adapter of 1,007.1 s takes 40,284 J, and 1 USD a kilowatt-hour adds 0.01119 USD to it."""
    row = row_of(timed("GPU", 500, 1000.0, usd_per_hour=3.6, usd_per_kwh=1.0, energy=builders.energy(watts=40.0)))
    assert row.bases["usd_per_adapter"].joules.mean == pytest.approx(40_284)
    assert row.costs["usd_per_adapter"].mean == pytest.approx(1.0071 + 40_284 / 3.6e6)
    assert row.energy.class_ == "measured"
    assert row.energy.net_joules["tune"].mean == pytest.approx(1800.0)


def test_energy_alone_can_be_the_price():
    """On a machine of one's own, energy is all that is paid; where it was not measured there is no cost."""
    metered, blind = (timed("Own", 500, 1000.0, usd_per_kwh=0.3, energy=each) for each in (builders.energy(), None))
    assert row_of(metered).costs["usd_per_adapter"].mean == pytest.approx(0.3 * 40_284 / 3.6e6)
    assert row_of(blind).costs["usd_per_adapter"].mean is None
    assert "no energy" in row_of(blind).costs["usd_per_adapter"].reason


def test_energy_that_is_too_short_is_left_out_and_said():
    """A cost without the energy that has a price says so, and is in no verdict against one with it."""
    short = {"class": "unavailable", "reason": "too short: 20 s; 60 s are wanted"}
    row = row_of(timed("GPU", 500, 1000.0, usd_per_hour=3.6, usd_per_kwh=1.0, energy=short))
    assert row.costs["usd_per_adapter"].mean == pytest.approx(1.0071)
    assert "without its energy: too short" in row.costs["usd_per_adapter"].reason
    assert row.energy.class_ == "unavailable"
    runs = [
        timed(label, 500, 1000.0, 3.6, 1.0, energy=energy, id=f"{label}{n}", repeat=n)
        for n in range(3)
        for label, energy in (("GPU", short), ("Other", builders.energy()))
    ]
    found = next(each for each in compare(runs).workloads[0].contrasts if each.quantity == "usd_per_adapter")
    assert (found.verdict, found.further_runs) == ("not settled", None)
    assert "energy is in one" in found.reason


def test_estimated_energy_says_so_and_lowers_the_grade():
    """Energy from sampled power is estimated: grade B, for the joules and for the cost that they are in."""
    estimated = builders.energy(**{"class": "estimated", "source": "NVML power, sampled twice a second"})
    row = row_of(timed("GPU", 500, 1000.0, usd_per_hour=3.6, usd_per_kwh=1.0, energy=estimated))
    assert row.energy.class_ == "estimated"
    assert (row.metrics["energy_joules"].grade, row.costs["usd_per_1000_iterations"].grade) == ("B", "B")


def test_a_phase_that_is_too_short_has_no_power():
    """Twelve seconds of inference are too short for any meter, and sixty are enough for a counter and for samples."""
    for class_ in ("measured", "estimated"):
        for seconds, known in ((12.0, False), (60.0, True)):
            row = row_of(timed("GPU", 500, 1000.0, energy=builders.energy(inference=seconds, **{"class": class_})))
            basis = row.bases["usd_per_1000_images"]
            assert (basis.joules.mean is not None) == (row.energy.gross_joules["inference"].mean is not None) == known
            assert known or "too short: 12 s of phase inference; 60 s are wanted" in basis.joules.reason


@pytest.mark.parametrize("name", [metric.key for metric in COSTS])
def test_a_page_prices_again_by_the_formula_of_the_basis(name):
    """The mean cost at any price is usd_per_hour x seconds / 3,600 + usd_per_kwh x joules / 3,600,000 of the basis."""
    runs = [
        timed("GPU", 500, 1000.0 + n, energy=builders.energy(watts=40.0 + n), id=str(n), repeat=n) for n in range(3)
    ]
    basis = row_of(*runs).bases[name]
    priced = row_of(*runs, given=ReaderOptions({"": 2.5}, {"GPU": 0.3}))
    by_hand = 2.5 * basis.seconds.mean / 3600 + 0.3 * basis.joules.mean / 3.6e6
    assert priced.costs[name].mean == pytest.approx(by_hand, rel=1e-12)
    assert (priced.usd_per_hour, priced.usd_per_kwh) == (2.5, 0.3)


def test_given_prices_are_for_a_label_or_for_all():
    """A price for a label goes before one for all, and the spec's stands where none is given."""
    runs = [timed(label, 500, 1000.0, usd_per_hour=1.0) for label in ("A40", "A100")]
    given = ReaderOptions(price_sheet(["2.5", "A100=4"], "--usd-per-hour"))
    rows = compare(runs, given).workloads[0].rows
    assert {row.label: row.usd_per_hour for row in rows} == {"A40": 2.5, "A100": 4.0}
    rows = compare(runs, ReaderOptions(price_sheet(["A100=4"], "--usd-per-hour"))).workloads[0].rows
    assert {row.label: row.usd_per_hour for row in rows} == {"A40": 1.0, "A100": 4.0}


@pytest.mark.parametrize("text", ["cheap", "A100=", "-1", "A100=nan", "inf"])
def test_what_is_no_price_is_refused(text):
    """A price that is no number from 0 on is refused with the option's name."""
    with pytest.raises(UsageError, match="--usd-per-kwh"):
        price_sheet([text], "--usd-per-kwh")


def test_a_price_for_nobody_is_refused():
    """A price for a label that no result has would go unnoticed, so it is refused with the labels that there are."""
    with pytest.raises(UsageError, match=r"'H100'.*labels: 'A40'"):
        compare([timed("A40", 500, 1000.0)], ReaderOptions({"H100": 2.0}))


def test_no_result_holds_money():
    """A result names the spec's prices and nothing else in dollars: costs belong to the comparison."""
    run = timed("GPU", 500, 1000.0, usd_per_hour=3.6, usd_per_kwh=0.3, energy=builders.energy())
    values = run.model_dump(mode="json", by_alias=True)
    assert values["spec"].pop("hardware") == {"label": "GPU", "usd_per_hour": 3.6, "usd_per_kwh": 0.3}
    assert "usd" not in json.dumps(values).lower()
