"""Pages of results, as text and as a browser would split them."""

import html.parser
from pathlib import Path

from fluxkit.compare.compare import compare
from fluxkit.fold.outcome import folded_results
from fluxkit.report.page import render, write_report

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


def written(path, output, published=()):
    """The page of the results under a path, written to a file."""
    write_report(folded_results([path]), output, published)
    return output.read_text("utf-8")
