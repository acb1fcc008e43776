"""`fluxkit.report.page`: the page is self-contained and repeatable, and says what was measured."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import builders
import pytest
from pages import Page, rendered, written

from fluxkit.compare.compare import compare
from fluxkit.errors import UsageError
from fluxkit.fold.outcome import folded_results
from fluxkit.record.metrics import HELD_OUT
from fluxkit.record.run_folder import find_results, write_result
from fluxkit.report.page import render, write_report
from fluxkit.text.number_format import header
from fluxkit.text.text_table import cells_of, shown_columns

TESTS = str(Path(__file__).parents[1])
WITH_TESTS = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [TESTS, os.environ.get("PYTHONPATH")]))}
"""For a process of its own that uses what tests share."""


def test_the_page_is_byte_identical_in_another_process(study_page):
    """The same results give the same bytes, in another process with another hash seed."""
    folder, page = study_page
    code = "import sys, pathlib; from pages import written; written(*map(pathlib.Path, sys.argv[1:]))"
    again = folder.parent / "again.html"
    subprocess.run(
        [sys.executable, "-c", code, str(folder), str(again)], check=True, env=WITH_TESTS | {"PYTHONHASHSEED": "7"}
    )
    assert again.read_text("utf-8") == page


def test_the_page_asks_for_nothing(study_page):
    """No tag loads anything: links stay on the page, pictures are data, styles and scripts are inline."""
    page = Page(study_page[1])
    loads = [(tag, name, value) for tag, name, value in page.attributes if name in {"src", "href", "srcset", "action"}]
    assert all(value.startswith(("#", "data:image/jpeg;base64,")) for _, _, value in loads)
    assert not {"link", "iframe", "object", "embed", "base"} & set(page.tags)
    assert "url(http" not in study_page[1]
    assert "@import" not in study_page[1]


def test_the_page_only_runs_its_own_script(study_page):
    """The page's policy allows one script by its hash, and no handler attribute exists."""
    page = Page(study_page[1])
    assert page.tags.count("script") == 2
    assert "default-src 'none'" in study_page[1]
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]


def test_the_page_says_the_numbers_of_the_comparison(study_page):
    """The answers, the numbers with n and grade, what reconstruction measures and the failures are on the page."""
    words = re.sub(r"\s+", " ", " ".join(Page(study_page[1]).words))
    for part in (
        "Decided: training speed (“Laptop CPU (FP32)”), PSNR in equal time",
        "Least time to tune decided 200 iterations in 20.0 s A grade A: sound 95 % interval 19.9 to 20.1",
        "Laptop CPU (FP32) 21 % more iterations/s than “Laptop CPU (bfloat16)” (+5 % to +38 %). Decided.",
        "Looks after 3, 5, 7 and 10 repeats, which may add 0.5, 1, 1.75 and 1.75 % of wrong answers;",
        "Means over 3 runs each (n = 3)",
        "A difference counts if p < 0.05 after correction",
        "Set hardware.usd_per_hour in its spec",
        "it measures how well the tuning set was learnt",
        "OutOfMemoryError",
        "Inference speed at batch size 256 (image-steps/s)",
        "fluxkit run spec-0.toml spec-1.toml --repeats 3",
    ):
        assert part in words


def test_all_numbers_that_compare_prints_are_on_the_page(study_page):
    """Each metric with a value has a line in the folded table, with value, interval, runs and grade."""
    (workload,) = compare(builders.study()).workloads
    table = re.search(r'<table id="w1-all">.*?</table>', study_page[1], re.DOTALL)[0]
    words = re.sub(r"\s+", " ", " ".join(Page(table).words))
    for column in shown_columns(workload):
        assert header(column, workload) in words
        for row in workload.rows:
            assert " ".join(filter(None, cells_of(workload)(row, column)[:1])) in words
    assert "PSNR at equal iterations (dB)" in words
    assert "Whole run (s)" in words


def test_charts_take_their_colours_from_css(study_page):
    """Chart colours are CSS variables with a literal fallback, and no id occurs twice on the page."""
    charts = "".join(re.findall(r"<svg.*?</svg>", study_page[1], re.DOTALL))
    painted = set(re.findall(r'(?:fill|stroke)="([^"]*)"', charts))
    assert all(value.startswith("var(--") or value in {"none", "transparent"} for value in painted)
    ids = [value for _, name, value in Page(study_page[1]).attributes if name == "id"]
    assert len(ids) == len(set(ids))


def test_a_hundred_results_render_in_seconds_without_torch(tmp_path):
    """A hundred results are compared and rendered in seconds, by a process that never loads torch."""
    for number in range(100):
        label = f"machine {number // 4}"
        asked = builders.spec(hardware={"label": label}, execution={"threads": 1 + number // 4})
        run = builders.result(
            of=asked, repeat=number % 4, id=f"run-{number}", created=f"2026-01-01T00:{number % 60:02}:00Z"
        )
        write_result(tmp_path / run.id, run)
    code = (
        "import sys, pathlib, re, time; from pages import written;"
        "written(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[1]) / 'page.html');"
        "status = pathlib.Path('/proc/self/status').read_text();"  # getrusage counts the parent's peak before exec
        "print(time.process_time(), re.search(r'VmHWM:\\s+(\\d+)', status)[1]);"
        "assert not {'torch', 'diffusers', 'transformers', 'pandas'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], check=True, capture_output=True, text=True, env=WITH_TESTS
    )
    seconds, kibibytes = map(float, done.stdout.split())
    assert seconds < 20  # three on a quiet machine; a busy one stretches processor seconds too
    assert kibibytes < 2**20
    assert (tmp_path / "page.html").stat().st_size < 5_000_000


def test_a_page_that_cannot_be_made_leaves_nothing(tmp_path):
    """When a result cannot be read, no page and no temporary file is left behind."""
    (tmp_path / "result.json").write_text("{}")
    with pytest.raises(UsageError):
        written(tmp_path, tmp_path / "out" / "page.html")
    assert not (tmp_path / "out").exists()


def test_rendering_is_quick_the_second_time():
    """Once the chart compiler is loaded, a study's page takes about a second on a quiet machine."""
    results = builders.study()
    rendered(results)
    start = time.process_time()
    rendered(results)
    assert time.process_time() - start < 12


def test_a_failure_is_told_once_and_not_in_every_cell():
    """Where a configuration has no complete run its cells say that, and the whole error stands where it belongs."""
    error = {"phase": "load", "kind": "OutOfMemoryError", "message": "needed 12 GiB"}
    other = builders.spec(name="other", execution={"threads": 7}, hardware={"label": "Never worked"})
    page = rendered([builders.result(), builders.failed(of=other, error=error)])
    held_out = re.search(r'aria-label="Held-out scores".*?</table>', page, re.DOTALL)[0]
    assert held_out.count("(no complete run)") == len(HELD_OUT)
    assert "needed 12 GiB" not in held_out
    assert "needed 12 GiB" in page


def test_runs_and_numbers_have_anchors_and_the_inputs_a_hash(study_page):
    """Every run and every number can be linked to, and the footer's hash is that of what the page was made of."""
    folder, page = study_page
    ids = {value for _, name, value in Page(page).attributes if name == "id"}
    sources = find_results([folder])
    assert {f"run-{result.id}" for _, result in sources} <= ids
    assert {"metric-psnr_db", "metric-training_iterations_per_second", "metric-usd_per_adapter"} <= ids
    said = re.search(r"made of: <code>([0-9a-f]{64})</code>", page)[1]
    assert (
        said == re.search(r"made of: <code>([0-9a-f]{64})</code>", render(compare(r for _, r in sources), sources))[1]
    )
    fewer = sources[:-1]
    assert said not in render(compare(result for _, result in fewer), fewer)


HOUSE_WORDS = (
    "canary", "anchor", "certificate", "where the time went", "compressed", "graded mark", "share their luck",
    "an offer", "spoilt", "can it be believed", "the board",
)  # fmt: skip


def test_the_page_speaks_the_reader_s_words(study_page):
    """No word of the house stands in a text, a label or a title of the page."""
    text = re.sub(r"<(style|script)\b.*?</\1>", " ", study_page[1], flags=re.DOTALL)
    page = Page(text)
    spoken = [value for _, name, value in page.attributes if name in {"aria-label", "title", "alt"}]
    words = " ".join([*page.words, *spoken]).lower()
    assert [word for word in HOUSE_WORDS if word in words] == []
    for word in ("reliability", "numerical check against a reference", "time per phase", "log scale"):
        assert word in words


def test_the_top_says_what_where_and_what_is_decided(study_page):
    """The heading is the model, then a line for the machine, then the decided sentence, before anything else."""
    words = re.sub(r"\s+", " ", " ".join(Page(study_page[1].partition("<header>")[2]).words))
    assert words.startswith(" Tuning a small FLUX (nano) 8 cores of an Example CPU 8-core 7 runs of 2 configurations")
    assert words.index("Decided: training speed") < words.index("Least time to tune") < words.index("The numbers")


def test_proofs_are_closed_and_what_was_not_measured_is_one_line():
    """From the numerical check on everything is closed, and what has no section stands in one line with its reason."""
    page = rendered([builders.result(repeat=repeat, energy={"class": "unavailable", "reason": "no counter"})
                     for repeat in range(3)])  # fmt: skip
    after = page.partition("Numerical check against a reference</h3>")[2].partition("<footer>")[0]
    assert "<details open" not in page
    assert re.findall(r"</details>\s*<h[23]", after) == []
    assert (
        "Not measured here: images (images not beside the results); energy (no counter); scaling (no configuration "
        in page
    )
    assert 'id="w1-energy"' not in page


def test_a_column_that_nobody_has_is_left_out():
    """A number that no configuration has is no column of dashes."""
    runs = [
        builders.result(repeat=repeat, energy={"class": "unavailable", "reason": "no counter"}) for repeat in range(3)
    ]
    head = re.search(r'id="w1-numbers">.*?</thead>', rendered(runs), re.DOTALL)[0]
    assert "Training speed" in head
    assert "Energy" not in head
    assert "Cost per adapter" not in head


def test_configurations_stand_best_first(study_page):
    """Tables have the fastest to tune first, whatever the order of the results."""
    (workload,) = compare(builders.study()).workloads
    table = re.search(r'id="w1-numbers">.*?</table>', study_page[1], re.DOTALL)[0]
    order = [int(number) for number in re.findall(r'<tr data-configuration="(\d+)"', table)]
    speeds = [workload.rows[number].estimate("training_iterations_per_second").mean or 0.0 for number in order]
    assert speeds == sorted(speeds, reverse=True)


def test_a_page_says_what_of_people_it_holds(study_page, tmp_path):
    """Its footer counts pictures and captions and names labels; made without pictures it holds none."""
    footer = re.search(r'<p id="personal">(.*?)</p>', study_page[1], re.DOTALL)[1]
    shown = study_page[1].count("<img src=")
    assert re.match(
        rf"This page holds {shown} pictures, \d+ of them photos that were tuned on; \d+ captions; labels", footer
    )
    assert "“Laptop CPU”" in footer
    bare = tmp_path / "bare.html"
    write_report(folded_results([study_page[0]]), bare, pictures=False)
    text = bare.read_text("utf-8")
    assert "<img src=" not in text
    assert "data:image" not in text
    assert "This page holds no picture; " in text
    assert "Left out: the page was made without pictures." in text
