"""`fluxkit.text.text_table`: the comparison as text for people, spreadsheets and programs."""

import csv
import io

import builders
import pytest

from fluxkit.compare.compare import compare
from fluxkit.compare.comparison import Comparison
from fluxkit.text import csv_export, text_table
from fluxkit.text.answers import answers

HOSTILE = "=cmd|'/C calc'!A0 | <script>alert(1)</script> [x](javascript:1) \x1b[31m @team https://example.org"


def hostile_comparison():
    """A comparison whose label would like to be something else than text."""
    asked = builders.spec(hardware={"label": HOSTILE[:80]})
    error = {"phase": None, "kind": "E", "message": HOSTILE}
    return compare([builders.result(of=asked), builders.failed(of=asked, error=error)])


def rows_of(text):
    """CSV text as dictionaries."""
    return list(csv.DictReader(io.StringIO(text)))


def test_json_is_the_comparison():
    """JSON output reads back as the same comparison."""
    comparison = compare(builders.study())
    assert Comparison.model_validate_json(text_table.render(comparison, "json")) == comparison


def test_csv_has_a_typed_line_per_configuration():
    """CSV has one line per configuration whose numbers are unrounded and whose missing numbers are empty."""
    comparison = compare(builders.study())
    lines = rows_of(text_table.render(comparison, "csv"))
    row = comparison.workloads[0].rows[0]
    assert [line["configuration"] for line in lines] == [row.name for row in comparison.workloads[0].rows]
    assert float(lines[0]["training_iterations_per_second"]) == row.metrics["training_iterations_per_second"].mean
    assert lines[0]["usd_per_adapter"] == ""
    assert "no price" in lines[0]["usd_per_adapter_reason"]


def test_csv_has_both_ends_of_the_time_to_quality():
    """The mark that had not passed and the one that did stand in columns of their own."""
    comparison = compare(builders.study())
    line, found = rows_of(text_table.render(comparison, "csv"))[0], comparison.workloads[0].rows[0].time_to_target
    assert float(line["seconds_to_target_after"]) == found.since_seconds
    assert float(line["seconds_to_target"]) == found.seconds > found.since_seconds


def test_csv_columns_have_one_type_each():
    """Every column is a number, a truth value or text in all lines, with empty cells where nothing is known."""
    metered = builders.result(energy=builders.energy(), of=builders.spec(execution={"threads": 3}), id="metered")
    lines = rows_of(text_table.render(compare([*builders.study(), metered]), "csv"))
    for name in lines[0]:
        kinds = {kind_of(line[name]) for line in lines if line[name]}
        assert len(kinds) <= 1, name
        if name.endswith(("_low", "_high", "_n", "_seconds", "_joules", "_db", "_per_second")):
            assert kinds <= {"number"}, name
    assert {line["agreement"] for line in lines} == {"True"}
    assert sorted(line["energy_class"] for line in lines) == ["measured", "unavailable", "unavailable"]
    assert [line["usd_per_adapter_joules"] for line in lines].count("") == 2


def kind_of(text):
    """What a reader of CSV takes a cell for."""
    if text in {"True", "False"}:
        return "truth value"
    try:
        float(text)
    except ValueError:
        return "text"
    return "number"


def test_markdown_fits_a_pull_request():
    """With so many configurations that their ratios alone would fill a comment, the ratios are counted instead."""
    runs = [
        builders.result(of=builders.spec(execution={"threads": threads}), id=f"{threads}-{repeat}", repeat=repeat)
        for threads in range(1, 17)
        for repeat in range(3)
    ]
    text = text_table.render(compare(runs), "markdown")
    assert len(text) < 65_536
    assert "too many for a comment" in text
    assert "too many" not in text_table.render(compare(builders.study()), "markdown")


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t=", " =", "\r="])
def test_csv_text_is_never_a_formula(start):
    """A label that begins like a formula is defused; a negative number stays a number."""
    asked = builders.spec(hardware={"label": f"{start}1+1"})
    (line,) = rows_of(text_table.render(compare([builders.result(of=asked)]), "csv"))
    assert not line["configuration"].lstrip().startswith(("=", "+", "-", "@", "\t"))
    assert csv_export._defused(-1.5) == -1.5


def test_markdown_is_a_table_that_strangers_cannot_break():
    """In Markdown a hostile label stays one cell: no pipe, tag, link, mention or control character survives."""
    text = text_table.render(hostile_comparison(), "markdown")
    (header,) = [line for line in text.splitlines() if line.startswith("|  | ")]
    cells = header.replace("\\|", "").strip("|").split("|")
    assert len(cells) == 2
    assert "<script" not in text
    assert "](" not in text.replace("\\]", "")
    assert " @team" not in text
    assert "\x1b" not in text


@pytest.mark.parametrize("width", [60, 120, 240])
def test_the_table_fits_and_steers_no_terminal(width):
    """The terminal table keeps to its width and passes on no control character and no markup."""
    text = text_table.render(hostile_comparison(), "table", width)
    assert "\x1b" not in text
    assert all(len(line) <= width for line in text.splitlines())


@pytest.mark.parametrize("configurations", [1, 3, 7])
def test_the_short_table_fits_80_columns(configurations):
    """It opens with what is decided and every answer, then six numbers of each configuration; --all has the rest."""
    runs = [
        builders.result(of=builders.spec(hardware={"label": f"Machine {place}", "usd_per_hour": 9.0}), repeat=n)
        for place in range(configurations)
        for n in range(3)
    ]
    comparison = compare(runs)
    lines = text_table.render(comparison).splitlines()
    assert max(map(len, lines)) <= 80
    grids = -(-configurations // 3)
    for name in ("Training speed", "Inference speed", "PSNR in equal", "Held-out loss", "Peak memory", "Cost per"):
        assert sum(line.startswith(f"│ {name}") for line in lines) == grids
    assert lines[lines.index("") + 1].startswith(("Decided", "Not settled", "Nothing is to be decided"))
    first = next(place for place, line in enumerate(lines) if line.startswith("┏"))
    for answer in answers(comparison.workloads[0]):
        assert any(line.startswith(f"{answer.scenario}: ") for line in lines[:first])
    assert "SSIM in equal time" not in "\n".join(lines)
    assert "SSIM in equal time" in text_table.render(comparison, width=200, everything=True)


def test_a_line_per_run_has_its_own_numbers():
    """Every run is in it with its study, seed, status and summary; one that failed has its error and no number."""
    results = builders.study()
    lines = rows_of(csv_export.runs_as_csv(compare(results), results))
    assert [line["run"] for line in lines] == [result.id for result in results]
    for line, result in zip(lines, results, strict=True):
        assert line["status"] == result.status
        speed = result.summary.training_iterations_per_second
        assert line["training_iterations_per_second"] == ("" if speed is None else str(speed))
        assert bool(line["error"]) == (result.status == "failed")
    assert {line["configuration"] for line in lines} >= {row.name for row in compare(results).workloads[0].rows}


def test_every_format_names_failures_or_carries_them():
    """Failed runs stand below the table with their reason."""
    comparison = compare(builders.study())
    for style in ("table", "markdown"):
        assert "OutOfMemoryError" in text_table.render(comparison, style)


def test_workloads_that_differ_are_named_by_key():
    """Results that may not be compared are followed by the keys in which they differ."""
    other = builders.spec(tune={"seconds": 30.0})
    text = text_table.render(compare([builders.result(), builders.result(of=other, id="other")]), "table")
    assert "Not comparable" in text
    assert "tune.seconds" in text


def test_digits_follow_the_spread():
    """A number has as many digits as its interval supports, and three significant ones without an interval."""
    narrow = text_table.render(compare(builders.study()), "markdown")
    single = text_table.render(compare(builders.study(repeats=1)), "markdown")
    assert "| 9.99" in narrow
    assert "n = 3, grade A" in narrow
    assert "n = 1, grade A" in single
    assert "\\[" not in next(line for line in single.splitlines() if line.startswith("| Training speed"))


@pytest.mark.parametrize("format", ["table", "markdown"])
def test_what_is_missing_of_a_number_stands_beside_it(format):  # noqa: A002 - the option's name
    """A cost without the energy that has a price, and a mean that lacks a run, say so where the number is shown."""
    short = {"class": "unavailable", "reason": "too short: 20 s; 60 s are wanted"}
    of = builders.spec(hardware={"label": "GPU", "usd_per_hour": 0.5, "usd_per_kwh": 0.3})
    runs = [builders.result(of=of, repeat=repeat, energy=short) for repeat in range(3)]
    runs[2] = runs[2].model_copy(update={"summary": runs[2].summary.model_copy(update={"ssim": None})})
    text = " ".join(text_table.render(compare(runs), format, width=400, everything=True).split())
    assert "0.5 USD/h + 0.3 USD/kWh" in text
    assert text.count("n = 3, grade A, without its energy: too short: 20 s; 60 s are wanted") >= 2
    assert "n = 2, grade B, 2 of 3 runs have it" in text
