"""Charts as static SVG: colours are CSS variables, shapes and dashes repeat what colour says."""

import html
import re
from typing import Any

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6BB1", "#6B6B6B")
"""Okabe and Ito's palette for all kinds of colour vision, its yellow and black replaced for use on both backgrounds."""
MARKERS = {
    "circle": '<circle cx="15" cy="6" r="4"/>',
    "square": '<rect x="11" y="2" width="8" height="8"/>',
    "triangle-up": '<path d="M15 1.5l5 8.5h-10z"/>',
    "diamond": '<path d="M15 1l5 5l-5 5l-5-5z"/>',
    "cross": '<path d="M13.5 2h3v2.5h2.5v3h-2.5v2.5h-3v-2.5h-2.5v-3h2.5z"/>',
    "triangle-down": '<path d="M15 10.5l5-8.5h-10z"/>',
    "triangle-right": '<path d="M19.5 6l-8.5 5v-10z"/>',
    "triangle-left": '<path d="M10.5 6l8.5 5v-10z"/>',
}
"""By the chart compiler's name: the same marker for a legend, 12 pixels high."""
DASHES = ((1, 0), (6, 3), (2, 2), (8, 3, 2, 3), (4, 2), (1, 3), (10, 3), (3, 3))
INK, SOFT, RULE, PAPER = "#1b1f24", "#5b6570", "#d9dee4", "#fdfdfe"
FONT = "Liberation Sans"
"""Comes with the chart compiler, so that labels are laid out alike everywhere."""
NUMBER = ",.10~g"
"""Axis labels in plain digits: 20,000, not 20k, of which small ticks would read 0k."""
WIDTH, HEIGHT = 400, 220
PHASE_COLOURS = (
    "#9AA5B1", "#C3CAD2", "#76828F", "#CDBB99", "#A08F6E", "#46566A", "#C9B8C0", "#8FA08A", "#5F7360", "#B5B5B0",
)  # fmt: skip
"""Of the parts of a run in their order and of unknown ones: dull, because bright colours mean configurations."""

VARIABLES = {
    **{colour.lower(): f"p{place}" for place, colour in enumerate(PHASE_COLOURS)},
    **{colour.lower(): f"c{place}" for place, colour in enumerate(COLOURS)},
    INK: "ink",
    SOFT: "soft",
    RULE: "rule",
    PAPER: "paper",
}
"""Which CSS variable stands for which colour."""


def style_of(number: int) -> tuple[str, str, tuple[int, ...]]:
    """Colour, marker and dash of a configuration, the same through the whole page.

    Where colours begin again, markers and dashes are shifted, so that 64 configurations are all different.
    """
    shifted = number + number // len(COLOURS)
    return COLOURS[number % len(COLOURS)], list(MARKERS)[shifted % len(MARKERS)], DASHES[shifted % len(DASHES)]


def svg(chart: Any, key: str) -> str:
    """The chart compiled, its colours turned into CSS variables, its ids made unique on the page."""
    import vl_convert

    styled = chart.configure(
        font=FONT,
        background="transparent",
        padding={"left": 4, "right": 14, "top": 8, "bottom": 4},
        view={"stroke": None},
        axis={"labelColor": SOFT, "titleColor": SOFT, "gridColor": RULE, "domainColor": RULE, "tickColor": RULE,
              "labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal"},
        legend={"labelColor": SOFT, "labelFontSize": 12, "symbolBaseStrokeColor": SOFT},
    )  # fmt: skip
    # Not validated here: that costs a second a page, and the compiler parses the same specification.
    text = vl_convert.vegalite_to_svg(styled.to_dict(validate=False))
    # Only tags: the texts of the drawing stay as they are.
    return re.sub(r"<[a-zA-Z][^>]*>", lambda tag: _themed_tag(tag[0], key), text)


def named_svg(drawn: str, name: str) -> str:
    """The SVG of a chart as what it is to a reader who listens: a drawing with a name, whose marks speak."""
    facts = f'role="graphics-document" aria-roledescription="chart" aria-label="{html.escape(name)}"'
    return drawn.replace("<svg ", f"<svg {facts} ", 1)


def _themed_tag(tag: str, key: str) -> str:
    """A tag with variables for colours, ids of its chart's own, and coordinates of two decimals."""
    tag = re.sub(r'(?<= )(fill|stroke)="(#[0-9a-fA-F]{6})"', _variable, tag)
    tag = re.sub(r'(?<= )id="([A-Za-z0-9_-]+)"', rf'id="{key}-\1"', tag)
    tag = re.sub(r'="url\(#([A-Za-z0-9_-]+)\)"', rf'="url(#{key}-\1)"', tag)
    return re.sub(r'(?<= )(d|transform|x|y|x2|y2|width|height)="[^"]*"', _shortened, tag)


def _variable(painted: re.Match[str]) -> str:
    attribute, colour = painted[1], painted[2]
    name = VARIABLES.get(colour.lower())
    return f'{attribute}="var(--{name}, {colour})"' if name else painted[0]


def _shortened(attribute: re.Match[str]) -> str:
    return re.sub(r"-?\d+\.\d{3,}", lambda number: f"{float(number[0]):.2f}", attribute[0])


def swatch(number: int) -> str:
    """The line and marker of a configuration as a small picture for legends and tables."""
    colour, shape, dash = style_of(number)
    variable = f"var(--c{number % len(COLOURS)}, {colour})"
    dashes = " ".join(map(str, dash)) if dash[1] else "none"
    return (
        f'<svg class="swatch" data-number="{number}" width="30" height="12" viewBox="0 0 30 12" aria-hidden="true">'
        f'<line x1="0" y1="6" x2="30" y2="6" stroke="{variable}" stroke-width="2" stroke-dasharray="{dashes}"/>'
        f'<g fill="{variable}">{MARKERS[shape]}</g></svg>'
    )
