"""`fluxkit.report.page`: the page is self-contained, repeatable, and nothing of a stranger becomes markup or script."""

import html.parser
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import builders
import pytest

from fluxkit.charts.pareto import tradeoffs
from fluxkit.charts.step_time_charts import change
from fluxkit.charts.summary_charts import phases
from fluxkit.charts.svg import COLOURS, PHASE_COLOURS, style_of
from fluxkit.compare.compare import compare
from fluxkit.errors import UsageError
from fluxkit.fold.outcome import folded_results
from fluxkit.record.phase_seconds import PARTS, part_seconds
from fluxkit.record.run_folder import find_results, safe_path, write_result
from fluxkit.report.bundle import keep
from fluxkit.report.embedded_json import inside_script
from fluxkit.report.environment_diff import differing
from fluxkit.report.page import render, write_report
from fluxkit.report.trust_board import BOARD, board
from fluxkit.text.number_format import header
from fluxkit.text.text_table import cell, shown_columns

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\"'>{{ 7*7 }}"


class Page(html.parser.HTMLParser):
    """Tags, attributes and text of a page, as a browser would split them."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.scripts, self.words = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attributes]

    def handle_data(self, data):
        inside = self.scripts if self.tags and self.tags[-1] == "script" else self.words
        inside.append(data)


def rendered(results, folder=Path("nowhere")):
    """The page of results whose pictures lie in folders by id, if anywhere."""
    return render(compare(results), [(folder / result.id / "result.json", result) for result in results])


@pytest.fixture(scope="module")
def study_page(tmp_path_factory):
    """A study with pictures, and its page."""
    folder = tmp_path_factory.mktemp("study")
    for result in builders.study():
        builders.run_folder(folder / result.id, result)
    output = folder / "page.html"
    write_report(folded_results([folder]), output)
    return folder, output.read_text("utf-8")


def test_the_page_is_byte_identical_in_another_process(study_page):
    """The same results give the same bytes, in another process with another hash seed."""
    folder, page = study_page
    code = (
        "import sys, pathlib; from fluxkit.fold.outcome import folded_results as read;"
        "from fluxkit.report.page import write_report;"
        "write_report(read([pathlib.Path(sys.argv[1])]), pathlib.Path(sys.argv[2]))"
    )
    again = folder.parent / "again.html"
    subprocess.run(
        [sys.executable, "-c", code, str(folder), str(again)], check=True, env={**os.environ, "PYTHONHASHSEED": "7"}
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
        "Least time to tune decided, grade A Laptop CPU (FP32) 9.99",
        "Enter what this hardware costs",
        "n = 3, grade A",
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
            assert " ".join(filter(None, cell(workload, row, column)[:1])) in words
    assert "PSNR at equal iterations (dB)" in words
    assert "Whole run (s)" in words


def test_pictures_have_alternative_texts_and_scores(study_page):
    """Every picture is embedded with a text, and tiles say PSNR and SSIM."""
    page = Page(study_page[1])
    texts = [value for tag, name, value in page.attributes if (tag, name) == ("img", "alt")]
    embedded = [value for tag, name, value in page.attributes if (tag, name) == ("img", "src")]
    assert len(embedded) == len([text for text in texts if text]) == 4 * (3 + 2 * 4)
    assert "Untuned model: a cup of coffee on a table" in texts
    assert re.search(r"\d+\.\d dB · SSIM 0\.\d\d", study_page[1])


def test_charts_take_their_colours_from_css(study_page):
    """Chart colours are CSS variables with a literal fallback, and no id occurs twice on the page."""
    charts = "".join(re.findall(r"<svg.*?</svg>", study_page[1], re.DOTALL))
    painted = set(re.findall(r'(?:fill|stroke)="([^"]*)"', charts))
    assert all(value.startswith("var(--") or value in {"none", "transparent"} for value in painted)
    ids = [value for _, name, value in Page(study_page[1]).attributes if name == "id"]
    assert len(ids) == len(set(ids))


def test_a_lone_result_renders_without_pictures(tmp_path):
    """A result.json alone gives a whole page that says its images are not beside it."""
    write_result(tmp_path, builders.result())
    write_report(folded_results([tmp_path / "result.json"]), tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text("utf-8")
    assert "— (images not beside the results)" in page
    assert "data:image" not in page.split("<style>")[1]


def test_a_missing_picture_is_said_on_its_tile(tmp_path):
    """One missing picture leaves the others and its score in place."""
    folder = builders.run_folder(tmp_path / "run", builders.result())
    (folder / "samples" / "real-0.png").unlink()
    write_report(folded_results([folder]), tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text("utf-8")
    assert "— (image not beside it)" in page
    assert page.count('<img src="data:image/jpeg') == 4 * (3 + 4) - 1


def hostile_result():
    """A result with markup in every text that a stranger can choose."""
    asked = builders.spec(hardware={"label": HOSTILE[:80]})
    run = builders.result(of=asked)
    values = run.model_dump(mode="json", by_alias=True)
    values["id"] = values["study"] = values["created"] = HOSTILE
    values["kit"] = {"version": HOSTILE, "commit": HOSTILE, "dirty": True, "image": HOSTILE}
    values["configuration_sha256"] = HOSTILE
    values["system"]["before"]["readings"][HOSTILE] = {"value": HOSTILE, "source": HOSTILE, "unavailable": None}
    values["system"]["before"]["packages"] = {HOSTILE: HOSTILE}
    values["system"]["before"]["devices"][0]["name"] = HOSTILE
    values["inputs"]["pairs"] = [
        {**pair, "caption": HOSTILE, "image": pair["image"] and f"../{HOSTILE}.png"}
        for pair in values["inputs"]["pairs"]
    ]
    values["phases"].append({"name": HOSTILE, "attempt": 0, "seconds": 1.0})
    values["tuning"]["ranks"][0] |= {
        "device_name": HOSTILE,
        "precision": {"dtype": HOSTILE},
        "versions": {HOSTILE: HOSTILE},
    }
    values["tuning"]["marks"][0]["id"] = HOSTILE
    values["quality"]["definition"] = {HOSTILE: HOSTILE}
    values["quality"]["anchors"][0]["anchor"] = HOSTILE
    values["inference"] |= {"attention": HOSTILE, "precision": {"dtype": HOSTILE, "weights": HOSTILE}}
    values["checks"] = [{"id": HOSTILE, "subject": HOSTILE, "grade": "C", "evidence": HOSTILE}]
    values["energy"] = {"class": "unavailable", "source": HOSTILE, "reason": HOSTILE}
    values["artifacts"] = [{"path": HOSTILE, "sha256": HOSTILE, "bytes": 1}]
    values["inputs"] |= {"skipped": [HOSTILE], "weights_sha256": HOSTILE, "dataset_sha256": HOSTILE}
    values["plan"] |= {"notes": [HOSTILE], "device_names": [HOSTILE]}
    values["error"] = None
    return type(run).model_validate_json(json.dumps(values))


def test_hostile_texts_stay_texts(tmp_path):
    """Markup in any text of a result adds no tag, no handler and no script to the page."""
    run = hostile_result()
    failed = builders.failed(error={"phase": HOSTILE, "kind": HOSTILE, "message": HOSTILE})
    builders.run_folder(tmp_path / "run", builders.result())
    write_result(tmp_path / "run", run)
    comparison = compare([run, failed])
    page = Page(render(comparison, [(tmp_path / "run" / "result.json", run), (tmp_path / "x", failed)]))
    assert page.tags.count("script") == 2
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    assert "alert(1)" not in page.scripts[-1]
    assert "49" not in [word.strip() for word in page.words]
    assert not [value for tag, _, value in page.attributes if tag == "img" and value == "x"]


def test_embedded_json_reads_back_and_cannot_end_its_element(study_page):
    """The embedded JSON holds comparison and results, and hostile strings in it read back unchanged."""
    text = re.search(r'id="results">(.*?)</script>', study_page[1], re.DOTALL)[1]
    values = json.loads(text)
    assert len(values["results"]) == 7
    assert values["results"][-1]["tuning"]["iteration_seconds"]
    assert "<" not in inside_script(json.dumps({HOSTILE: HOSTILE}))
    assert json.loads(inside_script(json.dumps({HOSTILE: HOSTILE}))) == {HOSTILE: HOSTILE}


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
        "import sys, pathlib, re, time; from fluxkit.fold.outcome import folded_results as read;"
        "from fluxkit.report.page import write_report;"
        "write_report(read([pathlib.Path(sys.argv[1])]), pathlib.Path(sys.argv[1]) / 'page.html');"
        "status = pathlib.Path('/proc/self/status').read_text();"  # getrusage counts the parent's peak before exec
        "print(time.process_time(), re.search(r'VmHWM:\\s+(\\d+)', status)[1]);"
        "assert not {'torch', 'diffusers', 'transformers', 'pandas'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, capture_output=True, text=True)
    seconds, kibibytes = map(float, done.stdout.split())
    assert seconds < 20  # three on a quiet machine; a busy one stretches processor seconds too
    assert kibibytes < 2**20
    assert (tmp_path / "page.html").stat().st_size < 5_000_000


def test_heavy_pictures_are_fewer_and_the_page_says_so(tmp_path, monkeypatch):
    """When the pictures do not all fit, whole pairs are left out and the page says how many."""
    monkeypatch.setattr("fluxkit.report.thumbnails.MAX_TOTAL_BYTES", 6000)
    folder = builders.run_folder(tmp_path / "run", builders.result())
    write_report(folded_results([folder]), tmp_path / "page.html")
    assert re.search(r"[123] of 4 pairs", (tmp_path / "page.html").read_text("utf-8"))


@pytest.mark.parametrize(
    "path",
    ["/etc/passwd", "../secret.png", "a/../../secret.png", "", ".", "C:\\x.png", "x\0.png", "out.png", "samples"],
)
def test_paths_of_strangers_stay_inside_the_folder(tmp_path, path):
    """A path that is absolute, climbs out, leads out by a link or names no regular file is refused in a sentence."""
    inside = tmp_path / "run"
    (inside / "samples").mkdir(parents=True)
    (tmp_path / "secret.png").write_bytes(b"secret")
    (inside / "out.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(UsageError):
        safe_path(inside, path)


def test_a_plain_path_inside_the_folder_is_found(tmp_path):
    """An ordinary relative path gives the file."""
    (tmp_path / "samples").mkdir()
    (tmp_path / "samples" / "a.png").write_bytes(b"x")
    assert safe_path(tmp_path, "samples/a.png").read_bytes() == b"x"


def test_results_are_found_at_any_of_three_depths(tmp_path):
    """Files, run folders and study folders all lead to their results, each id once."""
    run = builders.result()
    for place in ("a", "a/b", "a/b/c"):
        write_result(tmp_path / place, run)
    write_result(tmp_path / "a/b/c/d", builders.result(repeat=1))
    found = find_results([tmp_path, tmp_path / "a", tmp_path / "a" / "result.json"])
    assert [result.repeat for _, result in found] == [0, 1]


@pytest.mark.parametrize("empty", [True, False])
def test_nothing_found_is_a_sentence(tmp_path, empty):
    """No path, or a folder without results, is one sentence that says what to give."""
    with pytest.raises(UsageError, match=r"Give a result\.json, a run folder or a study folder"):
        find_results([] if empty else [tmp_path])


def test_a_page_that_cannot_be_made_leaves_nothing(tmp_path):
    """When a result cannot be read, no page and no temporary file is left behind."""
    (tmp_path / "result.json").write_text("{}")
    with pytest.raises(UsageError):
        write_report(folded_results([tmp_path]), tmp_path / "out" / "page.html")
    assert not (tmp_path / "out").exists()


def test_rendering_is_quick_the_second_time():
    """Once the chart compiler is loaded, a study's page takes about a second on a quiet machine."""
    results = builders.study()
    rendered(results)
    start = time.process_time()
    rendered(results)
    assert time.process_time() - start < 12


def test_a_picture_that_was_cut_short_is_not_shown_as_an_empty_one(tmp_path):
    """A PNG without all of its pixels is said to be missing instead of being drawn white."""
    folder = builders.run_folder(tmp_path / "run", builders.result())
    file = folder / "samples" / "real-0.png"
    file.write_bytes(file.read_bytes()[:-30])
    write_report(folded_results([folder]), tmp_path / "page.html")
    assert "— (image not beside it)" in (tmp_path / "page.html").read_text("utf-8")


def test_kept_results_give_the_same_numbers_and_pictures(study_page, tmp_path):
    """Results kept beside their page are whole in their raw values, hold the shown pictures alone, and verify."""
    kept = keep(find_results([study_page[0]]), tmp_path / "results")
    write_report(find_results(kept), tmp_path / "index.html")
    page = (tmp_path / "index.html").read_text("utf-8")
    assert page.count("<img src=") == study_page[1].count("<img src=")
    assert len(list((tmp_path / "results").rglob("*.png"))) < len(list(study_page[0].rglob("*.png")))
    for (_, before), (_, after) in zip(find_results([study_page[0]]), find_results(kept), strict=True):
        assert before.model_copy(update={"artifacts": ()}) == after.model_copy(update={"artifacts": ()})


def test_kept_results_are_put_beside_nothing_else(study_page, tmp_path):
    """A folder that holds another study's results is left as it is."""
    (tmp_path / "results" / "other").mkdir(parents=True)
    with pytest.raises(UsageError, match="holds other"):
        keep(find_results([study_page[0]]), tmp_path / "results")


def test_what_decides_a_number_stands_before_noise():
    """Between configurations the device and the packages come first; load and free memory are folded at the end."""
    first = builders.result(repeat=0)
    values = builders.result(repeat=1, of=builders.spec(execution={"threads": 1})).model_dump(
        mode="json", by_alias=True
    )
    values["system"]["before"]["packages"]["torch"] = "9.9"
    values["system"]["before"]["readings"]["disk_free_bytes"] = {"value": 5, "source": "x", "unavailable": None}
    values["system"]["before"]["devices"][0]["name"] = "Another CPU"
    runs = {run.id: run for run in (first, type(first).model_validate_json(json.dumps({**values, "id": "other"})))}
    groups = differing(compare(runs.values()).workloads[0].rows, runs)
    assert [group.title for group in groups] == ["Between configurations", "What changes from minute to minute"]
    assert [each.key for each in groups[0].rows][:2] == ["device.0", "package.torch"]
    assert "machine.disk_free_bytes" in {each.key for each in groups[1].rows}


def test_the_front_holds_what_nothing_beats():
    """Along the front, more time always gives more quality, and every other mark is beaten by one on it."""
    workload = compare(builders.study()).workloads[0]
    found = tradeoffs(workload, "w1").time
    on_front = [(float(line[1]), float(line[2])) for line in found.table if line[4] == "yes"]
    assert on_front == sorted(on_front)
    assert [psnr for _, psnr in on_front] == sorted(psnr for _, psnr in on_front)
    for line in found.table:
        assert any(float(line[1]) >= takes and float(line[2]) <= psnr for takes, psnr in on_front)


def test_board_says_which_check_spoilt_a_grade():
    """The board's squares hold the worst grade about a subject and the check behind it, with its runs."""
    runs = builders.study()
    ((_, squares), _) = board(compare(runs).workloads[0])
    by_subject = dict(zip(BOARD, squares, strict=True))
    assert (by_subject["quality"].grade, by_subject["quality"].words) == ("B", ("split: 3 of 3 runs",))
    assert (by_subject["training_speed"].grade, by_subject["training_speed"].words) == ("A", ())


def test_the_board_grades_as_the_numbers_do_and_only_what_was_measured():
    """Where nothing was found a square has the A of the number, and where there is no number it says why."""
    unknown = {"class": "unavailable", "reason": "no counter can be read"}
    check = {"id": "energy_unknown", "subject": "energy", "grade": "A", "evidence": "Energy is not known."}
    runs = [builders.result(repeat=repeat, energy=unknown, checks=[check]) for repeat in range(3)]
    workload = compare(runs).workloads[0]
    ((row, squares),) = board(workload)
    by_subject = dict(zip(BOARD, squares, strict=True))
    assert (by_subject["energy"].grade, by_subject["energy"].reason) == (None, "no counter can be read")
    assert by_subject["training_speed"].grade == row.estimate("training_iterations_per_second").grade == "A"
    assert "— (unknown: no counter can be read)" in re.sub(r"<[^>]*>", " ", rendered(runs)).replace("—  (", "— (")


def test_compiling_and_checkpoints_stand_apart_in_the_order_of_a_run():
    """Parts are taken out of the phases that they were in, and the chart has them where the run had them."""
    run = builders.result()
    compiled = run.tuning.model_copy(update={"compile_seconds": 1.5, "checkpoint_seconds": 4.0})
    inference = run.inference.model_copy(update={"compile_seconds": 2.0})
    whole = run.model_copy(update={"tuning": compiled, "inference": inference})
    before, parts = part_seconds(run), part_seconds(whole)
    assert sum(parts.values()) == pytest.approx(sum(before.values()))
    assert (parts["compile"], parts["checkpoint"]) == (3.5, 4.0)
    assert parts["tune"] == before["tune"] - 4.0
    drawn = phases(compare([whole]).workloads[0], "key")
    assert [name.removesuffix(" (s)").replace(" ", "_") for name in drawn.columns[1:]] == list(PARTS)


def test_no_two_configurations_look_alike_and_no_phase_looks_like_one():
    """64 configurations differ in colour, marker or dash, and phases have colours of their own."""
    assert len({style_of(number)[:2] for number in range(64)}) == 64
    assert len({style_of(number)[::2] for number in range(64)}) == 64
    assert len(PHASE_COLOURS) == len(set(PHASE_COLOURS)) == len(PARTS) + 1
    assert not set(map(str.lower, PHASE_COLOURS)) & set(map(str.lower, COLOURS))


def test_the_canary_chart_has_all_processes_together():
    """The chart holds the sum over processes before and after a phase, which is what the checks look at."""
    asked = builders.spec(execution={"processes": 2})
    rates = {("before", 0): 4e9, ("after", 0): 2e9, ("before", 1): 4e9, ("after", 1): 6e9}
    canary = [
        {
            "phase": "tune", "when": when, "rank": rank, "precision": "ieee_float32", "matmul_size": 8,
            "matmul_flops_per_second": rate, "copy_bytes_per_second": rate,
        }
        for (when, rank), rate in rates.items()
    ]  # fmt: skip
    run = builders.result(of=asked, canary=canary)
    found = change(compare([run]).workloads[0], {run.id: run}, "key")
    assert [line[2:] for line in found.table] == [("tune", "8.00", "8.00", "8.00", "8.00", "1.00", "1.00")]


def test_a_tiny_p_is_not_written_as_nothing():
    """The page says that a p is below 0.001 instead of giving a 0 or digits that mean nothing."""
    runs = []
    for place in range(2):
        asked = builders.spec(name=f"n{place}", execution={"threads": place + 1}, hardware={"label": f"M{place}"})
        seconds = [tuple((0.02 + 0.3 * place) * (1 + 1e-6 * repeat) for _ in range(300)) for repeat in range(3)]
        runs += [builders.result(of=asked, repeat=n, iteration_seconds=each) for n, each in enumerate(seconds)]
    assert "&lt; 0.001</td>" in rendered(runs)


def test_configurations_without_pictures_are_named_with_the_reason(tmp_path):
    """A configuration that has no column among the pictures is named, and weights that cannot draw are the reason."""
    runs = {}
    for name in ("with", "without"):
        asked = builders.spec(name=name, execution={"threads": len(name)}, hardware={"label": f"Machine {name}"})
        runs[name] = builders.result(of=asked)
    builders.run_folder(tmp_path / "with", runs["with"])
    write_result(tmp_path / "without", runs["without"])
    write_report(folded_results([tmp_path]), tmp_path / "page.html")
    assert "No pictures of Machine without: images not beside the results." in (tmp_path / "page.html").read_text()
    asked = builders.spec(model={"family": "schnell", "weights": "random"})
    blind = runs["with"].model_copy(update={"spec": asked, "quality": None})
    assert "— (random weights draw nothing)" in rendered([blind])


def test_the_board_knows_what_comparing_found():
    """What comparing finds in old results spoils the square as it spoils the number."""
    runs = [builders.result(repeat=repeat, canary=[]) for repeat in range(3)]
    ((row, squares),) = board(compare(runs).workloads[0])
    grades = dict(zip(BOARD, (square.grade for square in squares), strict=True))
    assert grades["training_speed"] == row.estimate("training_iterations_per_second").grade == "B"


def test_a_failure_is_told_once_and_not_in_every_cell():
    """Where a configuration has no complete run its cells say that, and the whole error stands where it belongs."""
    error = {"phase": "load", "kind": "OutOfMemoryError", "message": "needed 12 GiB"}
    other = builders.spec(name="other", execution={"threads": 7}, hardware={"label": "Never worked"})
    page = rendered([builders.result(), builders.failed(of=other, error=error)])
    held_out = re.search(r'aria-label="Held-out scores".*?</table>', page, re.DOTALL)[0]
    assert held_out.count("(no complete run)") == 4
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
