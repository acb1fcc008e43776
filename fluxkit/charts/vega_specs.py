"""What stands where in each kind of chart, as layers for the chart compiler."""

import json
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fluxkit.charts.svg import HEIGHT, INK, NUMBER, PAPER, PHASE_COLOURS, SOFT, WIDTH, style_of
from fluxkit.charts.ticks import TICK, CurveAxis, FittedAxis, fitted, linear_ticks, ticks
from fluxkit.compare.comparison import Row
from fluxkit.record.phase_seconds import part_place

PLANE = {"width": WIDTH, "height": HEIGHT}
NAMED_WIDTH = 306
"""Pixels of a plot whose names stand above their bars."""
NAME_CHARACTERS = 44
"""Of a configuration's name that fit one line of such a plot."""
NAME_HEIGHT, MARK_HEIGHT = 15, 26
"""Pixels of a line of a name, and of what is drawn below it."""
SILENT = "silent:N"
"""Description of a mark that another one speaks for: the number of its configuration alone."""
LABEL_CHARACTER = 6.4
"""Pixels of a character behind a bar, at most on average."""


def curve_layers(rows: Sequence[Row], values: Any, levels: Any, axis: CurveAxis, title: str) -> Any:
    """Bands, lines and marks of quality over time or iterations, with the budget and the levels that need no tuning."""
    import altair as alt

    scale = alt.Scale(type="symlog", constant=axis.constant, nice=False)
    x_axis = alt.Axis(values=list(axis.ticks), format=TICK, grid=False)
    x = alt.X("x:Q", title=axis.title, scale=scale, axis=x_axis)
    heights = [value[end] for value in values for end in ("low", "high")] + [level["level"] for level in levels]
    y = _fitted("y", "y", title, fitted(heights))
    base = _chart(values).encode(x=x, **_styles(rows, "color"))
    band = base.mark_area(opacity=0.18).encode(y=alt.Y("low:Q", title=title), y2="high:Q", description=SILENT)
    line = base.mark_line(strokeWidth=2).encode(y=y, description=SILENT, **_styles(rows, "strokeDash"))
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
    """Bars with whiskers, a dot per run, and the value in words behind them."""
    import altair as alt

    lines = _Lines(rows)
    ends = [value.get("high", value["x"]) for value in values] + [dot["x"] for dot in dots]
    room = [NAMED_WIDTH - 9 - LABEL_CHARACTER * len(value["text"]) for value in values]
    # Each label ends inside of the plot, behind its bar and its whisker.
    top = max(NAMED_WIDTH / width * value.get("high", value["x"]) for value, width in zip(values, room, strict=True))
    top = max(top, 1.02 * max(ends))
    x = _fitted("x", "x", unit, FittedAxis((0.0, top), linear_ticks(0.0, max(ends), 5)))
    labelled = [value | {"end": max(value.get("high", 0.0), value["x"])} for value in values]
    bars = _chart(values).mark_bar(height=15, yOffset=lines.offset)
    points = _chart(dots).mark_point(filled=True, size=24, fill=PAPER, stroke=INK, strokeWidth=1, yOffset=lines.offset)
    words = _chart(labelled).mark_text(align="left", dx=7, fontSize=12, color=INK, yOffset=lines.offset)
    held = {"y": lines.y, "x": alt.X("low:Q", title=unit), "x2": "high:Q"}
    return alt.layer(
        bars.encode(y=lines.y, x=x, description="label:N", **_styles(rows, "color")),
        *_whiskers(values, held, color=INK, strokeWidth=1.5, yOffset=lines.offset),
        points.encode(y=lines.y, x="x:Q", description="label:N"),
        words.encode(y=lines.y, x="end:Q", text="text:N", description=SILENT),
        lines.names,
    ).properties(**lines.size)


def phase_layers(rows: Sequence[Row], values: Any, titles: Mapping[str, str]) -> Any:
    """Seconds of the phases, stacked in their order, by the title of each name, with their sum behind them."""
    import altair as alt

    lines = _Lines(rows)
    scale = alt.Scale(domain=list(titles.values()), range=[PHASE_COLOURS[part_place(name)] for name in titles])
    legend = alt.Legend(orient="bottom", title=None, columns=3, symbolType="square", labelLimit=120)
    sums = [
        {"name": row.name, "silent": f"{row.number}|", "x": sum(phase.mean or 0.0 for phase in row.phases.values())}
        for row in rows
    ]
    longest = max(sum(phase.mean or 0.0 for phase in row.phases.values()) for row in rows) or 1.0
    axis = FittedAxis((0.0, 1.2 * longest), linear_ticks(0.0, longest, 5))
    bars = _chart(values).mark_bar(height=15, stroke=PAPER, strokeWidth=1, yOffset=lines.offset)
    words = _chart(sums).mark_text(align="left", dx=5, fontSize=12, color=INK, yOffset=lines.offset)
    return alt.layer(
        bars.encode(
            y=lines.y,
            x=_fitted("x", "x", "s", axis, stack="zero"),
            color=alt.Color("phase:N", scale=scale, legend=legend),
            order="place:Q",
            description="label:N",
        ),
        words.encode(y=lines.y, x="x:Q", text=alt.Text("x:Q", format=".3~r"), description=SILENT),
        lines.names,
    ).properties(**lines.size)


def pareto_layers(rows: Sequence[Row], values: Any, front: Any, x_title: str, y_title: str) -> Any:
    """A marker per offer with its whisker, and the front as steps."""
    import altair as alt

    places = [value["x"] for value in values]
    least = min((place for place in places if place), default=1.0)  # what is free stands at 0
    scale = alt.Scale(type="symlog", constant=least, nice=False, padding=16)
    axis = alt.Axis(values=ticks(places, least), format=TICK, grid=False)
    x = alt.X("x:Q", title=x_title, scale=scale, axis=axis)
    heights = [value[end] for value in values for end in ("low", "y", "high") if end in value]
    y = _fitted("y", "y", y_title, fitted(heights))
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
    lines = _Lines(rows)
    axis = fitted((value[end] for value in values for end in ("low", "high")), linear=False)
    base = _chart(values).encode(y=lines.y, **_styles(rows, "color"))
    thin = base.mark_rule(strokeWidth=1.5, yOffset=lines.offset)
    thick = base.mark_rule(strokeWidth=7, opacity=0.55, yOffset=lines.offset)
    median = base.mark_point(filled=True, size=80, opacity=1, yOffset=lines.offset)
    low, quarter, middle = (_fitted("x", field, unit, axis, type="log") for field in ("low", "quarter", "median"))
    return _layer(
        thin.encode(x=low, x2="high:Q", description=SILENT),
        thick.encode(x=quarter, x2="three_quarters:Q", description=SILENT),
        median.encode(x=middle, description="label:N", **_styles(rows, "shape")),
        lines.names,
    ).properties(**lines.size)


def drift_layers(rows: Sequence[Row], values: Any) -> Any:
    """A line per configuration: how long its iterations took as its runs went on, as a share of their own median."""
    line = _chart(values).mark_line(strokeWidth=1.8, opacity=0.9)
    share = FittedAxis((0.0, 100.0), [0.0, 25.0, 50.0, 75.0, 100.0])
    return _layer(
        _rule_at_1("y", strokeDash=[3, 3]),
        line.encode(
            x=_fitted("x", "x", "share of the run's iterations (%)", share),
            y=_fitted("y", "y", "time / median of the run", fitted([1.0, *(value["y"] for value in values)])),
            description="label:N",
            **_styles(rows, "color", "strokeDash"),
        ),
    ).properties(**PLANE)


def change_layers(rows: Sequence[Row], values: Any, kinds: Sequence[str]) -> Any:
    """What the same small work of two kinds took after a phase against before it, a point per run."""
    import altair as alt

    lines = _Lines(rows)
    shape = alt.Scale(domain=list(kinds), range=["circle", "square"])
    points = _chart(values).mark_point(size=60, strokeWidth=1.8, opacity=1, yOffset=lines.offset)
    return alt.layer(
        _rule_at_1("x", strokeDash=[3, 3]),
        points.encode(
            y=lines.y,
            x=_fitted("x", "x", "rate after / rate before", fitted([1.0, *(value["x"] for value in values)])),
            shape=alt.Shape("kind:N", scale=shape, legend=alt.Legend(orient="bottom", title=None, columnPadding=24)),
            description="label:N",
            **_styles(rows, "color"),
        ),
        lines.names,
    ).properties(**lines.size)


def setting_layers(rows: Sequence[Row], values: Any) -> Any:
    """Inference speed by precision and micro-batch, a point per run."""
    import altair as alt

    settings = [value["x"] for value in sorted(values, key=lambda value: (value["precision"], value["size"]))]
    axis = alt.Axis(labelAngle=0, grid=True, ticks=False, domain=False)
    title = "precision, images per forward pass"
    points = _chart(values).mark_point(filled=True, size=60, opacity=1)
    return points.encode(
        x=alt.X("x:N", title=title, sort=list(dict.fromkeys(settings)), axis=axis),
        y=_fitted("y", "y", "image-steps/s", fitted([0.0, *(value["y"] for value in values)])),
        description="label:N",
        **_styles(rows, "color", "shape"),
    ).properties(**PLANE)


class _Lines:
    """A line for each configuration: its name above, whole words of it, and below it what is drawn."""

    def __init__(self, rows: Sequence[Row]) -> None:
        import altair as alt

        names = [textwrap.wrap(row.name, NAME_CHARACTERS, break_long_words=False) for row in rows]
        height = NAME_HEIGHT * max(map(len, names)) + MARK_HEIGHT
        self.size: dict[str, Any] = {"width": NAMED_WIDTH, "height": {"step": height}}
        self.offset = (height - MARK_HEIGHT) / 2
        """Of the marks from the middle of a line."""
        self.y = alt.Y("name:N", title=None, sort=[row.name for row in rows], axis=None)
        values = [
            {"name": row.name, "silent": f"{row.number}|", "text": "\n".join(words)}
            for row, words in zip(rows, names, strict=True)
        ]
        text = _chart(values).mark_text(
            align="left", baseline="top", dy=2 - height / 2, fontSize=12, color=INK, lineBreak="\n",
            lineHeight=NAME_HEIGHT,
        )  # fmt: skip
        self.names = text.encode(x=alt.value(0), y=self.y, text="text:N", description=SILENT)


def _fitted(channel: str, field: str, title: str, axis: FittedAxis, **scale: Any) -> Any:
    """A horizontal or vertical position on an axis with its own ticks."""
    import altair as alt

    stack = scale.pop("stack", None)
    return {"x": alt.X, "y": alt.Y}[channel](
        f"{field}:Q",
        title=title,
        stack=stack,
        scale=alt.Scale(domain=list(axis.domain), nice=False, zero=False, **scale),
        axis=alt.Axis(values=axis.ticks, format=NUMBER, grid=channel == "y"),
    )


def _layer(*layers: Any) -> Any:
    import altair as alt

    return alt.layer(*layers)


def _chart(values: Iterable[Any]) -> Any:
    """A chart of values as one text: the chart library copies data with each layer, and a text is copied at once.

    What a mark is named begins with the number of its configuration; `silent` is that alone.
    """
    import altair as alt

    told = [
        value | {"silent": f"{value['label'].split('|')[0]}|"} if "|" in value.get("label", "") else value
        for value in values
    ]
    return alt.Chart(alt.Data(values=json.dumps(told), format=alt.DataFormat(type="json")))


def _whiskers(values: Any, encodings: dict[str, Any], **style: Any) -> list[Any]:
    """Lines from `low` to `high` of the values that have an interval; no layer where none has."""
    held = [value for value in values if "low" in value]
    return [_chart(held).mark_rule(**style).encode(description=SILENT, **encodings)] if held else []


def _rule_at_1(axis: str, **style: Any) -> Any:
    """A line where nothing differs: at 1 on the `x` or the `y` axis."""
    return _chart([{axis: 1.0}]).mark_rule(color=SOFT, aria=False, **style).encode(**{axis: f"{axis}:Q"})


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
