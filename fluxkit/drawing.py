"""Draws charts as static SVG: colours are CSS variables, shapes and dashes repeat what colour says."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from fluxkit.stats import SPEED_MARGIN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fluxkit.comparison import Row

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6BB1", "#6B6B6B")
"""Okabe and Ito's palette for all kinds of colour vision, its yellow and black replaced for use on both backgrounds."""
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right", "triangle-left")
DASHES = ((1, 0), (6, 3), (2, 2), (8, 3, 2, 3), (4, 2), (1, 3), (10, 3), (3, 3))
INK, SOFT, RULE, PAPER = "#1b1f24", "#5b6570", "#d9dee4", "#fdfdfe"
FONT = "Liberation Sans"
"""Comes with the chart compiler, so that labels are laid out alike everywhere."""
NUMBER = ",.10~g"
"""Axis labels in plain digits: 20,000, not 20k, of which small ticks would read 0k."""
WIDTH, HEIGHT = 400, 220
PHASES = ("import", "load", "prepare", "warm_up", "tune", "inference", "evaluate")
PHASE_COLOURS = ("#9AA5B1", "#56B4E9", "#0072B2", "#E69F00", "#D55E00", "#009E73", "#CC79A7", "#6B6B6B")


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
    """Colour, marker and dash of a configuration, the same through the whole page."""
    return COLOURS[number % len(COLOURS)], SHAPES[number % len(SHAPES)], DASHES[number % len(DASHES)]


def phase_place(name: str) -> int:
    """Place of a phase in the order of a run; unknown ones last."""
    return PHASES.index(name) if name in PHASES else len(PHASES)


def _colour(rows: Sequence[Row], alt: Any) -> Any:
    return alt.Scale(domain=[row.name for row in rows], range=[style_of(row.number)[0] for row in rows])


def curve_layers(rows: Sequence[Row], values: Any, levels: Any, axis: str, title: str) -> Any:
    """Bands, lines and marks of quality over time or iterations, with the levels that need no tuning."""
    import altair as alt

    names = [row.name for row in rows]
    positive = [value["x"] for value in values if value["x"] > 0]
    scale = alt.Scale(type="symlog", constant=min(positive, default=1.0), nice=False)
    ticks = _ticks([value["x"] for value in values])
    x = alt.X("x:Q", title=axis, scale=scale, axis=alt.Axis(values=ticks, format=NUMBER, grid=False))
    y = alt.Y("y:Q", title=title, scale=alt.Scale(zero=False, padding=14))
    colour = alt.Color("name:N", scale=_colour(rows, alt), legend=None)
    dash = alt.StrokeDash(
        "name:N", scale=alt.Scale(domain=names, range=[list(style_of(row.number)[2]) for row in rows]), legend=None
    )
    shape = alt.Shape(
        "name:N", scale=alt.Scale(domain=names, range=[style_of(row.number)[1] for row in rows]), legend=None
    )
    base = alt.Chart(alt.Data(values=values)).encode(x=x, color=colour)
    band = base.mark_area(opacity=0.18, aria=False).encode(y=alt.Y("low:Q", title=title), y2="high:Q")
    line = base.mark_line(strokeWidth=2, aria=False).encode(y=y, strokeDash=dash)
    point = base.mark_point(size=55, filled=True, opacity=1).encode(y=y, shape=shape, description="label:N")
    layers = [band, line, point]
    if levels:
        rule = alt.Chart(alt.Data(values=levels)).encode(y=alt.Y("level:Q", title=title))
        layers.insert(0, rule.mark_rule(strokeDash=[3, 3], color=SOFT, aria=False))
        for below, offset in ((False, -5), (True, 10)):
            some = alt.Chart(alt.Data(values=[level for level in levels if level["below"] is below]))
            text = some.mark_text(align="right", dy=offset, fontSize=11, color=SOFT)
            layers.append(
                text.encode(
                    x=alt.value(WIDTH - 2), y=alt.Y("level:Q", title=title), text="text:N", description="label:N"
                )
            )
    return alt.layer(*layers).properties(width=WIDTH, height=HEIGHT)


def _ticks(values: Sequence[float]) -> list[float]:
    """At most seven of the marks' own places, the first and the last among them."""
    places = sorted({round(value, 1) for value in values})
    apart = [places[0]]
    for place in places[1:]:
        if place >= 1.45 * apart[-1]:
            apart.append(place)
    if apart[-1] != places[-1]:
        apart[-1] = places[-1]
    step = max(1, -(-len(apart) // 7))
    return apart[::-1][::step][::-1]


def _name_axis(alt: Any, rows: Sequence[Row]) -> Any:
    axis = alt.Axis(labelLimit=170, ticks=False, domain=False, minExtent=175, maxExtent=175)
    return alt.Y("name:N", title=None, sort=[row.name for row in rows], axis=axis)


def bar_layers(rows: Sequence[Row], values: Any, dots: Any, unit: str) -> Any:
    """Bars with whiskers and a dot per run."""
    import altair as alt

    colour = alt.Color("name:N", scale=_colour(rows, alt), legend=None)
    base = alt.Chart(alt.Data(values=values)).encode(y=_name_axis(alt, rows))
    bar = base.mark_bar(height={"band": 0.62}).encode(
        x=alt.X("x:Q", title=unit, axis=alt.Axis(tickCount=5, format=NUMBER)), color=colour, description="label:N"
    )
    whiskers = [value for value in values if "low" in value]
    whisker = alt.Chart(alt.Data(values=whiskers)).mark_rule(color=INK, strokeWidth=1.5, aria=False)
    points = alt.Chart(alt.Data(values=dots)).mark_point(filled=True, size=34, fill=PAPER, stroke=INK, strokeWidth=1)
    layers = [bar, points.encode(y=_name_axis(alt, rows), x="x:Q", description="label:N")]
    if whiskers:
        layers.insert(1, whisker.encode(y=_name_axis(alt, rows), x=alt.X("low:Q", title=unit), x2="high:Q"))
    return alt.layer(*layers).properties(width=WIDTH - 130, height={"step": 34})


def forest_layers(rows: Sequence[Row], lines: Any) -> Any:
    """Ratios on a logarithmic axis with the band of equivalence."""
    import altair as alt

    shown = [row for row in rows if any(line["name"] == row.name for line in lines)]
    band = alt.Chart(alt.Data(values=[{"low": 1 - SPEED_MARGIN, "high": 1 + SPEED_MARGIN}]))
    one = alt.Chart(alt.Data(values=[{"x": 1.0}])).mark_rule(color=SOFT, aria=False).encode(x="x:Q")
    scale = alt.Scale(type="log", nice=False, padding=12)
    x = alt.X("x:Q", title="ratio (logarithmic)", scale=scale, axis=alt.Axis(tickCount=6, format=".2~f", grid=False))
    base = alt.Chart(alt.Data(values=lines)).encode(
        y=_name_axis(alt, shown), color=alt.Color("name:N", scale=_colour(shown, alt), legend=None)
    )
    held = [line for line in lines if "low" in line]
    layers = [
        band.mark_rect(color=RULE, opacity=0.7, aria=False).encode(x=alt.X("low:Q", scale=scale), x2="high:Q"),
        one,
        base.mark_point(filled=True, size=80, opacity=1).encode(x=x, description="label:N"),
    ]
    if held:
        line = base.properties(data=alt.Data(values=held)).mark_rule(strokeWidth=2, aria=False)
        layers.insert(2, line.encode(x=alt.X("low:Q", scale=scale), x2="high:Q"))
    return alt.layer(*layers).properties(width=WIDTH - 130, height={"step": 34})


def phase_layers(rows: Sequence[Row], values: Any, names: Sequence[str]) -> Any:
    """Seconds of the phases, stacked in their order."""
    import altair as alt

    scale = alt.Scale(domain=list(names), range=[PHASE_COLOURS[phase_place(n.replace(" ", "_"))] for n in names])
    legend = alt.Legend(orient="bottom", title=None, columns=4, symbolType="square", labelLimit=120)
    return (
        alt.Chart(alt.Data(values=values))
        .mark_bar(height={"band": 0.62}, stroke=PAPER, strokeWidth=1)
        .encode(
            y=_name_axis(alt, rows),
            x=alt.X("x:Q", title="s", stack="zero", axis=alt.Axis(tickCount=6, format=NUMBER)),
            color=alt.Color("phase:N", scale=scale, legend=legend),
            order=alt.Order("place:Q"),
            description="label:N",
        )
        .properties(width=2 * WIDTH - 130, height={"step": 34})
    )


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
        legend={"labelColor": SOFT, "labelFontSize": 12},
    )  # fmt: skip
    # Not validated here: that costs a second a page, and the compiler parses the same specification.
    return _themed(vl_convert.vegalite_to_svg(styled.to_dict(validate=False)), key)


def _themed(text: str, key: str) -> str:
    """Tags of an SVG with variables for colours, ids of their own and short coordinates; its texts stay as they are."""
    return re.sub(r"<[a-zA-Z][^>]*>", lambda tag: _themed_tag(tag[0], key), text)


def _themed_tag(tag: str, key: str) -> str:
    tag = re.sub(r'(?<= )(fill|stroke)="(#[0-9a-fA-F]{6})"', _variable, tag)
    tag = re.sub(r'(?<= )id="([A-Za-z0-9_-]+)"', rf'id="{key}-\1"', tag)
    tag = re.sub(r'="url\(#([A-Za-z0-9_-]+)\)"', rf'="url(#{key}-\1)"', tag)
    return re.sub(r'(?<= )(d|transform|x|y|x2|y2|width|height)="[^"]*"', _shortened, tag)


def _variable(found: re.Match[str]) -> str:
    attribute, colour = found[1], found[2]
    name = VARIABLES.get(colour.lower())
    return f'{attribute}="var(--{name}, {colour})"' if name else found[0]


def _shortened(attribute: re.Match[str]) -> str:
    return re.sub(r"-?\d+\.\d{3,}", lambda number: f"{float(number[0]):.2f}", attribute[0])


SWATCH_SHAPES = {
    "circle": '<circle cx="15" cy="6" r="4"/>',
    "square": '<rect x="11" y="2" width="8" height="8"/>',
    "triangle-up": '<path d="M15 1.5l5 8.5h-10z"/>',
    "diamond": '<path d="M15 1l5 5l-5 5l-5-5z"/>',
    "cross": '<path d="M13.5 2h3v2.5h2.5v3h-2.5v2.5h-3v-2.5h-2.5v-3h2.5z"/>',
    "triangle-down": '<path d="M15 10.5l5-8.5h-10z"/>',
    "triangle-right": '<path d="M19.5 6l-8.5 5v-10z"/>',
    "triangle-left": '<path d="M10.5 6l8.5 5v-10z"/>',
}


def swatch(number: int) -> str:
    """The line and marker of a configuration as a small picture for legends and tables."""
    colour, shape, dash = style_of(number)
    variable = f"var(--c{number % len(COLOURS)}, {colour})"
    dashes = " ".join(map(str, dash)) if dash[1] else "none"
    return (
        f'<svg class="swatch" width="30" height="12" viewBox="0 0 30 12" aria-hidden="true">'
        f'<line x1="0" y1="6" x2="30" y2="6" stroke="{variable}" stroke-width="2" stroke-dasharray="{dashes}"/>'
        f'<g fill="{variable}">{SWATCH_SHAPES[shape]}</g></svg>'
    )
