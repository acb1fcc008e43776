"""What stands where in each kind of chart, as layers for the chart compiler."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from fluxkit.charts.svg import HEIGHT, INK, NUMBER, PAPER, PHASE_COLOURS, RULE, SOFT, WIDTH, style_of
from fluxkit.charts.ticks import TICK, CurveAxis, ticks
from fluxkit.compare.comparison import Row
from fluxkit.record.phase_seconds import part_place
from fluxkit.stats import SPEED_MARGIN

PLANE = {"width": WIDTH, "height": HEIGHT}
NAMES_WIDTH = 130
"""Pixels that the names of the configurations take from the width of a chart."""
LINE_PER_NAME = {"width": WIDTH - NAMES_WIDTH, "height": {"step": 34}}


def curve_layers(rows: Sequence[Row], values: Any, levels: Any, axis: CurveAxis, title: str) -> Any:
    """Bands, lines and marks of quality over time or iterations, with the budget and the levels that need no tuning."""
    import altair as alt

    scale = alt.Scale(type="symlog", constant=axis.constant, nice=False)
    x_axis = alt.Axis(values=list(axis.ticks), format=TICK, grid=False)
    x = alt.X("x:Q", title=axis.title, scale=scale, axis=x_axis)
    y = alt.Y("y:Q", title=title, scale=alt.Scale(zero=False, padding=14))
    base = _chart(values).encode(x=x, **_styles(rows, "color"))
    band = base.mark_area(opacity=0.18, aria=False).encode(y=alt.Y("low:Q", title=title), y2="high:Q")
    line = base.mark_line(strokeWidth=2, aria=False).encode(y=y, **_styles(rows, "strokeDash"))
    point = base.mark_point(size=55, filled=True, opacity=1).encode(
        y=y, description="label:N", **_styles(rows, "shape")
    )
    layers = [*_budget_layers(axis, scale), band, line, point]
    if levels:
        level = alt.Y("level:Q", title=title)
        layers.insert(0, _chart(levels).encode(y=level).mark_rule(strokeDash=[3, 3], color=SOFT, aria=False))
        for below, offset in ((False, -5), (True, 10)):
            name = _chart([value for value in levels if value["below"] is below])
            layers.append(
                name.mark_text(align="right", dy=offset, fontSize=11, color=SOFT).encode(
                    x=alt.value(WIDTH - 2), y=level, text="text:N", description="label:N"
                )
            )
    return alt.layer(*layers).properties(**PLANE)


def _budget_layers(axis: CurveAxis, scale: Any) -> list[Any]:
    """A line at the budget, with its name above it."""
    import altair as alt

    x = alt.X("x:Q", title=axis.title, scale=scale)
    base = _chart([{"x": axis.budget, "text": "budget", "label": f"budget: {axis.budget:g}"}]).encode(x=x)
    return [
        base.mark_rule(color=SOFT, strokeDash=[1, 3], aria=False),
        base.mark_text(align="right", baseline="bottom", dy=-2, fontSize=11, color=SOFT).encode(
            y=alt.value(0), text="text:N", description="label:N"
        ),
    ]


def bar_layers(rows: Sequence[Row], values: Any, dots: Any, unit: str) -> Any:
    """Bars with whiskers and a dot per run."""
    import altair as alt

    y = _name_axis(rows)
    x = alt.X("x:Q", title=unit, axis=alt.Axis(tickCount=5, format=NUMBER))
    bars = _chart(values).mark_bar(height={"band": 0.62})
    points = _chart(dots).mark_point(filled=True, size=34, fill=PAPER, stroke=INK, strokeWidth=1)
    return alt.layer(
        bars.encode(y=y, x=x, description="label:N", **_styles(rows, "color")),
        *_whiskers(values, {"y": y, "x": alt.X("low:Q", title=unit), "x2": "high:Q"}, color=INK, strokeWidth=1.5),
        points.encode(y=y, x="x:Q", description="label:N"),
    ).properties(**LINE_PER_NAME)


def forest_layers(rows: Sequence[Row], lines: Any) -> Any:
    """Ratios on a logarithmic axis with the band of equivalence."""
    import altair as alt

    shown = [row for row in rows if any(line["name"] == row.name for line in lines)]
    scale = alt.Scale(type="log", nice=False, padding=12)
    axis = alt.Axis(tickCount=6, format=NUMBER, grid=False, labelOverlap="greedy", labelSeparation=8)
    x = alt.X("x:Q", title="ratio (logarithmic)", scale=scale, axis=axis)
    ends = {"x": alt.X("low:Q", scale=scale), "x2": "high:Q"}
    own = {"y": _name_axis(shown), **_styles(shown, "color")}
    band = _chart([{"low": 1 - SPEED_MARGIN, "high": 1 + SPEED_MARGIN}])
    points = _chart(lines).mark_point(filled=True, size=80, opacity=1)
    return alt.layer(
        band.mark_rect(color=RULE, opacity=0.7, aria=False).encode(**ends),
        _rule_at_1("x"),
        *_whiskers(lines, own | ends, strokeWidth=2),
        points.encode(x=x, description="label:N", **own),
    ).properties(**LINE_PER_NAME)


def phase_layers(rows: Sequence[Row], values: Any, titles: Mapping[str, str]) -> Any:
    """Seconds of the phases, stacked in their order, by the title of each name."""
    import altair as alt

    scale = alt.Scale(domain=list(titles.values()), range=[PHASE_COLOURS[part_place(name)] for name in titles])
    legend = alt.Legend(orient="bottom", title=None, columns=4, symbolType="square", labelLimit=120)
    bars = _chart(values).mark_bar(height={"band": 0.62}, stroke=PAPER, strokeWidth=1)
    return bars.encode(
        y=_name_axis(rows),
        x=alt.X("x:Q", title="s", stack="zero", axis=alt.Axis(tickCount=6, format=NUMBER)),
        color=alt.Color("phase:N", scale=scale, legend=legend),
        order="place:Q",
        description="label:N",
    ).properties(width=2 * WIDTH - NAMES_WIDTH, height={"step": 34})


def pareto_layers(rows: Sequence[Row], values: Any, front: Any, x_title: str, y_title: str) -> Any:
    """A marker per offer with its whisker, and the front as steps."""
    import altair as alt

    places = [value["x"] for value in values]
    least = min((place for place in places if place), default=1.0)  # what is free stands at 0
    scale = alt.Scale(type="symlog", constant=least, nice=False, padding=16)
    axis = alt.Axis(values=ticks(places, least), format=TICK, grid=False)
    x = alt.X("x:Q", title=x_title, scale=scale, axis=axis)
    y = alt.Y("y:Q", title=y_title, scale=alt.Scale(zero=False, padding=14))
    layers = []
    if len(front) > 1:
        line = _chart(front).mark_line(
            color=SOFT, strokeDash=[4, 3], strokeWidth=1.2, interpolate="step-after", aria=False
        )
        layers.append(line.encode(x=x, y=y, order="x:Q"))
    ends = {"x": x, "y": alt.Y("low:Q", title=y_title), "y2": "high:Q", **_styles(rows, "color")}
    points = _chart(values).mark_point(filled=True, size=110, opacity=1)
    return alt.layer(
        *layers,
        *_whiskers(values, ends, strokeWidth=1.5),
        points.encode(x=x, y=y, description="label:N", **_styles(rows, "color", "shape")),
    ).properties(**PLANE)


def spread_layers(rows: Sequence[Row], values: Any, unit: str) -> Any:
    """Of each configuration: 5 to 95 % of the values as a thin line, the middle half as a thick one, the median."""
    import altair as alt

    axis = alt.Axis(tickCount=6, format=NUMBER)
    scale = alt.Scale(type="log", nice=False, padding=10)
    base = _chart(values).encode(y=_name_axis(rows), **_styles(rows, "color"))
    thin = base.mark_rule(strokeWidth=1.5, aria=False)
    thick = base.mark_rule(strokeWidth=7, opacity=0.55, aria=False)
    median = base.mark_point(filled=True, size=80, opacity=1)
    return alt.layer(
        thin.encode(x=alt.X("low:Q", title=unit, scale=scale, axis=axis), x2="high:Q"),
        thick.encode(x=alt.X("quarter:Q", title=unit, scale=scale), x2="three_quarters:Q"),
        median.encode(x=alt.X("median:Q", title=unit, scale=scale), description="label:N", **_styles(rows, "shape")),
    ).properties(**LINE_PER_NAME)


def drift_layers(rows: Sequence[Row], values: Any) -> Any:
    """A line per run: how long its iterations took as it went on, as a share of its own median."""
    import altair as alt

    line = _chart(values).mark_line(strokeWidth=1.5, opacity=0.85)
    return alt.layer(
        _rule_at_1("y", strokeDash=[3, 3]),
        line.encode(
            x=alt.X("x:Q", title="share of the run's iterations (%)", axis=alt.Axis(tickCount=5, grid=False)),
            y=alt.Y("y:Q", title="iteration time / run's median", scale=alt.Scale(zero=False, padding=12)),
            detail="run:N",
            description="label:N",
            **_styles(rows, "color", "strokeDash"),
        ),
    ).properties(**PLANE)


def change_layers(rows: Sequence[Row], values: Any, kinds: Sequence[str]) -> Any:
    """What the same small work of two kinds took after a phase against before it, a point per run."""
    import altair as alt

    shape = alt.Scale(domain=list(kinds), range=["circle", "square"])
    points = _chart(values).mark_point(size=60, strokeWidth=1.8, opacity=1)
    return alt.layer(
        _rule_at_1("x", strokeDash=[3, 3]),
        points.encode(
            y=_name_axis(rows),
            x=alt.X("x:Q", title="rate after / rate before", scale=alt.Scale(zero=False, padding=14)),
            shape=alt.Shape("kind:N", scale=shape, legend=alt.Legend(orient="bottom", title=None)),
            description="label:N",
            **_styles(rows, "color"),
        ),
    ).properties(**LINE_PER_NAME)


def setting_layers(rows: Sequence[Row], values: Any) -> Any:
    """Inference speed by precision and micro-batch, a point per run."""
    import altair as alt

    settings = [value["x"] for value in sorted(values, key=lambda value: (value["precision"], value["size"]))]
    axis = alt.Axis(labelAngle=0, grid=True, ticks=False, domain=False)
    title = "precision, images per forward pass"
    points = _chart(values).mark_point(filled=True, size=60, opacity=1)
    return points.encode(
        x=alt.X("x:N", title=title, sort=list(dict.fromkeys(settings)), axis=axis),
        y=alt.Y("y:Q", title="image-steps/s", axis=alt.Axis(tickCount=5, format=NUMBER)),
        description="label:N",
        **_styles(rows, "color", "shape"),
    ).properties(**PLANE)


def _chart(values: Any) -> Any:
    """A chart of values as one text: the chart library copies data with each layer, and a text is copied at once."""
    import altair as alt

    return alt.Chart(alt.Data(values=json.dumps(values), format=alt.DataFormat(type="json")))


def _whiskers(values: Any, encodings: dict[str, Any], **style: Any) -> list[Any]:
    """Lines from `low` to `high` of the values that have an interval; no layer where none has."""
    held = [value for value in values if "low" in value]
    return [_chart(held).mark_rule(aria=False, **style).encode(**encodings)] if held else []


def _rule_at_1(axis: str, **style: Any) -> Any:
    """A line where nothing differs: at 1 on the `x` or the `y` axis."""
    return _chart([{axis: 1.0}]).mark_rule(color=SOFT, aria=False, **style).encode(**{axis: f"{axis}:Q"})


def _name_axis(rows: Sequence[Row]) -> Any:
    """A line for each configuration, with its name."""
    import altair as alt

    axis = alt.Axis(labelLimit=165, labelPadding=8, ticks=False, domain=False, minExtent=175, maxExtent=175)
    return alt.Y("name:N", title=None, sort=[row.name for row in rows], axis=axis)


def _styles(rows: Sequence[Row], *channels: str) -> dict[str, Any]:
    """Each configuration's own look in the named channels: `color`, `shape`, `strokeDash`."""
    import altair as alt

    kinds = (("color", alt.Color), ("shape", alt.Shape), ("strokeDash", alt.StrokeDash))
    names = [row.name for row in rows]
    encodings = {}
    for place, (channel, kind) in enumerate(kinds):
        if channel in channels:
            scale = alt.Scale(domain=names, range=[style_of(row.number)[place] for row in rows])
            encodings[channel] = kind("name:N", scale=scale, legend=None)
    return encodings
