"""A comparison of predictors as one self-contained HTML page."""

from __future__ import annotations

import html
from dataclasses import asdict
from pathlib import Path
from typing import Any

from device_profiles import outputs
from predictors.comparison import Comparison, Row

_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:1080px;margin:2em auto;padding:0 1em;color:#1c2733}"
    "table{border-collapse:collapse;font-variant-numeric:tabular-nums}th,td{padding:.3em .8em;text-align:right;"
    "border-bottom:1px solid #e3e8ee}th:first-child,td:first-child{text-align:left}.note{color:#5b6875}"
)


def write(comparison: Comparison, path: str | Path) -> Path:
    """Write the page: the table, predicted against measured, calibration, errors by kind of kernel."""
    target = html.escape(comparison.target)
    noise = "unknown" if comparison.noise_mape is None else f"{comparison.noise_mape:.1%}"
    body = [
        f"<h1>Predictors of {html.escape(comparison.cost)} on {target}</h1>",
        f"<p class='note'>{comparison.networks} measured networks, {comparison.seeds} random splits; each predictor "
        f"was fitted on one side and asked for the other. Noise ceiling (measured twice): {noise}.</p>",
        _table(comparison),
    ]
    figures = [
        ("Predicted against measured", "Networks that the first split left out.", _scatter(comparison)),
        (
            "Calibration",
            "How often the measured value lies inside the interval of each level; intervals of other levels than 90 % "
            "are scaled as Gaussian. On the dashed line they keep what they promise; below, they are too narrow.",
            _calibration(comparison),
        ),
        (
            "Errors by kind of kernel",
            "Median relative error at kernels that no fitted network runs.",
            _kinds(comparison),
        ),
    ]
    first = True
    for title, note, figure in figures:
        if figure is None:
            continue
        body.append(f"<h2>{title}</h2><p class='note'>{note}</p>")
        body.append(figure.to_html(full_html=False, include_plotlyjs=first, config={"displaylogo": False}))
        first = False
    page = (
        f"<!doctype html><html lang='en'><head><meta charset='utf-8'><title>hwnas: {target}</title>"
        f"<style>{_STYLE}</style></head><body>{''.join(body)}</body></html>"
    )
    outputs.write(path, page, outputs.PAGE)
    return Path(path)


def plain(comparison: Comparison) -> dict[str, Any]:
    """The comparison as JSON-ready data."""
    rows = {}
    for row in comparison.rows:
        rows[row.name] = {
            **{name: asdict(figure) for name, figure in row.figures.items()},
            "kinds": {kind: {"median_error": error, "kernels": count} for kind, (error, count) in row.kinds.items()},
            "selected": None if row.selected is None else asdict(row.selected),
            "calibration": [list(pair) for pair in row.calibration],
            "failure": row.failure or None,
        }
    return {
        "networks": comparison.networks,
        "seeds": comparison.seeds,
        "noise_mape": comparison.noise_mape,
        "predictors": rows,
    }


def _table(comparison: Comparison) -> str:
    heads = [
        "",
        "MAPE",
        "95 % interval",
        "within 5 %",
        "within 10 %",
        "Spearman",
        "inside 90 %",
        "over bound",
        "regret",
    ]
    lines = ["<tr>" + "".join(f"<th>{head}</th>" for head in heads) + "</tr>"]
    for row in comparison.rows:
        cells = [html.escape(cell) for cell in _cells(row)]
        lines.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    note = (
        "Over bound: of searches for the largest network under a bound that trusted the predictor, the share that "
        "chose one which measures over it. Regret: how much smaller the others are than the largest that fits."
    )
    return f"<table>{''.join(lines)}</table><p class='note'>{note}</p>"


def _cells(row: Row) -> list[str]:
    if row.failure or row.selected is None:
        return [row.name, row.failure, *[""] * 7]
    mape = row.figures["mape"]

    def shown(name: str, form: str) -> str:
        return form.format(row.figures[name].mean) if name in row.figures else "-"

    return [
        row.name,
        f"{mape.mean:.1%}",
        f"{max(mape.low, 0.0):.1%} to {mape.high:.1%}",
        shown("within_5", "{:.0%}"),
        shown("within_10", "{:.0%}"),
        shown("spearman", "{:.3f}"),
        shown("interval_coverage", "{:.0%}"),
        f"{row.selected.violations:.0%}",
        f"{row.selected.regret:.1%}",
    ]


def _scatter(comparison: Comparison) -> Any:
    import plotly.graph_objects as go

    figure = go.Figure()
    measured = comparison.measured
    for row in comparison.rows:
        if len(row.predicted):
            figure.add_scatter(x=measured, y=row.predicted, mode="markers", name=html.escape(row.name))
    ends = [float(measured.min()), float(measured.max())]
    figure.add_scatter(x=ends, y=ends, mode="lines", line={"dash": "dash", "color": "#9aa7b4"}, name="equal")
    axis = {"type": "log"} if ends[1] > 5 * ends[0] else {}
    figure.update_xaxes(title=html.escape(f"measured [{comparison.unit}]"), **axis)
    figure.update_yaxes(title=html.escape(f"predicted [{comparison.unit}]"), **axis)
    return _laid_out(figure)


def _calibration(comparison: Comparison) -> Any:
    import plotly.graph_objects as go

    rows = [row for row in comparison.rows if row.calibration]
    if not rows:
        return None
    figure = go.Figure()
    for row in rows:
        levels, inside = zip(*row.calibration, strict=True)
        figure.add_scatter(x=levels, y=inside, mode="lines+markers", name=html.escape(row.name))
    figure.add_scatter(x=[0.5, 1], y=[0.5, 1], mode="lines", line={"dash": "dash", "color": "#9aa7b4"}, name="promised")
    figure.update_xaxes(title="level of the interval", tickformat=".0%")
    figure.update_yaxes(title="measured values inside", tickformat=".0%", range=[0, 1.02])
    return _laid_out(figure)


def _kinds(comparison: Comparison) -> Any:
    import plotly.graph_objects as go

    rows = [row for row in comparison.rows if row.kinds]
    if not rows:
        return None
    figure = go.Figure()
    for row in rows:
        names = list(row.kinds)
        labels = [html.escape(f"{kind.rpartition(':')[2]} ({row.kinds[kind][1]})") for kind in names]
        figure.add_bar(x=labels, y=[row.kinds[kind][0] for kind in names], name=html.escape(row.name))
    figure.update_yaxes(title="median error", tickformat=".0%")
    return _laid_out(figure)


def _laid_out(figure: Any) -> Any:
    figure.update_layout(template="plotly_white", height=460, margin={"l": 60, "r": 20, "t": 20, "b": 60})
    return figure
