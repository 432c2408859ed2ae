"""Where the time of the measured finalists goes, kernel by kernel."""

from __future__ import annotations

import html
from collections import defaultdict
from contextlib import ExitStack

from device_profiles.errors import HwnasError
from device_profiles.profile import from_plain
from nas.report import pages
from nas.report.pages import COLOURS
from nas.report.view import View, wrapped
from nas.study.study import Study
from profiler.store import Store

_COLOURS = (*COLOURS, "#F0E442", "#999999", "#882255")
_OTHERS = "#bbb"
#: Kernels that are shown one by one; the others are summed.
_KERNELS = 9
#: Lines of a name above its bar, and pixels of a line, of a bar with its room, and of what stands below.
_LINES, _LINE_PX, _BAR_PX, _BELOW_PX = 2, 14, 34, 70


def section(view: View) -> pages.Section | None:
    """Stacked bars of kernel times, one for each measured finalist; None where no profile can be found.

    Names stand above the bars and the legend above the figure, so that both have the width of the page.
    """
    import plotly.graph_objects as go

    models = {facts["model"]: view.name(arch) for arch, facts in view.finalists.items() if "model" in facts}
    profiles = _profiles(view.study, models)
    if not profiles:
        return None
    totals: dict[str, float] = defaultdict(float)
    for kernels in profiles.values():
        for kind, ms in kernels.items():
            totals[kind] += ms
    largest = sorted(totals, key=lambda kind: -totals[kind])[:_KERNELS]
    figure, shown, names = go.Figure(), {}, list(profiles)
    for kind in [*largest, "others"]:
        times = [_time(profiles[name], kind, largest) for name in names]
        if any(times):
            shown[kind] = _OTHERS if kind == "others" else _COLOURS[largest.index(kind)]
            figure.add_bar(
                y=list(range(len(names))),
                x=times,
                width=0.4,
                name=html.escape(kind),
                orientation="h",
                marker={"color": shown[kind]},
                text=[f"{wrapped(name)}<br>{wrapped(kind)}" for name in names],
                textposition="none",
                hovertemplate="%{text}: %{x:.4g} ms<extra></extra>",
            )
    for row, name in enumerate(names):
        figure.add_annotation(
            x=0, y=row - 0.25, xref="x", yref="y", xanchor="left", yanchor="bottom", showarrow=False, align="left",
            text=wrapped(name, _LINES), font={"size": 10},
        )  # fmt: skip
    height = _BELOW_PX + len(names) * (_BAR_PX + _LINES * _LINE_PX)
    figure.update_layout(
        barmode="stack", xaxis_title="ms under the profiler", height=height, showlegend=False,
        **pages.layout(l=10, t=10),
    )  # fmt: skip
    figure.update_yaxes(visible=False, range=[len(names) - 0.7, -0.9])
    note = "Share of each kernel in the measured finalists, by the runtime's own profiler."
    return pages.Section("Where the time goes", note, (figure,), above=pages.legend(shown))


def _time(kernels: dict[str, float], kind: str, largest: list[str]) -> float:
    if kind != "others":
        return kernels.get(kind, 0.0)
    return sum(ms for other, ms in kernels.items() if other not in largest)


def _profiles(study: Study, models: dict[str, str]) -> dict[str, dict[str, float]]:
    """Milliseconds by kernel for those models (the store's id -> a name) that were profiled on the study's target."""
    from predictors.samples import match

    target = study.fact("target")
    if not target or not models:
        return {}
    elsewhere = study.fact("store")
    with ExitStack() as stack:
        try:
            store = study.store if elsewhere is None else stack.enter_context(Store(elsewhere, as_copy=True))
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
