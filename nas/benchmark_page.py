"""A benchmark as one self-contained HTML page: bands over evaluations, and the table."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nas import pages
from nas.benchmark import Cell, Plan
from nas.pages import COLOURS, Section

_TITLES = {
    "ratio": "hypervolume, as a share of the exact front's",
    "hypervolume": "hypervolume",
    "recall": "share of the exact front that was found",
}


def means(plan: Plan, cells: Sequence[Cell], score: str) -> dict[str, dict[str, list[tuple[float, float] | None]]]:
    """By problem and strategy, at each checkpoint the mean over seeds and its standard error; None without a value."""
    found: dict[str, dict[str, list[tuple[float, float] | None]]] = {}
    for label in plan.problems:
        found[label] = {}
        for contender in plan.strategies:
            mine = [cell for cell in cells if (cell.problem, cell.strategy) == (label, contender.label)]
            row: list[tuple[float, float] | None] = []
            for mark in plan.marks:
                values = [cell.scores[mark][score] for cell in mine if score in cell.scores.get(mark, {})]
                error = float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")
                row.append((float(np.mean(values)), error) if values else None)
            found[label][contender.label] = row
    return found


def main_score(cells: Sequence[Cell]) -> str:
    """The score that is shown first: the ratio to the exact hypervolume where all have one."""
    return "ratio" if all("ratio" in scores for cell in cells for scores in cell.scores.values()) else "hypervolume"


def write(plan: Plan, cells: Sequence[Cell], path: Path) -> Path:
    """Write the page: for each problem the median and the middle half of the seeds over evaluations, and the means.

    Returns:
        The path.
    """
    score = main_score(cells)
    table = means(plan, cells, score)
    sections = []
    for label in plan.problems:
        shown = ("ratio", "recall") if score == "ratio" else (score,)
        figures = tuple(_figure(plan, cells, label, one) for one in shown)
        seeds = f"Median and middle half of {plan.seeds} seeds; the table has means and their standard errors."
        sections.append(Section(label, seeds, figures, _table(plan, table[label])))
    note = (
        f"{len(plan.strategies)} strategies, {len(plan.problems)} problems, {plan.seeds} seeds, {plan.evaluations} "
        f"evaluations in batches of {plan.batch}"
    )
    return pages.write(path, "benchmark of searches", note, sections)


def _figure(plan: Plan, cells: Sequence[Cell], label: str, score: str) -> Any:
    import plotly.graph_objects as go

    figure = go.Figure()
    for number, contender in enumerate(plan.strategies):
        mine = [cell for cell in cells if (cell.problem, cell.strategy) == (label, contender.label)]
        marks = [mark for mark in plan.marks if any(score in cell.scores.get(mark, {}) for cell in mine)]
        values = [[cell.scores[mark][score] for cell in mine if score in cell.scores.get(mark, {})] for mark in marks]
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
            x=marks, y=middle, mode="lines+markers", name=contender.label, line={"color": colour, "dash": dash}
        )
    figure.update_layout(xaxis_title="evaluations", yaxis_title=_TITLES[score], height=420, **pages.layout())
    return figure


def _table(plan: Plan, rows: dict[str, list[tuple[float, float] | None]]) -> str:
    head = "".join(f"<th>{name}</th>" for name in ["strategy", *(f"@{mark}" for mark in plan.marks)])
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
