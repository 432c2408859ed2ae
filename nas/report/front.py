"""A run as one page: self-contained HTML that opens anywhere, without a server and without the net."""

from __future__ import annotations

import html
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from device_profiles.profile import from_plain
from nas.certainty import of_study as certainty
from nas.report import front_figure, front_tables, kernels, pages, trust
from nas.report.pages import COLOURS, Section
from nas.report.view import View, of_study
from nas.study import as_measured, stand_alone
from nas.study.study import Study, hypervolume
from nas.study.summary import not_compared

#: Points of the hypervolume's curve.
_STEPS = 100


def write(study: Study, path: str | Path) -> Path:
    """Write the page.

    It shows the front with what is known of each point on hover, predicted and measured values told apart; the front as
    a table; how sure it is; where the time of the measured finalists goes, kernel by kernel; and the hypervolume over
    evaluations.

    Args:
        study: of a run.
        path: of the HTML file; written whole or not at all.

    Returns:
        The path.

    Raises:
        InvalidData: the run has no study.
        SchemaMismatch: a measured finalist has no latency with an interval.
    """
    view = of_study(study)
    time = kernels.section(view)
    curve = Section("Hypervolume over evaluations", _hypervolume_note(study), (_hypervolume_figure(view),))
    sections = [_front_section(view), *([] if time is None else [time]), curve]
    return pages.write(path, view.space.spec, _summary(view), sections)


def _summary(view: View) -> str:
    judged = Counter(trial.strategy for trial in view.judged)
    counts = ", ".join(f"{judged[name]} by {name}" for name in view.strategies)
    target = view.study.fact("target")
    where = f"; target {from_plain(target).name}" if target else ""
    bounds = "; ".join(map(str, view.study.constraints()))
    return (
        f"{len(view.front)} of {sum(judged.values())} evaluated architectures are on the front ({counts}); "
        f"seed {view.study.fact('seed')}{where}" + (f"; {bounds}" if bounds else "")
    )


def _front_section(view: View) -> Section:
    said = [f"<p class='warning'>{html.escape(line)}</p>" for line in trust.warnings(view.study, view.front)]
    again = as_measured.judge_again(view.study)
    if again is not None:
        sentence = certainty.sentence(again, view.space, view.objectives, view.finalists)
        said.append(f"<p>{html.escape(sentence[0].upper() + sentence[1:])}.</p>")
    if shared := stand_alone.sentence(view.study):
        said.append(f"<p class='note'>{html.escape(shared[0].upper() + shared[1:])}.</p>")
    figure = front_figure.front_figure(view)
    below = front_tables.values(view) + front_tables.bounds(view) + front_tables.certainty(view)
    return Section("Front", _front_note(view), (figure,), below, "".join(said))


def _front_note(view: View) -> str:
    parts = [f"{', '.join(f'{o.name} is {o.source}' for o in view.objectives)}."]
    if front_figure.frame(view) is not None:
        count = front_figure.outside(view)
        parts.append(f"Framed on the front: {count} point{'' if count == 1 else 's'} outside.")
    measured = sum("measured" in view.facts(point) for point in view.front)
    if measured:
        parts.append(f"Diamonds are {measured} finalists as measured on the device, with their intervals.")
    if said := not_compared(view.study.not_compared):
        parts.append(f"{said}.")
    return " ".join([*parts, "Bars are 90 % intervals of what was predicted or judged."])


def _hypervolume_note(study: Study) -> str:
    reference = study.fact("reference")
    if reference is None:
        return "Nothing was evaluated."
    values = [
        f"{o.name} {float(o.value(np.array(bound))) + 0.0:.4g}"
        for o, bound in zip(study.objectives(), reference, strict=True)
    ]
    return f"Up to the reference {', '.join(values)}, in the units of the objectives; each strategy alone."


def _hypervolume_figure(view: View) -> Any:
    import plotly.graph_objects as go

    figure = go.Figure()
    for number, name in enumerate(view.strategies):
        mine = [trial for trial in view.judged if trial.strategy == name]
        steps = sorted({round(step) for step in np.linspace(1, len(mine), min(len(mine), _STEPS))})
        figure.add_scatter(
            x=steps,
            y=[hypervolume(view.study, mine[:step]) for step in steps],
            mode="lines",
            line={"shape": "hv", "color": COLOURS[number % len(COLOURS)]},
            name=html.escape(name),
        )
    figure.update_layout(xaxis_title="evaluations", yaxis_title="hypervolume", height=360, **pages.layout())
    return figure
