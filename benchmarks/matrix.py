"""What works on which space, from registries and protocols: the table of the README. `python -m benchmarks.matrix`.

`--write` puts it into the README.
"""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path

import numpy as np
import torch

import nas
from device_profiles.errors import UsageError
from nas.gradient.protocol import descends
from nas.spaces import Space
from nas.spaces.protocol import Entangles
from nas.testing.rules import inputs_of
from nas.weights import supernets
from nas.weights.kinds import entangled
from predictors.encodings.tabulated import TABLE_LIMIT

README = Path(__file__).resolve().parents[1] / "README.md"
BEGIN, END = "<!-- matrix: python -m benchmarks.matrix --write -->\n", "<!-- end of matrix -->\n"
#: Small options with which is tried what takes long with the defaults; the blocks and genes are of the same kinds.
SMALL = {
    "chain": "chain:layers=2,width=25,resolution=16",
    "darts": "darts:layers=3,channels=4,resolution=8",
    "gpt": "gpt:layers=3,length=6,vocabulary=16,width=13",
    "hat": "hat:encoder_layers=3,decoder_layers=2,length=5,vocabulary=16,width=10",
    "hybrid": "hybrid:stages=2,resolution=16,width=50",
    "mobilenetv3": "mobilenetv3:stages=2,layers=2,width=25,resolution=16,smallest=8,step=8",
    "motifs": "motifs:channels=4,resolution=8",
    "nasbench201": "nasbench201:cells=1,channels=4,resolution=8",
    "nasbot": "nasbot:width=4,resolution=16",
    "nsganet-macro": "nsganet-macro:channels=4,resolution=8",
    "nsganet-micro": "nsganet-micro:layers=3,channels=4,resolution=8",
    "resnet": "resnet:stages=2,width=50,resolution=16,smallest=8,step=8",
}


def shares_weights(space: Space) -> bool:
    """Whether a network runs on shared weights, tried."""
    arch = space.sample(1, np.random.default_rng(0))[0]
    try:
        supernet = supernets.of(space).eval()
        return len(supernet.forward_path(inputs_of(space.assembly(arch)), arch)) == 1
    except UsageError:
        return False


def sharing(space: Space) -> str:
    """Whether weights are shared, and whether some are slices of others; of `nasbench201` on request."""
    if not shares_weights(space):
        return "-"
    if isinstance(space, Entangles):
        return "yes, or slices"
    return "slices" if entangled.slices(space) else "yes"


def trains(space: Space) -> bool:
    """Whether a network can be trained alone, tried: its outputs depend on its parameters."""
    arch = space.canonical(space.sample(1, np.random.default_rng(0)))[0]
    return bool(space.to_module(arch).eval()(inputs_of(space.assembly(arch))).requires_grad)


def mixes(space: Space) -> bool:
    """Whether its networks can be mixed by gates, tried."""
    try:
        supernets.require_mixed(space)
    except UsageError:
        return False
    return True


def blends(space: Space) -> bool:
    """Whether all options of all genes can be mixed at a time, tried: options of one gene have one shape."""
    inputs = inputs_of(space.assembly(space.sample(1, np.random.default_rng(0))[0]))
    try:
        supernets.of(space).eval().forward_mixed(inputs, [torch.ones(options) / options for options in space.choices])
    except UsageError:
        return False
    return True


@cache
def matrix() -> str:
    """The table, as Markdown."""
    alone = [name for name in nas.gradient.names() if not descends(nas.gradient.REGISTRY.get(name))]
    paths = [name for name in nas.gradient.names() if name in ("gdas", "proxyless-rl")]
    heads = [
        "space",
        "genomes",
        f"{len(nas.strategies.names())} strategies by ask and tell",
        f"shared weights, and {', '.join(alone)}",
        "trained",
        f"gradients by one path: {', '.join(paths)}",
        f"by mixtures: {len(nas.gradient.names()) - len(paths) - len(alone)} others",
        "measured, exported",
        "predicted at speed",
    ]
    lines = [heads, ["---"] * len(heads)]
    for name in nas.spaces.names():
        space = nas.spaces.load(name)
        whole = isinstance(space, Space)
        size = f"{space.size:,}" if space.size <= TABLE_LIMIT else f"10^{len(str(space.size)) - 1}"
        small = nas.spaces.load(SMALL.get(name, name))
        answers = (trains(small), mixes(small), blends(small), whole)
        speed = "table" if space.size <= TABLE_LIMIT else "yes"
        words = ["yes" if answer else "-" for answer in (whole, *answers)]
        lines.append([f"`{name}`", size, words[0], sharing(small), *words[1:], speed])
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def written(text: str) -> str:
    """The README with the table as it is now."""
    before, _, rest = text.partition(BEGIN)
    return before + BEGIN + matrix() + END + rest.partition(END)[2]


if __name__ == "__main__":
    if "--write" in sys.argv:
        README.write_text(written(README.read_text(encoding="utf-8")), encoding="utf-8")
    print(matrix())
