"""Two machines are put side by side only where it is certified that both compute the same."""

import builders
import pytest

from fluxkit.compare.compare import compare
from fluxkit.compare.ranking import standing
from fluxkit.text.answers import answers
from fluxkit.text.number_format import agreement_text
from fluxkit.text.text_table import render
from fluxkit.trust.certificates import agreement_of, certificates

GOOD, BAD = [builders.certificate()], [builders.certificate(relative_l2=5e-4)]


def machines(laptop, gpu):
    """Three runs each of a laptop and of a GPU machine with these certificates."""
    return [
        run
        for repeat in range(3)
        for run in (
            builders.result(repeat=repeat, agreement=laptop),
            builders.result(
                of=builders.spec(hardware={"label": "Cluster GPU"}), repeat=repeat, gpu=True, agreement=gpu,
                iteration_seconds=(0.01,) * 220,
            ),
        )
    ]  # fmt: skip


def test_certified_machines_are_compared():
    """Where both sides pass, ratios and verdicts stand."""
    (workload,) = compare(machines(GOOD, GOOD)).workloads
    found = next(each for each in workload.contrasts if each.quantity == "training_speed")
    assert found.verdict == "faster"
    assert [row.agreement for row in workload.rows] == [True, True]


@pytest.mark.parametrize(
    ("gpu", "why"),
    [
        (None, "no numerical check against the reference of “Cluster GPU”"),
        (BAD, "numerical check against the reference failed: “Cluster GPU”"),
    ],
)
def test_an_uncertified_machine_stands_in_no_ratio(gpu, why):
    """Without a passed certificate there is neither ratio nor verdict nor star, and the reason says why."""
    comparison = compare(machines(GOOD, gpu))
    (workload,) = comparison.workloads
    assert workload.contrasts
    for contrast in workload.contrasts:
        assert (contrast.value, contrast.interval, contrast.further_runs) == (None, None, None)
        assert contrast.verdict in {"not settled", None}
        assert why in contrast.reason
    assert {standing(workload, row, "training_images_per_second") for row in workload.rows} == {""}
    assert "not compared: " in render(comparison, "markdown")
    memory = answers(workload)[-1]
    assert (memory.verdict, memory.row, memory.names) == ("Not compared", None, ())
    assert why in memory.sentence
    assert any("stand in no ratio" in warning and why in warning for warning in comparison.warnings)


def test_one_machine_needs_no_certificate_to_be_compared_with_itself():
    """Two configurations of one machine are compared whether or not anybody else's machine computes the same."""
    runs = [run.model_copy(update={"agreement": None}) for run in builders.study()]
    (workload,) = compare(runs).workloads
    found = next(each for each in workload.contrasts if each.quantity == "training_speed")
    assert (found.verdict, workload.rows[0].agreement) == ("faster", None)


def test_one_run_without_a_certificate_leaves_the_row_without():
    """A row has passed only if all of its runs have; one that failed fails the row."""
    runs = [builders.result(repeat=n, agreement=each) for n, each in enumerate((GOOD, None, BAD))]
    assert [agreement_of(runs[:1]), agreement_of(runs[:2]), agreement_of(runs), agreement_of([])] == [
        True, None, False, None,
    ]  # fmt: skip


def test_a_row_shows_its_worst_certificate():
    """Of several ranks and runs the worst number of each precision is shown, with what is out of its band."""
    runs = [builders.result(agreement=[builders.certificate(0), builders.certificate(1, relative_l2=5e-4)])]
    (found,) = certificates(runs)
    assert (found.precision, found.probes, found.passed, found.relative_l2) == ("ieee_float32", 2, False, 5e-4)
    (workload,) = compare(runs).workloads
    assert agreement_text(workload.rows[0]) == "failed: ieee_float32: relative L2 error 0.0005, at most 1e-05"
    assert workload.rows[0].metrics["training_iterations_per_second"].grade == "X"


def test_a_number_that_is_none_is_the_worst():
    """A probe that gave no finite number is worse than any number."""
    runs = [builders.result(agreement=[builders.certificate(), builders.certificate(latents_psnr_db=None)])]
    assert certificates(runs)[0].latents_psnr_db is None
