"""`hwnas benchmark`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hwnas_cli.answer import Answer, Json, answers, table
from hwnas_cli.options import LARGEST_WORKERS, count

#: Checkpoints in the table for people, at most one more than this.
_SHOWN = 5


@answers("benchmark")
def benchmark(
    file: Annotated[Path, typer.Argument(help="What to compare, as TOML.")],
    workers: Annotated[int, count("Processes; the results do not depend on it.", most=LARGEST_WORKERS)] = 1,
    as_json: Json = False,
) -> Answer:
    """Compare search strategies on problems, over seeds.

    The same command again goes on where it stopped. Writes results.jsonl and benchmark.html into the output folder that
    the file names.

    Example:

        hwnas benchmark compare.toml --workers 4
    """
    from hwnas_cli.progress import Live
    from nas.benchmark import page as benchmark_page
    from nas.benchmark import run as runner

    plan = runner.read(file)
    with Live() as live:
        cells = runner.run(plan, workers=workers, progress=live)
    page = benchmark_page.write(plan, cells, Path(plan.output) / "benchmark.html")
    score = benchmark_page.main_score(cells)
    means = benchmark_page.means(plan, cells, score)
    lines = []
    marks = plan.marks[-1 :: -(len(plan.marks) // _SHOWN + 1)][::-1]
    for group, rows in means.items():
        kept = {
            name: [one for mark, one in zip(plan.marks, row, strict=True) if mark in marks]
            for name, row in rows.items()
        }
        heads = [group, *(f"@{mark}" for mark in marks)]
        lines.append(table(heads, [[name, *map(benchmark_page.shown, row)] for name, row in kept.items()]))
        lines.append("")
    pooled = "" if len(means) == len(plan.problems) else " and of the problems of a group"
    word = "hypervolume, as a share of the exact front's" if score == "ratio" else "hypervolume"
    lines.append(f"{word}: mean of {plan.seeds} seeds{pooled} ± its standard error; bands over evaluations in {page}")
    data = {
        "output": plan.output,
        "page": str(page),
        "score": score,
        "checkpoints": list(plan.marks),
        "cells": [
            {
                "problem": cell.problem,
                "strategy": cell.strategy,
                "seed": cell.seed,
                "seconds": cell.seconds,
                "scores": {str(count): dict(scores) for count, scores in cell.scores.items()},
            }
            for cell in cells
        ],
        "means": {
            group: {name: [None if one is None else one[0] for one in row] for name, row in rows.items()}
            for group, rows in means.items()
        },
    }
    return Answer(data, "\n".join(lines))
