"""`hwnas compare`."""

from __future__ import annotations

from typing import Annotated

import typer

from hwnas_cli.answer import Answer, Json, answers, table


@answers("compare")
def compare(
    store_a: Annotated[str, typer.Argument(help="A store.")],
    store_b: Annotated[str, typer.Argument(help="The store to compare with it.")],
    fail_on: Annotated[str | None, typer.Option(help="Exit with 1 on this, such as slower:5%.")] = None,
    as_json: Json = False,
) -> Answer:
    """Compare two sets of measurements.

    For each model the ratio B/A, its 95 % interval, and a verdict.

    Examples:

        hwnas compare runs/before.db runs/after.db

        hwnas compare runs/before.db runs/after.db --fail-on slower:5%
    """
    from dataclasses import asdict

    import profiler
    from device_profiles.errors import InvalidData

    verdict, bound = _fail_on(fail_on)
    with profiler.Store(store_a, create=False) as first, profiler.Store(store_b, create=False) as second:
        rows = profiler.compare(first, second)
    worse = [row for row in rows if row.verdict == verdict and row.ratio and abs(row.ratio - 1.0) > bound]
    shown = [
        [
            row.key,
            "-" if row.ratio is None else f"{row.ratio:.3f}",
            "-" if row.low is None else f"{row.low:.3f} to {row.high:.3f}",
            row.verdict + (f" ({row.reason})" if row.reason else ""),
        ]
        for row in rows
    ]
    text = table(["", "B / A", "95 % interval", "verdict"], shown)
    data = {"rows": [asdict(row) for row in rows]}
    if not fail_on:
        return Answer(data, text)
    text += f"\n{len(worse)} of {len(rows)} are {fail_on}"
    if all(row.ratio is None for row in rows):
        # A check that compared nothing has not passed.
        reason = rows[0].reason if rows else "neither store has measurements"
        error = InvalidData(f"nothing could be compared: {reason}", hint="Measure both under the same conditions.")
        return Answer(data, text, error.exit_code, error)
    return Answer(data, text, 1 if worse else 0)


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
