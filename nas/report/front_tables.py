"""The front as tables: what is known of each point, and how sure it is."""

from __future__ import annotations

import html
from collections.abc import Sequence

from nas.certainty import of_study
from nas.report.view import View, difference, label, with_interval
from nas.study import as_measured, checked_bounds, groups
from nas.study.trial import Point
from predictors import trust

#: Architectures that are named for another evaluation.
_RECOMMENDED = 3


def values(view: View) -> str:
    """A row for each point: its values, what was measured, who found it; equal points are one row."""
    covered = [o for o in view.objectives if any(o.name in point.coverage for point in view.front)]
    heads = ["architecture", *(f"{label(o)}, {o.source}" for o in view.objectives)]
    heads += [f"coverage of {o.name}" for o in covered]
    heads += ["latency [ms], measured", f"measured - {view.timed.source}" if view.timed else "difference"]
    tested = "perplexity" if any(o.spec.startswith("perplexity") for o in view.objectives) else "accuracy"
    heads += [f"test {tested}", "found by", "ONNX"]
    rows = []
    for points in view.groups:
        facts, first = view.facts(points[0]), points[0]
        latency = as_measured.latency_of(facts)
        apart = as_measured.difference(first, view.timed, facts)
        cells = [with_interval(*first.result[o.name]) for o in view.objectives]
        cells += [f"{first.coverage[o.name]:.0%}" if o.name in first.coverage else "" for o in covered]
        cells.append(with_interval(latency["value"], latency["low"], latency["high"]) if latency else "")
        cells.append(difference(apart) if apart else "")
        cells.append(f"{facts[f'test_{tested}']:.4f}" if f"test_{tested}" in facts else "")
        cells += [", ".join(groups.finders(points)), facts.get("onnx") or ""]
        rows.append([_named(view, points), *map(html.escape, cells)])
    return _table(heads, rows)


def certainty(view: View) -> str:
    """How sure the front is: as a table where there are intervals, and what is wrong with the objectives if it is."""
    sure = of_study.of_study(view.study, list(view.front), recommended=_RECOMMENDED)
    notes = []
    if not sure.membership:
        notes.append(_exact(view))
    else:
        told = sum(bool(pair.resolved.all()) for pair in sure.neighbours)
        notes.append(
            "The probability that nothing evaluated is better in everything, by draws from the replicates or the 90 % "
            "intervals, whose errors count as independent; "
            f"{told} of {len(sure.neighbours)} neighbours are told apart in every objective."
        )
    if len(view.objectives) > 2 and sure.effective_dimension is not None:
        notes.append(
            f"The front of {len(view.objectives)} objectives has an effective dimension of "
            f"{sure.effective_dimension:.1f}."
        )
    notes += [of_study.warning(pair) for pair in sure.alike]
    parts = [f"<h2>How sure is the front</h2><p class='note'>{html.escape(' '.join(notes))}</p>"]
    if sure.membership:
        parts.append(_certainty_table(view, sure))
    if sure.next:
        names = "".join(f"<li><code>{html.escape(view.name(one.arch))}</code></li>" for one in sure.next)
        parts.append(f"<p>Evaluated again, these would make it most certain:</p><ol>{names}</ol>")
    return "".join(parts)


def bounds(view: View) -> str:
    """A row for each bound on each finalist: asked, predicted, measured; nothing without them."""
    rows = [
        [
            html.escape(view.name(one.arch)),
            html.escape(str(one.bound)),
            with_interval(*one.believed),
            "" if one.measured is None else with_interval(*one.measured),
            one.verdict,
        ]
        for one in checked_bounds.checked(view.study)
    ]
    heads = ("finalist", "asked", "predicted", "measured", "verdict")
    return f"<h2>Bounds</h2>{_table(heads, rows)}" if rows else ""


def _exact(view: View) -> str:
    """What it means that nothing has an interval: little, where predictions stand on little."""
    low = any(share < trust.LEAST_COVERAGE for point in view.front for share in point.coverage.values())
    nothing = "No objective has intervals or replicates, so"
    return f"{nothing} nobody knows how wrong its values are." if low else f"{nothing} every value counts as exact."


def _certainty_table(view: View, sure: of_study.Certainty) -> str:
    """A row for each point of the front, with what its order to the next one rests on; equal points are one row."""
    following = {pair.first: pair for pair in sure.neighbours}
    places = {point.trial: place for place, point in enumerate(view.front)}
    rows = []
    for points in groups.of_equals(view.front, view.objectives):
        shares = sorted(f"{sure.membership[places[point.trial]]:.2f}" for point in points)
        share = shares[0] if shares[0] == shares[-1] else f"{shares[0]} to {shares[-1]}"
        pair = following.get(max(places[point.trial] for point in points))
        known = zip(view.objectives, pair.resolved, strict=True) if pair else ()
        open_orders = [objective.name for objective, resolved in known if not resolved]
        verdict = "" if pair is None else f"not in {', '.join(open_orders)}" if open_orders else "yes"
        rows.append([_named(view, points), share, html.escape(verdict)])
    return _table(("architecture", "probability of being on the front", "told apart from the next"), rows)


def _named(view: View, points: Sequence[Point]) -> str:
    """The name of an architecture, or of the first of several with all of them behind it, as HTML."""
    names = [html.escape(view.name(point.arch)) for point in points]
    if len(names) == 1:
        return names[0]
    return f"{names[0]}<details><summary>{len(names)} architectures</summary>{'<br>'.join(names)}</details>"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table that scrolls by itself where the window is narrow; cells are HTML."""
    head = "".join(f"<th>{html.escape(name)}</th>" for name in heads)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<div class='scroll'><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
