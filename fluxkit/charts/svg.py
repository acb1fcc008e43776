"""Charts as static SVG: colours are CSS variables, shapes and dashes repeat what colour says."""

import html
import re
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

COLOURS = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6BB1", "#6B6B6B",
    "#F000FF", "#0000FF", "#960000", "#5A00A5", "#004B00", "#D20069", "#873CFF", "#78005A",
    "#A50FB4", "#4B87FF", "#007800", "#FF0FB4", "#FF3C69", "#003C87", "#A54B3C", "#B469F0",
)  # fmt: skip
"""Okabe and Ito's palette for all kinds of colour vision, its yellow and black replaced for use on both backgrounds.
Those that follow lie furthest from all before them, as all kinds of colour vision see them."""
DARK_COLOURS = (
    "#4AA8E0", "#F0813A", "#2CC295", "#E09AC4", "#F2B83A", "#8FD0F5", "#B197D6", "#A0A0A0",
    "#C300FF", "#F00087", "#4B69FF", "#00E100", "#00A500", "#FF69FF", "#F01E00", "#A55AB4",
    "#96B42D", "#B46900", "#A578FF", "#FF6987", "#F01ED2", "#78E187", "#0087C3", "#FFB4A5",
)  # fmt: skip
"""The same for a dark page."""
MARKERS = (
    "M0,.9A.9,.9,0,1,1,0,-.9A.9,.9,0,1,1,0,.9Z",  # circle
    "M-.85,-.85H.85V.85H-.85Z",  # square
    "M0,-1L1,.8H-1Z",  # triangle up
    "M0,-1.1L1.1,0L0,1.1L-1.1,0Z",  # diamond
    "M-.35,-1H.35V-.35H1V.35H.35V1H-.35V.35H-1V-.35H-.35Z",  # cross
    "M0,1L1,-.8H-1Z",  # triangle down
    "M1,0L-.8,1V-1Z",  # triangle right
    "M-1,0L.8,1V-1Z",  # triangle left
    "M0,-1.1L.27,-.37L1.05,-.34L.43,.14L.65,.89L0,.45L-.65,.89L-.43,.14L-1.05,-.34L-.27,-.37Z",  # star
    "M-.5,-.87H.5L1,0L.5,.87H-.5L-1,0Z",  # hexagon
    "M-1,-.7L-.7,-1L0,-.3L.7,-1L1,-.7L.3,0L1,.7L.7,1L0,.3L-.7,1L-1,.7L-.3,0Z",  # x
    "M-.9,-1H.9L-.9,1H.9Z",  # hourglass
    "M-1,-.9V.9L1,-.9V.9Z",  # bow tie
    "M0,1A1,1,0,1,1,0,-1A1,1,0,1,1,0,1ZM0,.5A.5,.5,0,1,0,0,-.5A.5,.5,0,1,0,0,.5Z",  # ring
    "M-.9,-.9H.9V.9H-.9ZM-.4,-.4V.4H.4V-.4Z",  # square ring
    "M0,-1.2L1.2,0L0,1.2L-1.2,0ZM0,-.55L-.55,0L0,.55L.55,0Z",  # diamond ring
    "M-.35,-1.1H.35V1.1H-.35Z",  # upright bar
    "M-1.1,-.35H1.1V.35H-1.1Z",  # lying bar
    "M-1,.5A1,1,0,0,1,1,.5Z",  # half disc up
    "M-1,-.5A1,1,0,0,0,1,-.5Z",  # half disc down
    "M0,-1.2L.3,-.3L1.2,0L.3,.3L0,1.2L-.3,.3L-1.2,0L-.3,-.3Z",  # star of four
    "M-1,-.9H1V-.3H.3V1H-.3V-.3H-1Z",  # T
    "M-1,.9H1V.3H.3V-1H-.3V.3H-1Z",  # T turned over
    "M-1,-.9H-.4V.4H1V.9H-1Z",  # L
)
"""Paths of about two units a side, for the chart compiler and for legends."""
DASHES = ((1, 0), (6, 3), (2, 2), (8, 3, 2, 3), (4, 2), (1, 3), (10, 3), (3, 3))
INK, SOFT, RULE, PAPER = "#1b1f24", "#5b6570", "#d9dee4", "#fdfdfe"
FONT = "Liberation Sans"
"""Comes with the chart compiler, so that labels are laid out alike everywhere."""
NUMBER = ",.10~g"
"""Axis labels in plain digits: 20,000, not 20k, of which small ticks would read 0k."""
WIDTH, HEIGHT = 270, 200
"""Of the plot in pixels: with its labels it fits a phone as it is, so that no text is scaled down."""
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
GRAMMAR = "rfc3987_syntax"
"""Of web addresses; parsing it takes seconds, and no chart has one."""


def style_of(number: int) -> tuple[str, str, tuple[int, ...]]:
    """Colour, marker and dash of a configuration, the same through the whole page.

    No colour and no marker of the first 24 repeats. Where they begin again, markers and dashes are shifted.
    """
    shifted, dash = number + number // len(COLOURS), number + number // len(DASHES)
    return COLOURS[number % len(COLOURS)], MARKERS[shifted % len(MARKERS)], DASHES[dash % len(DASHES)]


def colour_variables(colours: Sequence[str]) -> str:
    """The CSS variables of the configurations' colours."""
    return " ".join(f"--c{place}: {colour};" for place, colour in enumerate(colours))


def unchecked_charts() -> AbstractContextManager[None]:
    """Inside it the parts of charts are not checked against Altair's schema, which costs more than drawing them."""
    # Where it is installed, jsonschema, which Altair imports, parses it at once.
    loaded = sys.modules.setdefault(GRAMMAR, None)  # type: ignore[arg-type]
    from altair.utils.schemapi import debug_mode

    if loaded is None:
        del sys.modules[GRAMMAR]
    quiet: AbstractContextManager[None] = debug_mode(arg=False)
    return quiet


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
        axisLeft={"titlePadding": 10},  # numbers are wider in a reader's font than in the compiler's
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
    tag = re.sub(r' aria-label="(\d+)\|([^"]*)" role="[^"]*" aria-roledescription="[^"]*"', _owned, tag)
    tag = re.sub(r'(?<= )(fill|stroke)="(#[0-9a-fA-F]{6})"', _variable, tag)
    tag = re.sub(r'(?<= )id="([A-Za-z0-9_-]+)"', rf'id="{key}-\1"', tag)
    tag = re.sub(r'="url\(#([A-Za-z0-9_-]+)\)"', rf'="url(#{key}-\1)"', tag)
    return re.sub(r'(?<= )(d|transform|x|y|x2|y2|width|height)="[^"]*"', _shortened, tag)


def _owned(named: re.Match[str]) -> str:
    """The configuration that a mark belongs to, apart from its name; without a name it is nothing to listen to."""
    number, name = named[1], named[2]
    spoken = f'aria-label="{name}" role="graphics-symbol" aria-roledescription="mark"' if name else 'aria-hidden="true"'
    return f' data-configuration="{number}" {spoken}'


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
        f'<g fill="{variable}"><path transform="translate(15 6) scale(4.4)" d="{shape}"/></g></svg>'
    )
