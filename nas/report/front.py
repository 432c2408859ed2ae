"""A run as one page: self-contained HTML that opens anywhere, without a server and without the net."""

from __future__ import annotations

import html
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from device_profiles.errors import HwnasError, SchemaMismatch
from device_profiles.profile import from_plain
from nas.certainty import of_study
from nas.objectives import Objective
from nas.report import pages
from nas.report.pages import COLOURS, Section
from nas.spaces.protocol import Space
from nas.study import facts as study_facts
from nas.study.record import Point, Trial
from nas.study.study import Study, hypervolume
from profiler.store import Store

_MEASURED = "#000000"
_KERNEL_COLOURS = (*COLOURS, "#F0E442", "#999999", "#882255")
#: Kernels that are shown one by one; the others are summed.
_KERNELS = 9
#: Architectures that are named for another evaluation.
_RECOMMENDED = 3
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
    """
    space = study.space()
    objectives, trials, front = study.objectives(), study.trials(), study.front()
    finalists = study.finalists()
    for arch, facts in finalists.items():
        if "measured" in facts and not study_facts.is_latency(facts["measured"].get("latency_ms"), whole=True):
            raise SchemaMismatch(f"finalist {','.join(map(str, arch))} of {study.store.url} has no measured latency")
    sections = [
        ("Front", _front_note(objectives, finalists), _front_figure(space, objectives, trials, front, finalists)),
        ("Hypervolume over evaluations", _hypervolume_note(study), _hypervolume_figure(study, trials)),
    ]
    kernels = _kernel_figure(study, space, finalists)
    if kernels is not None:
        note = "Share of each kernel in the measured finalists, by the runtime's own profiler."
        sections.insert(1, ("Where the time goes", note, kernels))
    below = _table(space, objectives, front, finalists) + _certainty_section(study, space, objectives, front)
    return pages.write(
        path,
        space.spec,
        _summary(study, trials, front),
        [
            Section(title, note, (figure,), below if number == 0 else "")
            for number, (title, note, figure) in enumerate(sections)
        ],
    )


def _summary(study: Study, trials: list[Trial], front: list[Point]) -> str:
    judged: dict[str, int] = defaultdict(int)
    for trial in trials:
        judged[trial.strategy] += trial.result is not None
    counts = ", ".join(f"{count} by {name}" for name, count in judged.items())
    target = study.fact("target")
    where = f"; target {from_plain(target).name}" if target else ""
    bounds = "; ".join(map(str, study.constraints()))
    return (
        f"{len(front)} of {sum(judged.values())} evaluated architectures are on the front ({counts}); "
        f"seed {study.fact('seed')}{where}" + (f"; {bounds}" if bounds else "")
    )


def _front_note(objectives: Sequence[Objective], finalists: dict[Any, Any]) -> str:
    sources = ", ".join(f"{o.name} is {o.source}" for o in objectives)
    measured = sum("measured" in facts for facts in finalists.values())
    closed = f" Diamonds are {measured} finalists as measured on the device, with their intervals." if measured else ""
    return f"{sources}.{closed} Bars are 90 % intervals of what was predicted or judged."


def _label(objective: Objective) -> str:
    return f"{objective.name} [{objective.unit}]" if objective.unit else objective.name


def _hover(space: Space, point: Point, objectives: Sequence[Objective], finalists: dict[Any, Any]) -> str:
    lines = [html.escape(space.format(np.array(point.arch)))]
    for objective in objectives:
        value, low, high = point.result[objective.name]
        around = "" if low is None or high is None else f" ({low:.4g} to {high:.4g})"
        lines.append(html.escape(f"{objective.name}: {value:.4g} {objective.unit}{around}, {objective.source}"))
    measured = finalists.get(point.arch, {}).get("measured")
    if measured:
        latency = measured["latency_ms"]
        lines.append(f"measured: {latency['value']:.4g} ms ({latency['low']:.4g} to {latency['high']:.4g})")
    return "<br>".join([*lines, html.escape(f"found by {', '.join(point.found_by)}")])


def _front_figure(
    space: Space,
    objectives: Sequence[Objective],
    trials: list[Trial],
    front: list[Point],
    finalists: dict[tuple[int, ...], dict[str, Any]],
) -> Any:
    """The first two objectives; latency is drawn along the horizontal axis where there is one."""
    import plotly.graph_objects as go

    figure = go.Figure()
    if len(objectives) == 1:
        return _single_figure(objectives[0], trials)
    x, y = objectives[:2] if objectives[0].unit == "ms" else (objectives[1], objectives[0])
    for number, name in enumerate(dict.fromkeys(trial.strategy for trial in trials)):
        mine = [trial for trial in trials if trial.strategy == name and trial.result is not None]
        figure.add_scatter(
            x=[trial.value(x.name) for trial in mine],
            y=[trial.value(y.name) for trial in mine],
            mode="markers",
            name=html.escape(f"tried by {name}"),
            marker={"color": COLOURS[number % len(COLOURS)], "size": 6, "opacity": 0.35},
            text=[html.escape(space.format(np.array(trial.arch))) for trial in mine],
            hovertemplate="%{text}<extra></extra>",
        )
    ordered = sorted(front, key=lambda point: point.result[x.name][0])
    figure.add_scatter(
        x=[point.result[x.name][0] for point in ordered],
        y=[point.result[y.name][0] for point in ordered],
        error_x=_bars(ordered, x.name),
        mode="lines+markers" if len(objectives) == 2 else "markers",
        line={"shape": "hv", "color": "#888", "width": 1},
        marker={"color": "#fff", "size": 10, "line": {"color": COLOURS[1], "width": 2}},
        name=html.escape(f"front, {x.source}"),
        text=[_hover(space, point, objectives, finalists) for point in ordered],
        hovertemplate="%{text}<extra></extra>",
    )
    closed = [point for point in ordered if "measured" in finalists.get(point.arch, {})] if x.unit == "ms" else []
    if closed:
        latencies = [finalists[point.arch]["measured"]["latency_ms"] for point in closed]
        figure.add_scatter(
            x=[latency["value"] for latency in latencies],
            y=[point.result[y.name][0] for point in closed],
            error_x={
                "type": "data",
                "symmetric": False,
                "array": [latency["high"] - latency["value"] for latency in latencies],
                "arrayminus": [latency["value"] - latency["low"] for latency in latencies],
                "color": _MEASURED,
                "thickness": 1.5,
            },
            mode="markers",
            marker={"symbol": "diamond", "size": 9, "color": _MEASURED},
            name="measured on the device",
            text=[_hover(space, point, objectives, finalists) for point in closed],
            hovertemplate="%{text}<extra></extra>",
        )
    figure.update_layout(
        xaxis_title=html.escape(_label(x)), yaxis_title=html.escape(_label(y)), height=520, **pages.layout()
    )
    judged = np.array([trial.value(y.name) for trial in trials if trial.result is not None])
    figure.update_yaxes(range=_window(judged[np.isfinite(judged)], y))
    return figure


def _window(values: Any, objective: Objective) -> list[float] | None:
    """Where the better three quarters of the values are; a double click shows all."""
    if len(values) < 2 or np.ptp(values) == 0:
        return None
    best, limit = (
        (values.max(), np.quantile(values, 0.25)) if objective.maximise else (values.min(), np.quantile(values, 0.75))
    )
    margin = 0.08 * (best - limit)
    return sorted([float(best + margin), float(limit - margin)])


def _single_figure(objective: Objective, trials: list[Trial]) -> Any:
    import plotly.graph_objects as go

    values = [trial.value(objective.name) for trial in trials if trial.result is not None]
    figure = go.Figure(go.Scatter(y=values, mode="markers", name="tried", marker={"color": COLOURS[0]}))
    figure.update_layout(
        xaxis_title="evaluation", yaxis_title=html.escape(_label(objective)), height=420, **pages.layout()
    )
    return figure


def _bars(points: list[Point], name: str) -> dict[str, Any] | None:
    triples = [point.result[name] for point in points]
    if any(low is None or high is None for _, low, high in triples):
        return None
    return {
        "type": "data",
        "symmetric": False,
        "array": [(high or value) - value for value, _, high in triples],
        "arrayminus": [value - (low or value) for value, low, _ in triples],
        "color": "rgba(213,94,0,.35)",
        "thickness": 1,
        "width": 2,
    }


def _hypervolume_note(study: Study) -> str:
    reference = study.fact("reference")
    if reference is None:
        return "Nothing was evaluated."
    values = [
        f"{o.name} {float(o.value(np.array(bound))) + 0.0:.4g}"
        for o, bound in zip(study.objectives(), reference, strict=True)
    ]
    return f"Up to the reference {', '.join(values)}, in the units of the objectives; each strategy alone."


def _hypervolume_figure(study: Study, trials: list[Trial]) -> Any:
    import plotly.graph_objects as go

    figure = go.Figure()
    for number, name in enumerate(dict.fromkeys(trial.strategy for trial in trials)):
        mine = [trial for trial in trials if trial.strategy == name and trial.result is not None]
        steps = sorted({round(step) for step in np.linspace(1, len(mine), min(len(mine), _STEPS))})
        figure.add_scatter(
            x=steps,
            y=[hypervolume(study, mine[:step]) for step in steps],
            mode="lines",
            line={"shape": "hv", "color": COLOURS[number % len(COLOURS)]},
            name=html.escape(name),
        )
    figure.update_layout(xaxis_title="evaluations", yaxis_title="hypervolume", height=360, **pages.layout())
    return figure


def _kernel_figure(study: Study, space: Space, finalists: dict[tuple[int, ...], dict[str, Any]]) -> Any:
    """Stacked bars of kernel times, one for each measured finalist; None where no profile can be found."""
    import plotly.graph_objects as go

    models = {facts["model"]: space.format(np.array(arch)) for arch, facts in finalists.items() if "model" in facts}
    profiles = _profiles(study, models)
    if not profiles:
        return None
    totals: dict[str, float] = defaultdict(float)
    for kernels in profiles.values():
        for kind, ms in kernels.items():
            totals[kind] += ms
    largest = sorted(totals, key=lambda kind: -totals[kind])[:_KERNELS]
    figure = go.Figure()
    names, labels = list(profiles), [html.escape(name) for name in profiles]
    for kind in [*largest, "others"]:
        shown = [
            profiles[name].get(kind, 0.0)
            if kind != "others"
            else sum(ms for other, ms in profiles[name].items() if other not in largest)
            for name in names
        ]
        if any(shown):
            colour = "#bbb" if kind == "others" else _KERNEL_COLOURS[largest.index(kind)]
            figure.add_bar(y=labels, x=shown, name=html.escape(kind), orientation="h", marker={"color": colour})
    layout = {**pages.layout(), "legend": {"traceorder": "normal", "font": {"size": 10}}}
    figure.update_layout(barmode="stack", xaxis_title="ms under the profiler", height=300 + 30 * len(names), **layout)
    figure.update_yaxes(automargin=True, tickfont={"size": 10})
    return figure


def _profiles(study: Study, models: dict[str, str]) -> dict[str, dict[str, float]]:
    """Milliseconds by kernel for those models (the store's id -> a name) that were profiled on the study's target."""
    from predictors.samples import match

    target = study.fact("target")
    if not target or not models:
        return {}
    elsewhere = study.fact("store")
    try:
        store = study.store if elsewhere is None else Store(elsewhere, create=False)
        conditions = store.conditions(from_plain(target).name)
    except HwnasError:
        return {}
    if conditions is None:
        return {}
    found: dict[str, dict[str, float]] = {}
    for profile in store.profiles(conditions):
        graph = store.fused(profile.model, conditions) if profile.model in models else None
        if graph is not None:
            times: dict[str, float] = defaultdict(float)
            for operator, ms in match(graph, profile.kernels):
                times[str(operator)] += ms
            found[models[profile.model]] = dict(times)
    return found


def _table(
    space: Space, objectives: Sequence[Objective], front: list[Point], finalists: dict[tuple[int, ...], dict[str, Any]]
) -> str:
    heads = ["architecture", *(f"{_label(o)}, {o.source}" for o in objectives)]
    heads += ["latency [ms], measured", "test accuracy", "found by", "ONNX"]
    rows = []
    for point in front:
        facts = finalists.get(point.arch, {})
        cells = [space.format(np.array(point.arch)), *(f"{point.result[o.name][0]:.4g}" for o in objectives)]
        latency = facts.get("measured", {}).get("latency_ms")
        cells.append(f"{latency['value']:.4g} ({latency['low']:.4g} to {latency['high']:.4g})" if latency else "")
        cells.append(f"{facts['test_accuracy']:.4f}" if "test_accuracy" in facts else "")
        cells += [", ".join(point.found_by), facts.get("onnx") or ""]
        rows.append("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>")
    head = "".join(f"<th>{html.escape(name)}</th>" for name in heads)
    return f"<div class='scroll'><table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"


def _certainty_section(study: Study, space: Space, objectives: Sequence[Objective], front: list[Point]) -> str:
    """How sure the front is: as a table where there are intervals, and what is wrong with the objectives if it is."""
    sure = of_study.of_study(study, front, recommended=_RECOMMENDED)
    notes = []
    if not sure.membership:
        notes.append("No objective has intervals or replicates, so every value counts as exact.")
    else:
        told = sum(bool(pair.resolved.all()) for pair in sure.neighbours)
        notes.append(
            "The probability that nothing evaluated is better in everything, by draws from the replicates or the 90 % "
            "intervals, whose errors count as independent; "
            f"{told} of {len(sure.neighbours)} neighbours are told apart in every objective."
        )
    if len(objectives) > 2 and sure.effective_dimension is not None:
        notes.append(
            f"The front of {len(objectives)} objectives has an effective dimension of {sure.effective_dimension:.1f}."
        )
    notes += [of_study.warning(pair) for pair in sure.alike]
    parts = [f"<h2>How sure is the front</h2><p class='note'>{html.escape(' '.join(notes))}</p>"]
    if sure.membership:
        parts.append(_certainty_table(space, objectives, front, sure))
    if sure.next:
        names = "".join(f"<li><code>{html.escape(space.format(np.array(one.arch)))}</code></li>" for one in sure.next)
        parts.append(f"<p>Evaluated again, these would make it most certain:</p><ol>{names}</ol>")
    return "".join(parts)


def _certainty_table(
    space: Space, objectives: Sequence[Objective], front: list[Point], sure: of_study.Certainty
) -> str:
    """A row for each point of the front, with what its order to the next one rests on."""
    following = {pair.first: pair for pair in sure.neighbours}
    rows = []
    for place, (point, share) in enumerate(zip(front, sure.membership, strict=True)):
        pair = following.get(place)
        open_orders = [o.name for o, known in zip(objectives, pair.resolved, strict=True) if not known] if pair else []
        verdict = "" if pair is None else f"not in {', '.join(open_orders)}" if open_orders else "yes"
        cells = (space.format(np.array(point.arch)), f"{share:.2f}", verdict)
        rows.append("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>")
    heads = ("architecture", "probability of being on the front", "told apart from the next")
    head = "".join(f"<th>{name}</th>" for name in heads)
    return f"<div class='scroll'><table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
