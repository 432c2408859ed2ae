"""The front as a figure, framed on its points."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

import numpy as np

from nas.objectives import Objective
from nas.report import pages
from nas.report.pages import COLOURS
from nas.report.view import View, hover, label
from nas.study import as_measured
from nas.study.groups import finders
from nas.study.trial import Point

#: Colours that no strategy has.
_FRONT, _MEASURED, _BAR = "#1a1a1a", "#882255", "rgba(26,26,26,.35)"
#: Room around the front, and how far beyond its points the frame follows their intervals, as shares of its extent.
_MARGIN, _REACH = 0.08, 0.25
#: Extent of a front of one value, as a share of that.
_ALONE = 0.1

Frame = tuple[list[float], list[float]]


def front_figure(view: View) -> Any:
    """The first two objectives; latency is drawn along the horizontal axis where there is one."""
    import plotly.graph_objects as go

    if len(view.objectives) == 1:
        return _single_figure(view)
    figure, (x, y) = go.Figure(), axes(view.objectives)
    for number, name in enumerate(view.strategies):
        mine = [trial for trial in view.judged if trial.strategy == name]
        figure.add_scatter(
            x=[trial.value(x.name) for trial in mine],
            y=[trial.value(y.name) for trial in mine],
            mode="markers",
            name=html.escape(f"tried by {name}"),
            marker={"color": COLOURS[number % len(COLOURS)], "size": 6, "opacity": 0.35},
            text=[hover(view, trial, (trial.strategy,)) for trial in mine],
            hovertemplate="%{text}<extra></extra>",
        )
    ordered = sorted(view.groups, key=lambda points: points[0].result[x.name][0])
    firsts = [points[0] for points in ordered]
    figure.add_scatter(
        x=[point.result[x.name][0] for point in firsts],
        y=[point.result[y.name][0] for point in firsts],
        error_x=_bars([point.result[x.name] for point in firsts], _BAR),
        error_y=_bars([point.result[y.name] for point in firsts], _BAR),
        mode="lines+markers" if len(view.objectives) == 2 else "markers",
        line={"shape": "hv", "color": "#888", "width": 1},
        marker={"color": "#fff", "size": 10, "line": {"color": _FRONT, "width": 2}},
        name=html.escape(f"front, {x.source}"),
        text=[hover(view, points[0], finders(points), len(points)) for points in ordered],
        hovertemplate="%{text}<extra></extra>",
    )
    if x.unit == "ms":
        _add_measured(figure, view, firsts, x, y)
    figure.update_layout(xaxis_title=html.escape(label(x)), yaxis_title=html.escape(label(y)), height=560)
    figure.update_layout(**pages.layout(b=110))
    _frame(figure, view, x, y)
    return figure


def axes(objectives: Sequence[Objective]) -> tuple[Objective, Objective]:
    """What is drawn along the horizontal and the vertical axis."""
    first, second = objectives[:2]
    return (first, second) if first.unit == "ms" else (second, first)


def _add_measured(figure: Any, view: View, front: list[Point], x: Objective, y: Objective) -> None:
    """Finalists as the device measured them, each joined to what was believed of it."""
    closed = [(point, latency) for point in front if (latency := as_measured.latency_of(view.facts(point)))]
    if not closed:
        return
    heights = [point.result[y.name][0] for point, _ in closed]
    joined = [(point.result[x.name][0], latency["value"], None) for point, latency in closed]
    figure.add_scatter(
        x=[end for ends in joined for end in ends],
        y=[part for height in heights for part in (height, height, None)],
        mode="lines",
        line={"color": _MEASURED, "width": 1.5, "dash": "dot"},
        showlegend=False,
        hoverinfo="skip",
    )
    figure.add_scatter(
        x=[latency["value"] for _, latency in closed],
        y=heights,
        error_x=_bars([(latency["value"], latency["low"], latency["high"]) for _, latency in closed], _MEASURED),
        mode="markers",
        marker={"symbol": "diamond", "size": 9, "color": _MEASURED},
        name="measured on the device",
        text=[hover(view, point, point.found_by) for point, _ in closed],
        hovertemplate="%{text}<extra></extra>",
    )


def frame(view: View) -> Frame | None:
    """The window, horizontally and vertically, that holds the whole front; None without two objectives and a front."""
    if len(view.objectives) == 1 or not view.front:
        return None
    x, y = axes(view.objectives)
    measured = [latency for point in view.front if (latency := as_measured.latency_of(view.facts(point)))]
    beside = [(one["value"], one["low"], one["high"]) for one in measured] if x.unit == "ms" else []
    return (
        _window([*(point.result[x.name] for point in view.front), *beside]),
        _window([point.result[y.name] for point in view.front]),
    )


def outside(view: View) -> int:
    """Evaluated architectures that the window does not show."""
    window = frame(view)
    if window is None:
        return 0
    values = np.array([[trial.value(o.name) for o in axes(view.objectives)] for trial in view.judged])
    low, high = np.array(window).T
    beyond = ((values < low) | (values > high)).any(axis=1)
    return int((beyond & np.isfinite(values).all(axis=1)).sum())


def _window(triples: Sequence[tuple[float, float | None, float | None]]) -> list[float]:
    """Where all values are, with their intervals as far as these reach a little beyond."""
    values = [value for value, _, _ in triples]
    low, high = min(values), max(values)
    extent = high - low or _ALONE * abs(low) or 1.0
    ends = [end for _, *both in triples for end in both if end is not None]
    reached = np.clip([low, high, *ends], low - _REACH * extent, high + _REACH * extent)
    room = _MARGIN * max(extent, float(np.ptp(reached)))
    return [float(reached.min()) - room, float(reached.max()) + room]


def _frame(figure: Any, view: View, x: Objective, y: Objective) -> None:
    """Show the front, with a button for everything that was evaluated."""
    window = frame(view)
    if window is None:
        return
    figure.update_xaxes(range=window[0])
    figure.update_yaxes(range=window[1])
    near = {"xaxis.range": window[0], "yaxis.range": window[1]}
    far = {"xaxis.autorange": True, "yaxis.autorange": True}
    buttons = [
        {"label": text, "method": "relayout", "args": [change]}
        for text, change in (("the front", near), (f"all points ({outside(view)} outside)", far))
    ]
    figure.update_layout(
        updatemenus=[
            {"type": "buttons", "direction": "right", "x": 0, "xanchor": "left", "y": 0, "yanchor": "top",
             "pad": {"t": 62}, "buttons": buttons, "font": {"size": 12}}
        ]
    )  # fmt: skip


def _bars(triples: Sequence[tuple[float, float | None, float | None]], colour: str) -> dict[str, Any] | None:
    """Intervals as bars; a value without one has none."""
    if all(low is None or high is None for _, low, high in triples):
        return None
    return {
        "type": "data",
        "symmetric": False,
        "array": [None if high is None else high - value for value, _, high in triples],
        "arrayminus": [None if low is None else value - low for value, low, _ in triples],
        "color": colour,
        "thickness": 1,
        "width": 2,
    }


def _single_figure(view: View) -> Any:
    import plotly.graph_objects as go

    (objective,) = view.objectives
    figure = go.Figure(
        go.Scatter(
            y=[trial.value(objective.name) for trial in view.judged],
            mode="markers",
            name="tried",
            marker={"color": COLOURS[0]},
            text=[hover(view, trial, (trial.strategy,)) for trial in view.judged],
            hovertemplate="%{text}<extra></extra>",
        )
    )
    figure.update_layout(
        xaxis_title="evaluation", yaxis_title=html.escape(label(objective)), height=420, **pages.layout()
    )
    return figure
