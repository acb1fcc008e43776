"""`fluxkit.record.identity`: which results are one run, and which were made by one configuration."""

from __future__ import annotations

from pathlib import Path

import builders
import pytest

import fluxkit
from fluxkit.fold.verify import verify_result
from fluxkit.machine.provenance import MEASURING, measuring_sha256, this_kit
from fluxkit.record.identity import configuration_sha256, configurations
from fluxkit.record.run_folder import find_results, write_result
from fluxkit.values import canonical_sha256


@pytest.mark.parametrize("order", ["abc", "cba", "bca"])
def test_of_several_copies_the_completed_one_is_read(tmp_path, order):
    """A copy that was made while the run went on does not hide what became of it."""
    statuses = dict(zip(order, ("started", "completed", "interrupted"), strict=True))
    for place, status in statuses.items():
        write_result(tmp_path / place, builders.result().model_copy(update={"status": status}))
    ((file, result),) = find_results([tmp_path])
    assert result.status == statuses[file.parent.name] == "completed"


def offered(label, usd_per_hour=None, repeat=0):
    of = builders.spec(hardware={"label": label, "usd_per_hour": usd_per_hour})
    return builders.result(of=of, repeat=repeat, id=f"{label}-{usd_per_hour}-{repeat}")


def test_two_offers_of_one_device_are_two_configurations():
    """The label is part of what a configuration is: the same GPU at two prices is chosen between, not averaged."""
    groups = configurations([offered("A100, community"), offered("A100, secure"), offered("A100, secure", repeat=1)])
    assert sorted(len(group) for group in groups.values()) == [1, 2]


def test_a_hash_that_an_older_version_stored_still_verifies(tmp_path):
    """Before the label was in it, the hash of a configuration was made without: such a claim is still borne out."""
    run = builders.result()
    spec, system = run.spec, run.system.before
    parts = [spec.workload_sha256(), spec.execution.model_dump(mode="json"), system.fingerprint("cpu", 1)]
    older = canonical_sha256([*parts, dict(system.packages)])
    assert older != configuration_sha256(spec, system) == run.configuration_sha256
    for place, (claim, holds) in enumerate({older: True, run.configuration_sha256: True, "0" * 64: False}.items()):
        write_result(tmp_path / str(place), run.model_copy(update={"configuration_sha256": claim}))
        found = [
            problem for problem in verify_result(tmp_path / str(place)).problems if "configuration_sha256" in problem
        ]
        assert (not found) == holds


def test_versions_that_measure_alike_are_one_row():
    """Where the measuring code is the same the version tells nothing apart; results without its hash go by version."""

    def made(version, code, repeat):
        run = builders.result(repeat=repeat, id=f"{version}-{code}-{repeat}")
        kit = run.kit.model_copy(update={"version": version, "measuring_sha256": code})
        return run.model_copy(update={"kit": kit})

    same = [made("1.0", "a" * 64, 0), made("1.1", "a" * 64, 1), made("1.2", "b" * 64, 2)]
    older = [made("0.9", None, 3), made("0.9", None, 4), made("0.8", None, 5)]
    assert sorted(len(group) for group in configurations([*same, *older]).values()) == [1, 1, 2, 2]


def test_the_measuring_code_has_a_hash_of_its_own():
    """Every file of the engine that a run uses is in it, and nothing that only shows results."""
    package = Path(fluxkit.__file__).parent
    assert this_kit().measuring_sha256 == measuring_sha256()
    assert all((package / name).exists() for name in MEASURING)
    assert {"engine", "fold", "plan"} <= set(MEASURING)
    assert not {"report", "text", "charts", "cli", "compare"} & {name.partition("/")[0] for name in MEASURING}
