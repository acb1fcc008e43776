"""What stands where in each kind of chart, as layers for the chart compiler."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from fluxkit.charts.svg import (
    HEIGHT,
    INK,
    NUMBER,
    PAPER,
    PHASE_COLOURS,
    RULE,
    SOFT,
    WIDTH,
    style_of,
)
from fluxkit.charts.ticks import TICK, ticks
from fluxkit.record.phase_seconds import part_place
from fluxkit.stats import SPEED_MARGIN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fluxkit.charts.ticks import Across
    from fluxkit.compare.comparison import Row


def _colour(rows: Sequence[Row], alt: Any) -> Any:
    return alt.Scale(domain=[row.name for row in rows], range=[style_of(row.number)[0] for row in rows])


def _data(alt: Any, values: Any) -> Any:
    """Values as one text: the chart library copies data with each layer, and a text is copied at once."""
    return alt.Data(values=json.dumps(values), format=alt.DataFormat(type="json"))


def curve_layers(rows: Sequence[Row], values: Any, levels: Any, across: Across, title: str) -> Any:
    """Bands, lines and marks of quality over time or iterations, with the budget and the levels that need no tuning."""
    import altair as alt

    scale = alt.Scale(type="symlog", constant=across.constant, nice=False)
    axis = alt.Axis(values=list(across.ticks), format=TICK, grid=False)
    x = alt.X("x:Q", title=across.title, scale=scale, axis=axis)
    y = alt.Y("y:Q", title=title, scale=alt.Scale(zero=False, padding=14))
    colour = alt.Color("name:N", scale=_colour(rows, alt), legend=None)
    dash = alt.StrokeDash("name:N", scale=_dash(rows, alt), legend=None)
    shape = alt.Shape("name:N", scale=_shape(rows, alt), legend=None)
    base = alt.Chart(_data(alt, values)).encode(x=x, color=colour)
    band = base.mark_area(opacity=0.18, aria=False).encode(y=alt.Y("low:Q", title=title), y2=alt.Y2("high:Q"))
    line = base.mark_line(strokeWidth=2, aria=False).encode(y=y, strokeDash=dash)
    point = base.mark_point(size=55, filled=True, opacity=1).encode(
        y=y, shape=shape, description=alt.Description("label:N")
    )
    layers = [*_budget_layers(alt, across, scale), band, line, point]
    if levels:
        rule = alt.Chart(_data(alt, levels)).encode(y=alt.Y("level:Q", title=title))
        layers.insert(0, rule.mark_rule(strokeDash=[3, 3], color=SOFT, aria=False))
        for below, offset in ((False, -5), (True, 10)):
            some = alt.Chart(_data(alt, [level for level in levels if level["below"] is below]))
            text = some.mark_text(align="right", dy=offset, fontSize=11, color=SOFT)
            layers.append(
                text.encode(
                    x=alt.value(WIDTH - 2),
                    y=alt.Y("level:Q", title=title),
                    text=alt.Text("text:N"),
                    description=alt.Description("label:N"),
                )
            )
    return alt.layer(*layers).properties(width=WIDTH, height=HEIGHT)


def _budget_layers(alt: Any, across: Across, scale: Any) -> list[Any]:
    """A line at the budget, with its name above it."""
    base = alt.Chart(_data(alt, [{"x": across.budget, "text": "budget", "label": f"budget: {across.budget:g}"}]))
    x = alt.X("x:Q", title=across.title, scale=scale)
    text = base.mark_text(align="right", baseline="bottom", dy=-2, fontSize=11, color=SOFT)
    return [
        base.mark_rule(color=SOFT, strokeDash=[1, 3], aria=False).encode(x=x),
        text.encode(
            x=x, y=alt.value(0), text=alt.Text("text:N"), description=alt.Description("label:N")
        ),
    ]  # fmt: skip


def _name_axis(alt: Any, rows: Sequence[Row]) -> Any:
    axis = alt.Axis(labelLimit=165, labelPadding=8, ticks=False, domain=False, minExtent=175, maxExtent=175)
    return alt.Y("name:N", title=None, sort=[row.name for row in rows], axis=axis)


def bar_layers(rows: Sequence[Row], values: Any, dots: Any, unit: str) -> Any:
    """Bars with whiskers and a dot per run."""
    import altair as alt

    colour = alt.Color("name:N", scale=_colour(rows, alt), legend=None)
    base = alt.Chart(_data(alt, values)).encode(y=_name_axis(alt, rows))
    bar = base.mark_bar(height={"band": 0.62}).encode(
        x=alt.X("x:Q", title=unit, axis=alt.Axis(tickCount=5, format=NUMBER)),
        color=colour,
        description=alt.Description("label:N"),
    )
    whiskers = [value for value in values if "low" in value]
    whisker = alt.Chart(_data(alt, whiskers)).mark_rule(color=INK, strokeWidth=1.5, aria=False)
    points = alt.Chart(_data(alt, dots)).mark_point(filled=True, size=34, fill=PAPER, stroke=INK, strokeWidth=1)
    layers = [bar, points.encode(y=_name_axis(alt, rows), x=alt.X("x:Q"), description=alt.Description("label:N"))]
    if whiskers:
        layers.insert(1, whisker.encode(y=_name_axis(alt, rows), x=alt.X("low:Q", title=unit), x2=alt.X2("high:Q")))
    return alt.layer(*layers).properties(width=WIDTH - 130, height={"step": 34})


def _ratio_axis(alt: Any) -> Any:
    return alt.Axis(tickCount=6, format=NUMBER, grid=False, labelOverlap="greedy", labelSeparation=8)


def forest_layers(rows: Sequence[Row], lines: Any) -> Any:
    """Ratios on a logarithmic axis with the band of equivalence."""
    import altair as alt

    shown = [row for row in rows if any(line["name"] == row.name for line in lines)]
    band = alt.Chart(_data(alt, [{"low": 1 - SPEED_MARGIN, "high": 1 + SPEED_MARGIN}]))
    one = alt.Chart(_data(alt, [{"x": 1.0}])).mark_rule(color=SOFT, aria=False).encode(x=alt.X("x:Q"))
    scale = alt.Scale(type="log", nice=False, padding=12)
    x = alt.X("x:Q", title="ratio (logarithmic)", scale=scale, axis=_ratio_axis(alt))
    base = alt.Chart(_data(alt, lines)).encode(
        y=_name_axis(alt, shown), color=alt.Color("name:N", scale=_colour(shown, alt), legend=None)
    )
    held = [line for line in lines if "low" in line]
    layers = [
        band.mark_rect(color=RULE, opacity=0.7, aria=False).encode(x=alt.X("low:Q", scale=scale), x2=alt.X2("high:Q")),
        one,
        base.mark_point(filled=True, size=80, opacity=1).encode(x=x, description=alt.Description("label:N")),
    ]
    if held:
        line = base.properties(data=_data(alt, held)).mark_rule(strokeWidth=2, aria=False)
        layers.insert(2, line.encode(x=alt.X("low:Q", scale=scale), x2=alt.X2("high:Q")))
    return alt.layer(*layers).properties(width=WIDTH - 130, height={"step": 34})


def phase_layers(rows: Sequence[Row], values: Any, names: Sequence[str]) -> Any:
    """Seconds of the phases, stacked in their order."""
    import altair as alt

    scale = alt.Scale(domain=list(names), range=[PHASE_COLOURS[part_place(n.replace(" ", "_"))] for n in names])
    legend = alt.Legend(orient="bottom", title=None, columns=4, symbolType="square", labelLimit=120)
    return (
        alt.Chart(_data(alt, values))
        .mark_bar(height={"band": 0.62}, stroke=PAPER, strokeWidth=1)
        .encode(
            y=_name_axis(alt, rows),
            x=alt.X("x:Q", title="s", stack="zero", axis=alt.Axis(tickCount=6, format=NUMBER)),
            color=alt.Color("phase:N", scale=scale, legend=legend),
            order=alt.Order("place:Q"),
            description=alt.Description("label:N"),
        )
        .properties(width=2 * WIDTH - 130, height={"step": 34})
    )


def pareto_layers(rows: Sequence[Row], values: Any, front: Any, x_title: str, y_title: str) -> Any:
    """A marker per offer with its whisker, and the front as steps."""
    import altair as alt

    places = [value["x"] for value in values]
    scale = alt.Scale(type="symlog", constant=min(places), nice=False, padding=16)
    x = alt.X(
        "x:Q", title=x_title, scale=scale, axis=alt.Axis(values=ticks(places, min(places)), format=TICK, grid=False)
    )
    y = alt.Y("y:Q", title=y_title, scale=alt.Scale(zero=False, padding=14))
    base = alt.Chart(_data(alt, values)).encode(
        x=x,
        y=y,
        color=alt.Color("name:N", scale=_colour(rows, alt), legend=None),
        shape=alt.Shape("name:N", scale=_shape(rows, alt), legend=None),
        description=alt.Description("label:N"),
    )
    line = alt.Chart(_data(alt, front)).mark_line(
        color=SOFT, strokeDash=[4, 3], strokeWidth=1.2, interpolate="step-after", aria=False
    )
    layers = [line.encode(x=x, y=y, order=alt.Order("x:Q"))] if len(front) > 1 else []
    held = [value for value in values if "low" in value]
    if held:
        rule = alt.Chart(_data(alt, held)).mark_rule(strokeWidth=1.5, aria=False)
        colour = alt.Color("name:N", scale=_colour(rows, alt), legend=None)
        layers.append(rule.encode(x=x, y=alt.Y("low:Q", title=y_title), y2=alt.Y2("high:Q"), color=colour))
    points = base.mark_point(filled=True, size=110, opacity=1)
    return alt.layer(*layers, points).properties(width=WIDTH, height=HEIGHT)


def spread_layers(rows: Sequence[Row], values: Any, unit: str) -> Any:
    """Of each configuration: 5 to 95 % of the values as a thin line, the middle half as a thick one, the median."""
    import altair as alt

    axis = alt.Axis(tickCount=6, format=NUMBER)
    scale = alt.Scale(type="log", nice=False, padding=10)
    base = alt.Chart(_data(alt, values)).encode(
        y=_name_axis(alt, rows), color=alt.Color("name:N", scale=_colour(rows, alt), legend=None)
    )
    thin = base.mark_rule(strokeWidth=1.5, aria=False)
    thick = base.mark_rule(strokeWidth=7, opacity=0.55, aria=False)
    median = base.mark_point(filled=True, size=80, opacity=1)
    return alt.layer(
        thin.encode(x=alt.X("low:Q", title=unit, scale=scale, axis=axis), x2=alt.X2("high:Q")),
        thick.encode(x=alt.X("quarter:Q", title=unit, scale=scale), x2=alt.X2("three_quarters:Q")),
        median.encode(
            x=alt.X("median:Q", title=unit, scale=scale),
            shape=alt.Shape("name:N", scale=_shape(rows, alt), legend=None),
            description=alt.Description("label:N"),
        ),
    ).properties(width=WIDTH - 130, height={"step": 34})


def drift_layers(rows: Sequence[Row], values: Any) -> Any:
    """A line per run: how long its iterations took as it went on, as a share of its own median."""
    import altair as alt

    x = alt.X("x:Q", title="share of the run's iterations (%)", axis=alt.Axis(tickCount=5, grid=False))
    y = alt.Y("y:Q", title="iteration time / run's median", scale=alt.Scale(zero=False, padding=12))
    one = (
        alt.Chart(_data(alt, [{"y": 1.0}])).mark_rule(color=SOFT, strokeDash=[3, 3], aria=False).encode(y=alt.Y("y:Q"))
    )
    line = alt.Chart(_data(alt, values)).mark_line(strokeWidth=1.5, opacity=0.85)
    return alt.layer(
        one,
        line.encode(
            x=x,
            y=y,
            detail=alt.Detail("run:N"),
            color=alt.Color("name:N", scale=_colour(rows, alt), legend=None),
            strokeDash=alt.StrokeDash("name:N", scale=_dash(rows, alt), legend=None),
            description=alt.Description("label:N"),
        ),
    ).properties(width=WIDTH, height=HEIGHT)


def change_layers(rows: Sequence[Row], values: Any) -> Any:
    """What the same small work took after a phase against before it, a point per run."""
    import altair as alt

    kinds = ["matrix products", "copies in memory"]
    shape = alt.Scale(domain=kinds, range=["circle", "square"])
    one = (
        alt.Chart(_data(alt, [{"x": 1.0}])).mark_rule(color=SOFT, strokeDash=[3, 3], aria=False).encode(x=alt.X("x:Q"))
    )
    points = alt.Chart(_data(alt, values)).mark_point(size=60, strokeWidth=1.8, opacity=1)
    return alt.layer(
        one,
        points.encode(
            y=_name_axis(alt, rows),
            x=alt.X("x:Q", title="rate after / rate before", scale=alt.Scale(zero=False, padding=14)),
            color=alt.Color("name:N", scale=_colour(rows, alt), legend=None),
            shape=alt.Shape("kind:N", scale=shape, legend=alt.Legend(orient="bottom", title=None)),
            description=alt.Description("label:N"),
        ),
    ).properties(width=WIDTH - 130, height={"step": 34})


def setting_layers(rows: Sequence[Row], values: Any) -> Any:
    """Inference speed by precision and micro-batch, a point per run."""
    import altair as alt

    points = alt.Chart(_data(alt, values)).mark_point(filled=True, size=60, opacity=1)
    order = [value["x"] for value in sorted(values, key=lambda value: (value["precision"], value["size"]))]
    axis = alt.Axis(labelAngle=0, grid=True, ticks=False, domain=False)
    return points.encode(
        x=alt.X("x:N", title="precision, images per forward pass", sort=list(dict.fromkeys(order)), axis=axis),
        y=alt.Y("y:Q", title="image-steps/s", axis=alt.Axis(tickCount=5, format=NUMBER)),
        color=alt.Color("name:N", scale=_colour(rows, alt), legend=None),
        shape=alt.Shape("name:N", scale=_shape(rows, alt), legend=None),
        description=alt.Description("label:N"),
    ).properties(width=WIDTH, height=HEIGHT)


def _shape(rows: Sequence[Row], alt: Any) -> Any:
    return alt.Scale(domain=[row.name for row in rows], range=[style_of(row.number)[1] for row in rows])


def _dash(rows: Sequence[Row], alt: Any) -> Any:
    return alt.Scale(domain=[row.name for row in rows], range=[list(style_of(row.number)[2]) for row in rows])
