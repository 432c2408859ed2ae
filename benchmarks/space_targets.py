"""Which spaces can be fitted for which targets: networks of each are put together, compiled, and their kernels read.

    python -m benchmarks.space_targets [--targets TARGET ...] [--spaces NAME ...]

Of small forms of the spaces. What a cell says is the reason in a word where there is one; docs/reference/targets.md has
the table, and a slow test holds it.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np

import device_profiles
import nas
from benchmarks.machine import machine
from benchmarks.matrix import SMALL
from benchmarks.runtimes import is_here
from device_profiles.errors import DeviceError, HwnasError, UnsupportedOperator
from profiler import catalogue
from profiler.capture import BlockCache, stitch_for_compiling
from profiler.onnx_graph import read_graph
from profiler.work import graph_macs

#: Networks that are tried.
NETWORKS = 2
YES, LACKS, CRASHES, REFUSES = "yes", "lacks operators", "crashes", "refuses"


def compiled(name: str, target: str) -> tuple[str, str]:
    """What becomes of networks of a space, in a word and in full.

    Raises:
        AssertionError: kernels are lost: they do less than the work of their network.
    """
    space, chosen = nas.spaces.load(SMALL[name]), device_profiles.load(target)
    assemblies = [space.assembly(arch) for arch in space.sample(NETWORKS, np.random.default_rng(0))]
    with tempfile.TemporaryDirectory() as place:
        try:
            found = catalogue.compile_all(assemblies, chosen, cache=Path(place))
        except UnsupportedOperator as error:
            return LACKS, error.message
        except DeviceError as error:
            return CRASHES, error.message
        except HwnasError as error:
            return REFUSES, error.message
        blocks = BlockCache(Path(place) / "blocks")
        for assembly, graph in zip(assemblies, found.graphs(range(NETWORKS)), strict=True):
            asked, made = graph_macs(read_graph(stitch_for_compiling(assembly, blocks))), graph_macs(graph)
            assert made >= 0.9 * asked, f"{name} under {target}: of {asked} multiply-accumulates {made} are left"
    return YES, ""


def table(found: dict[str, dict[str, tuple[str, str]]]) -> str:
    """The rows, as Markdown: a space each, a column for each target."""
    names = [target.removeprefix("local-") for target in next(iter(found.values()))]
    lines = [f"| space | {' | '.join(names)} |", f"|---|{'---|' * len(names)}"]
    for space, cells in found.items():
        lines.append(f"| `{space}` | {' | '.join(word for word, _ in cells.values())} |")
    return "\n".join(lines)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--targets", nargs="*", default=[t for t in device_profiles.names() if is_here(t)])
    parser.add_argument("--spaces", nargs="*", default=list(nas.spaces.names()))
    options = parser.parse_args()
    found: dict[str, dict[str, tuple[str, str]]] = {name: {} for name in options.spaces}
    for target in options.targets:
        for name in options.spaces:
            found[name][target] = compiled(name, target)
            print(target, name, *found[name][target], file=sys.stderr, flush=True)
    print(table(found), file=sys.stderr)
    print(json.dumps({"benchmark": "space_targets", "spaces": found, "machine": machine()}, indent=1))


if __name__ == "__main__":
    main()
