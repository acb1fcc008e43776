"""`fluxkit.report.embedded_json`: the data inside a page read back, and nothing in them ends their element."""

import json
import re

from pages import HOSTILE

from fluxkit.errors import printable
from fluxkit.report.embedded_json import inside_script


def test_embedded_json_reads_back_and_cannot_end_its_element(study_page):
    """The embedded JSON holds comparison and results, and hostile strings in it read back unchanged."""
    text = re.search(r'id="results">(.*?)</script>', study_page[1], re.DOTALL)[1]
    values = json.loads(text)
    assert len(values["results"]) == 7
    assert values["results"][-1]["tuning"]["iteration_seconds"]
    assert "<" not in inside_script(json.dumps({HOSTILE: HOSTILE}))
    assert json.loads(inside_script(json.dumps({HOSTILE: HOSTILE}))) == {HOSTILE: HOSTILE}


def test_no_control_stands_in_a_page_as_itself() -> None:
    """An override of the reading direction in a caption would show other source than there is; JSON says it escaped."""
    text = json.dumps({"caption": "a \u202egnp\u2066 \x7f\x9b cat \u200d\u200c"}, ensure_ascii=False)
    inside = inside_script(text)
    assert printable(inside) == inside
    assert json.loads(inside) == json.loads(text)
    assert "\u200d\u200c" in inside
