"""A benchmark as one self-contained HTML page: bands over evaluations, and the table."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nas.benchmark.plan import BenchmarkPlan, Contender
from nas.benchmark.run import Cell
from nas.benchmark.scoring import SCORES
from nas.report import pages
from nas.report.pages import COLOURS, Section

_TITLES = {
    "ratio": "share of the exact hypervolume",
    "hypervolume": "hypervolume",
    "recall": "share of the exact front",
}
_HEADS = {"igd_plus": "IGD+", "gd_plus": "GD+"}


def means(
    plan: BenchmarkPlan, cells: Sequence[Cell], score: str
) -> dict[str, dict[str, list[tuple[float, float] | None]]]:
    """By group and strategy, at each checkpoint the mean over problems and seeds and its standard error.

    None stands where no cell has a value; the error is NaN where only one has.
    """
    found: dict[str, dict[str, list[tuple[float, float] | None]]] = {}
    for group, labels in plan.grouped.items():
        found[group] = {}
        for contender in plan.strategies:
            mine = _of(cells, labels, contender)
            found[group][contender.label] = [_mean(mine, mark, score) for mark in plan.marks]
    return found


def _of(cells: Sequence[Cell], labels: Sequence[str], contender: Contender) -> list[Cell]:
    return [cell for cell in cells if cell.problem in labels and cell.strategy == contender.label]


def _values(cells: Sequence[Cell], mark: int, score: str) -> list[float]:
    return [cell.scores[mark][score] for cell in cells if score in cell.scores.get(mark, {})]


def _mean(cells: Sequence[Cell], mark: int, score: str) -> tuple[float, float] | None:
    values = _values(cells, mark, score)
    error = float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")
    return (float(np.mean(values)), error) if values else None


def main_score(cells: Sequence[Cell]) -> str:
    """The score that is shown first: the ratio to the exact hypervolume where all have one."""
    return "ratio" if all("ratio" in scores for cell in cells for scores in cell.scores.values()) else "hypervolume"


def write(plan: BenchmarkPlan, cells: Sequence[Cell], path: str | Path) -> Path:
    """Write the page.

    For each group of problems: the median and the middle half of all problems and seeds over evaluations, the means at
    the checkpoints, and the means of every score at the end.

    Returns:
        The path.
    """
    score = main_score(cells)
    table = means(plan, cells, score)
    sections = []
    for group, labels in plan.grouped.items():
        mine = [cell for cell in cells if cell.problem in labels]
        shown = [one for one in (score, "recall") if any(_values(mine, mark, one) for mark in plan.marks)]
        figures = tuple(_figure(plan, cells, labels, one) for one in shown)
        of = "" if labels == [group] else f" of {len(labels)} problems ({', '.join(labels)})"
        note = f"Median and middle half of {plan.seeds} seeds{of}; the tables have means and their standard errors."
        sections.append(Section(group, note, figures, _table(plan, table[group]) + _ends(plan, cells, labels)))
    note = (
        f"{len(plan.strategies)} strategies, {len(plan.problems)} problems, {plan.seeds} seeds, {plan.evaluations} "
        f"evaluations in batches of {plan.batch}"
    )
    return pages.write(path, "benchmark of searches", note, sections)


def _figure(plan: BenchmarkPlan, cells: Sequence[Cell], labels: Sequence[str], score: str) -> Any:
    import plotly.graph_objects as go

    figure = go.Figure()
    for number, contender in enumerate(plan.strategies):
        mine = _of(cells, labels, contender)
        marks = [mark for mark in plan.marks if _values(mine, mark, score)]
        values = [_values(mine, mark, score) for mark in marks]
        if not marks:
            continue
        low, middle, high = (np.array([np.quantile(row, q) for row in values]) for q in (0.25, 0.5, 0.75))
        colour = COLOURS[number % len(COLOURS)]
        figure.add_scatter(
            x=[*marks, *reversed(marks)],
            y=[*high, *reversed(low)],
            fill="toself",
            fillcolor=colour,
            opacity=0.15,
            line={"width": 0},
            hoverinfo="skip",
            showlegend=False,
        )
        dash = ("solid", "dash", "dot")[number // len(COLOURS) % 3]
        figure.add_scatter(
            x=marks,
            y=middle,
            mode="lines+markers",
            name=html.escape(contender.label),
            line={"color": colour, "dash": dash},
        )
    height = 400 + 20 * (len(plan.strategies) // 3)  # below the axes is a line of legend for every three or so
    figure.update_layout(xaxis_title="evaluations", yaxis_title=_TITLES[score], height=height, **pages.layout())
    return figure


def _table(plan: BenchmarkPlan, rows: dict[str, list[tuple[float, float] | None]]) -> str:
    """Means at the checkpoints."""
    return _html([f"@{mark}" for mark in plan.marks], rows)


def _ends(plan: BenchmarkPlan, cells: Sequence[Cell], labels: Sequence[str]) -> str:
    """Means of every score after all evaluations."""
    rows = {
        contender.label: [_mean(_of(cells, labels, contender), plan.evaluations, score) for score in SCORES]
        for contender in plan.strategies
    }
    kept = [place for place in range(len(SCORES)) if any(row[place] for row in rows.values())]
    names = [_HEADS.get(score, score) for score in SCORES]
    heads = [f"{names[place]} @{plan.evaluations}" for place in kept]
    return _html(heads, {label: [row[place] for place in kept] for label, row in rows.items()})


def _html(heads: Sequence[str], rows: Mapping[str, Sequence[tuple[float, float] | None]]) -> str:
    head = "".join(f"<th>{html.escape(name)}</th>" for name in ["strategy", *heads])
    body = "".join(
        f"<tr><td>{html.escape(label)}</td>" + "".join(f"<td>{shown(cell)}</td>" for cell in row) + "</tr>"
        for label, row in rows.items()
    )
    return f"<div class='scroll'><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"


def shown(cell: tuple[float, float] | None) -> str:
    """A mean with its standard error, for people."""
    if cell is None:
        return "-"
    mean, error = cell
    return f"{mean:.4f}" if np.isnan(error) else f"{mean:.4f} ± {error:.4f}"
