"""Rows from elsewhere: their rates are computed, and they stand apart from everything measured."""

from __future__ import annotations

import re

import pytest
from builders import result

from fluxkit.compare.compare import compare
from fluxkit.compare.published import load_published
from fluxkit.errors import UsageError
from fluxkit.report.page import render


def test_the_rates_of_the_original_study_follow_from_its_seconds():
    """500 in 1013 s, 2000 in 5236 s, 500 in 1744 s and 2000 in 9017 s are 0.4936, 0.3820, 0.2867 and 0.2218 it/s."""
    study = load_published("original-study")
    assert [round(row.iterations_per_second, 4) for row in study.row] == [0.4936, 0.3820, 0.2867, 0.2218]
    assert [round(row.image_steps_per_second, 2) for row in study.row] == [1.65, 1.65, 0.82, 0.82]


def test_its_speed_up_is_what_its_own_seconds_say():
    """The A100 is 1.72 times as fast as the A40 over 500 and over 2000 iterations, not 1.8 times."""
    ratios = {iterations: round(ratio, 2) for _, _, iterations, ratio in load_published("original-study").speed_ups()}
    assert ratios == {500: 1.72, 2000: 1.72}


def test_a_report_shows_them_apart():
    """They have a section of their own that says they were not measured here, and are in no other."""
    measured = result()
    page = render(compare([measured]), [], [load_published("original-study")])
    section = re.search(r'<section id="published">.*?</section>', page, re.DOTALL)
    assert section
    assert "not measured here" in section[0]
    assert "0.4936" in section[0]
    assert "A40" not in page.replace(section[0], "")
    assert 'id="published"' not in render(compare([measured]), [])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x = ", "not TOML"),
        ('schema = "fluxkit.published/1"', "title"),
        ('schema = "fluxkit.published/1"\ntitle = "a"\nsource = "b"\nsettings = "c"\nrow = []', "row"),
    ],
)
def test_a_table_that_is_none_is_refused(tmp_path, text, words):
    """Broken TOML, a missing key and an empty table are each one sentence."""
    file = tmp_path / "table.toml"
    file.write_text(text)
    with pytest.raises(UsageError, match=words) as caught:
        load_published(str(file))
    assert "\n" not in str(caught.value)


def test_a_table_that_is_not_there_names_those_that_are():
    """A wrong name lists the tables that ship with fluxkit."""
    with pytest.raises(UsageError, match="original-study"):
        load_published("nowhere.toml")


def test_what_a_table_says_cannot_become_markup(tmp_path):
    """A hostile title is text on the page."""
    file = tmp_path / "table.toml"
    row = '[[row]]\ndevice = "d"\niterations = 1\ntuning_seconds = 1.0\n'
    head = 'schema = "fluxkit.published/1"\ntitle = "<script>alert(1)</script>"\nsource = "s"\nsettings = "t"\n'
    file.write_text(head + row)
    assert "<script>alert(1)" not in render(compare([result()]), [], [load_published(str(file))])
