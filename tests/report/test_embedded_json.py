"""`fluxkit.report.embedded_json`: the data inside a page read back, and nothing in them ends their element."""

import json
import re

from pages import HOSTILE

from fluxkit.report.embedded_json import inside_script


def test_embedded_json_reads_back_and_cannot_end_its_element(study_page):
    """The embedded JSON holds comparison and results, and hostile strings in it read back unchanged."""
    text = re.search(r'id="results">(.*?)</script>', study_page[1], re.DOTALL)[1]
    values = json.loads(text)
    assert len(values["results"]) == 7
    assert values["results"][-1]["tuning"]["iteration_seconds"]
    assert "<" not in inside_script(json.dumps({HOSTILE: HOSTILE}))
    assert json.loads(inside_script(json.dumps({HOSTILE: HOSTILE}))) == {HOSTILE: HOSTILE}
