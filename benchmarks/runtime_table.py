"""The table of runtimes in docs/reference/targets.md, made of what is registered.

python -m benchmarks.runtime_table        prints it; a test holds the page to it
"""

from __future__ import annotations

from profiler import runtimes

HEADS = ("runtime", "precisions", "fused kernels", "times in the graph", "one kernel alone", "peak of its allocator")


def table() -> str:
    """The rows, as Markdown."""
    rows = [HEADS, ("---",) * len(HEADS)]
    for name, runtime in runtimes.REGISTRY:
        traits = runtime.traits
        if traits.simulated:
            continue
        rows.append(
            (
                f"`{name}`",
                ", ".join(traits.precisions),
                traits.kernels or "the nodes of the model",
                traits.times or "no",
                "yes" if traits.replay else "no",
                "yes" if traits.allocator else "no",
            )
        )
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


if __name__ == "__main__":
    print(table())
