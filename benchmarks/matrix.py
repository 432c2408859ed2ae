"""What works on which space, from registries and protocols: the table of the README. `python -m benchmarks.matrix`.

`--write` puts it into the README.
"""

from __future__ import annotations

import sys
from pathlib import Path

import nas
from nas.spaces import SharesWeights, Space
from predictors.encodings.tabulated import TABLE_LIMIT

README = Path(__file__).resolve().parents[1] / "README.md"
BEGIN, END = "<!-- matrix: python -m benchmarks.matrix --write -->\n", "<!-- end of matrix -->\n"


def matrix() -> str:
    """The table, as Markdown."""
    counts = f"{len(nas.strategies.names())} strategies by ask and tell", ", ".join(nas.gradient.names())
    heads = [
        "space",
        "genomes",
        counts[0],
        f"`accuracy` by shared weights; {counts[1]}",
        "measured, exported",
        "predicted at speed",
    ]
    lines = [heads, ["---"] * len(heads)]
    for name in nas.spaces.names():
        space = nas.spaces.load(name)
        whole = isinstance(space, Space)
        size = f"{space.size:,}" if space.size <= TABLE_LIMIT else f"10^{len(str(space.size)) - 1}"
        answers = (whole, isinstance(space, SharesWeights), whole)
        speed = "table" if space.size <= TABLE_LIMIT else "blocks"
        lines.append([f"`{name}`", size, *("yes" if answer else "-" for answer in answers), speed])
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def written(text: str) -> str:
    """The README with the table as it is now."""
    before, _, rest = text.partition(BEGIN)
    return before + BEGIN + matrix() + END + rest.partition(END)[2]


if __name__ == "__main__":
    if "--write" in sys.argv:
        README.write_text(written(README.read_text(encoding="utf-8")), encoding="utf-8")
    print(matrix())
