"""Comparing and reporting from the command line: prices, targets, and what does not compare."""

from __future__ import annotations

import json
import os
from pathlib import Path

import builders
import pytest


def test_results_that_do_not_compare_have_an_exit_code(fluxkit, reporting):
    """Results of different workloads are printed and end with exit code 5."""
    assert reporting == {}
    assert fluxkit("compare", "a", "--format", "csv") == (0, "csv of 1\n", "")
    code, out, err = fluxkit("compare", "a", "b")
    assert (code, out) == (5, "table of 2\n")
    assert "not comparable" in err


@pytest.fixture
def two_labels(tmp_path):
    """The folder of two configurations with three runs each, measured and written as files."""
    for repeat in range(3):
        for label, seconds in (("Laptop", 0.1), ("Cluster", 0.05)):
            asked = builders.spec(hardware={"label": label}, execution={"threads": len(label)})
            made = builders.result(
                of=asked, repeat=repeat, id=f"{label}-{repeat}", iteration_seconds=(seconds,) * 220,
                energy=builders.energy(),
            )  # fmt: skip
            builders.run_folder(tmp_path / "study" / made.id, made)
    return tmp_path / "study"


def test_prices_and_a_target_come_from_the_command_line(fluxkit, two_labels):
    """Stored results are priced and timed as the reader says, and stay as they are."""
    before = {file: file.read_bytes() for file in two_labels.rglob("result.json")}
    prices = ("--usd-per-hour", "2", "--usd-per-hour", "Cluster=3.6", "--usd-per-kwh", "0.3")
    code, out, _ = fluxkit("compare", two_labels, *prices, "--target-psnr", "18", "--format", "json")
    workload = json.loads(out)["workloads"][0]
    assert code == 0
    assert {row["label"]: (row["usd_per_hour"], row["usd_per_kwh"]) for row in workload["rows"]} == {
        "Cluster": (3.6, 0.3),
        "Laptop": (2.0, 0.3),
    }
    assert all(row["costs"]["usd_per_adapter"]["mean"] > 0 for row in workload["rows"])
    assert workload["target"] == {"psnr_db": 18.0, "origin": "given by the reader", "grade": None}
    assert {file: file.read_bytes() for file in before} == before


@pytest.mark.parametrize("words", [("--usd-per-hour", "H100=2"), ("--usd-per-kwh", "dear")])
def test_a_price_that_prices_nothing_is_wrong_usage(fluxkit, two_labels, words):
    """A price for an unknown label, or no number, ends with exit code 2 and one sentence."""
    code, out, err = fluxkit("compare", two_labels, *words)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1


@pytest.mark.parametrize("value", ["inf", "nan", "-1", "101"])
def test_a_target_that_no_picture_has_is_wrong_usage(fluxkit, two_labels, value):
    """A PSNR that is not from 0 to 100 dB ends with exit code 2 and one sentence that names the option."""
    code, out, err = fluxkit("compare", two_labels, "--target-psnr", value, "--format", "json")
    assert (code, out) == (2, "")
    assert f"--target-psnr {value}: write a PSNR in dB, from 0 to 100." in err


def test_a_pair_of_other_workloads_is_refused_by_row(fluxkit, tmp_path):
    """Two result files that ask for different work give no ratio, exit code 5, and each differing row by name."""
    for name, tune in (("one", {}), ("two", {"learning_rate": 1e-3, "lora_rank": 8})):
        made = builders.result(of=builders.spec(tune={"seconds": 60.0, "iterations": 200, **tune}), id=name)
        builders.run_folder(tmp_path / name, made)
    code, out, err = fluxkit("compare", tmp_path / "one", tmp_path / "two")
    assert code == 5
    assert "not comparable" in err
    assert "Not comparable. The workloads differ in:" in out
    assert [line.split(":")[0].strip() for line in out.splitlines() if line.startswith("  tune.")] == [
        "tune.learning_rate",
        "tune.lora_rank",
    ]
    assert " times" not in out


def test_report_names_its_file(fluxkit, reporting):
    """Standard output is the path of the page."""
    assert fluxkit("report", "a", "b", "-o", "page.html") == (0, "page.html\n", "")
    assert reporting == {Path("page.html"): [Path("a"), Path("b")]}


def test_a_report_goes_into_a_folder_that_is_there(fluxkit, reporting, tmp_path):
    """A missing folder is more often a mistyped one, so it is not made: wrong usage, in a sentence."""
    code, out, err = fluxkit("report", "a", "-o", tmp_path / "absent" / "page.html")
    assert (code, out) == (2, "")
    assert "is no folder" in err
    assert not (tmp_path / "absent").exists()
    assert not reporting


@pytest.mark.parametrize(
    ("make", "what"),
    [(os.mkfifo, "no regular file"), (Path.mkdir, "a folder"), (lambda path: path.symlink_to("elsewhere"), "a link")],
)
def test_a_report_takes_the_place_of_a_file_alone(fluxkit, reporting, tmp_path, make, what):
    """A device, a pipe, a link or a folder stays what it is: root would replace /dev/full by the page otherwise."""
    make(tmp_path / "page.html")
    before = (tmp_path / "page.html").lstat()
    code, out, err = fluxkit("report", "a", "-o", tmp_path / "page.html")
    assert (code, out, reporting) == (2, "", {})
    assert f"is {what}, and a page is written to a file of its own" in err
    assert (tmp_path / "page.html").lstat() == before


def test_lines_per_run_are_a_form_of_csv(fluxkit, tmp_path):
    """--runs gives a line for each run in CSV, and is refused with another form."""
    for result in builders.study():
        builders.run_folder(tmp_path / result.id, result)
    code, out, _ = fluxkit("compare", tmp_path, "--format", "csv", "--runs")
    assert (code, len(out.splitlines())) == (0, 1 + len(builders.study()))
    assert fluxkit("compare", tmp_path, "--runs")[0] == 2
