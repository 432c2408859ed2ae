"""`hwnas compare`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from hwnas_cli.answer import Answer, Json, answers, table

if TYPE_CHECKING:
    from profiler.comparison import Comparison


@answers("compare")
def compare(
    store_a: Annotated[str, typer.Argument(help="A store.")],
    store_b: Annotated[str | None, typer.Argument(help="The store to compare with it; with --across the same.")] = None,
    fail_on: Annotated[str | None, typer.Option(help="Exit with 1 on this, such as slower:5%.")] = None,
    across: Annotated[str | None, typer.Option(help="What targets may differ in, such as runtime,threads.")] = None,
    as_json: Json = False,
) -> Answer:
    """Compare two sets of measurements.

    For each model the ratio B/A, its 95 % interval, and a verdict. With --across targets of one store, or of two, are
    compared on purpose: which runtime is the fastest?

    Examples:

        hwnas compare runs/before.db runs/after.db

        hwnas compare runs/before.db runs/after.db --fail-on slower:5%

        hwnas compare runs/a.db --across runtime,threads
    """
    from dataclasses import asdict

    import profiler
    from device_profiles.errors import InvalidData
    from profiler.comparison import fastest, require_names

    verdict, bound = _fail_on(fail_on)
    names = () if across is None else tuple(dict.fromkeys(name.strip() for name in across.split(",")))
    require_names(names)
    if store_b is None and not names:
        raise _one_store(store_a)
    with profiler.Store(store_a, create=False) as first, profiler.Store(store_b or store_a, create=False) as second:
        rows = profiler.compare(first, second, across=names)
        targets = dict.fromkeys((*first.targets(), *second.targets()))
    worse = [row for row in rows if row.verdict == verdict and row.ratio and abs(row.ratio - 1.0) > bound]
    best = fastest(rows) if names else {}
    text = _text(rows, best, bool(names))
    data = {"rows": [{"target": row.target, **asdict(row)} for row in rows]}
    if names:
        data["fastest"] = [{"key": key, "targets": list(found)} for key, found in best.items()]
    nothing = "neither store has measurements"
    if names and not rows and len(targets) == 1:
        nothing = f"there is one target alone, {next(iter(targets))!r}"
        text = f"nothing to compare: {nothing}; measure the same models on another one, into the same store"
    if not fail_on:
        return Answer(data, text)
    text += f"\n{len(worse)} of {len(rows)} are {fail_on}"
    if all(row.ratio is None for row in rows):
        # A check that compared nothing has not passed.
        reason = rows[0].reason if rows else nothing
        error = InvalidData(f"nothing could be compared: {reason}", hint="Measure both under the same conditions.")
        return Answer(data, text, error.exit_code, error)
    return Answer(data, text, 1 if worse else 0)


def _text(rows: Sequence[Comparison], best: Mapping[str, Sequence[str]], on_purpose: bool) -> str:
    heads = ["", *(["targets"] if on_purpose else []), "B / A", "95 % interval", "verdict"]
    shown = [
        [
            row.key,
            *([f"{row.second} / {row.first}"] if on_purpose else []),
            "-" if row.ratio is None else f"{row.ratio:.3f}",
            "-" if row.low is None else f"{row.low:.3f} to {row.high:.3f}",
            row.verdict + (f" ({row.reason})" if row.reason else ""),
        ]
        for row in rows
    ]
    if any(row.deviation for row in rows):
        heads.append("B from fp32")
        for line, row in zip(shown, rows, strict=True):
            line.append(f"{row.deviation.mean:.2%}" if row.deviation else "-")
    lines = [table(heads, shown)]
    for names, count in Counter(" or ".join(found) for found in best.values()).most_common():
        lines.append(f"fastest: {names} for {count} of {len(best)}")
    return "\n".join(lines)


def _one_store(store: str) -> Exception:
    from device_profiles.errors import UsageError

    return UsageError(
        "one store alone is compared between its targets",
        hint=f"Give a second store, or: hwnas compare {store} --across runtime",
    )


def _fail_on(text: str | None) -> tuple[str, float]:
    from device_profiles.errors import UsageError
    from device_profiles.units import parse_fraction

    if text is None:
        return "", 0.0
    verdict, _, bound = text.partition(":")
    if verdict not in ("slower", "faster"):
        raise UsageError(f"cannot read --fail-on {text!r}", hint="Write slower:5% or faster:5%.")
    share = parse_fraction(bound) if bound else 0.0
    if share >= 1:
        raise UsageError(
            f"cannot read --fail-on {text!r} as a share below 100 %", hint="Write slower:5% or slower:0.05."
        )
    return verdict, share
