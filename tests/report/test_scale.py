"""A page of many results: small, quick, and honest about what it leaves out."""

import json
import re
import subprocess
import sys

import builders
import pytest
from many_results import write_results
from pages import rendered

from fluxkit.report.page import MAX_PAGE_BYTES, MOST_RUNS


def runs_of(configurations, repeats):
    """So many small runs."""
    specs = [builders.spec(hardware={"label": f"Node {place:02d}"}) for place in range(configurations)]
    return [
        builders.result(of=spec, repeat=repeat, id=f"{place}-{repeat}")
        for place, spec in enumerate(specs)
        for repeat in range(repeats)
    ]


def page_of(configurations, repeats):
    return rendered(runs_of(configurations, repeats))


def test_a_page_of_many_configurations_shows_some_and_says_so():
    """Of thirty configurations twenty are on the page, the same everywhere on it, and it says where the others are."""
    page = page_of(30, 1)
    assert "Shown are 20 of 30 configurations" in page
    assert "fluxkit compare --format csv" in page
    embedded = json.loads(re.search(r'id="results">(.*?)</script>', page, re.DOTALL)[1])
    rows = embedded["comparison"]["workloads"][0]["rows"]
    assert len(rows) == 20
    prices = re.search(r'<table class="prices">.*?</table>', page, re.DOTALL)[0]
    assert prices.count("<tr") == 1 + 20
    assert re.search(r"30 runs? of 30 configurations", page)


def test_the_answers_of_a_page_are_about_all_configurations():
    """Those that are in no table are still in the answers: of thirty that need the same memory six are named."""
    assert '<li class="soft">and 24 more</li>' in page_of(30, 1)


def test_a_page_of_many_runs_tells_some_of_them_one_by_one():
    """Of a configuration with thirty runs twenty are told one by one, and its numbers are of all thirty."""
    page = page_of(1, MOST_RUNS + 10)
    assert f"the first {MOST_RUNS} are told one by one" in page
    assert page.count(", place 1, seed") <= 1
    assert len(re.findall(r'id="run-0-\d+"', page)) == MOST_RUNS
    assert f"n = {MOST_RUNS + 10}" in page
    assert "and 10 more" in page


@pytest.mark.slow
@pytest.mark.parametrize(("configurations", "repeats"), [(20, 50), (1000, 1)])
def test_a_thousand_results_make_a_small_page_in_seconds(configurations, repeats, tmp_path):
    """A thousand results are reported, and compared, within 20 processor seconds and 2 GiB, on 5 MB at most."""
    write_results(tmp_path / "many", configurations, repeats)
    page = tmp_path / "page.html"
    for words in (["report", tmp_path / "many", "-o", page], ["compare", tmp_path / "many", "--format", "csv"]):
        seconds, gibibytes = child([sys.executable, "-m", "fluxkit", *map(str, words)])
        assert seconds < 20
        assert gibibytes < 2
    assert page.stat().st_size <= MAX_PAGE_BYTES


def child(command):
    """Processor seconds and most memory, in GiB, of a command that succeeds."""
    code = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL); "
        "use = resource.getrusage(resource.RUSAGE_CHILDREN); print(use.ru_utime + use.ru_stime, use.ru_maxrss / 2**20)"
    )
    ended = subprocess.run([sys.executable, "-c", code, *command], check=True, capture_output=True, text=True)
    return map(float, ended.stdout.split())
