"""One-shot and differentiable search, held against what is known.

    python -m benchmarks.one_shot --part algebra      gradients by their formulas, costs at decided choices, paths
    python -m benchmarks.one_shot --part ranks        shared weights beside a table of trainings: rank correlations
    python -m benchmarks.one_shot --part strategies   each strategy on these weights, scored on the table
    python -m benchmarks.one_shot --part collapse     how many skips searches end with where nothing costs
    python -m benchmarks.one_shot --part constraint   a bound of 60 % of the median latency, on the device, ten seeds
    python -m benchmarks.one_shot --part speed        a step of a supernet beside the operations that it runs; memory
    python -m benchmarks.one_shot --part blockwise    24 budgets of mobilenetv3, solved exactly
    python -m benchmarks.one_shot --part elastic      subnetworks of once-for-all beside the same ones trained alone

Each part prints JSON. `ranks`, `strategies` and `collapse` need NAS-Bench-201's table and CIFAR-10 as a folder of
images; their schedule is a reduced one for two CPUs, which the answer states. `constraint` and `speed` need a machine
that does nothing else.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from benchmarks.machine import machine

PARTS = ("algebra", "ranks", "strategies", "collapse", "constraint", "speed", "blockwise", "elastic")


def main() -> None:
    """Run a part and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=PARTS, required=True)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder of the public tables")
    parser.add_argument("--images", help="folder of images; CIFAR-10 of --data if not given")
    parser.add_argument("--limit", type=int, default=10_000, help="images of each split")
    parser.add_argument("--judged", type=int, default=1000, help="images of validation that networks are judged on")
    parser.add_argument("--space", default="nasbench201:cells=1,channels=8")
    parser.add_argument("--steps", type=int, default=2000, help="minibatches of shared weights")
    parser.add_argument("--batch", type=int, default=64, help="images in a minibatch of shared weights")
    parser.add_argument("--rate", type=float, default=0.05, help="learning rate of shared weights")
    parser.add_argument("--augment", default="", help="what is done to images: flip, crop, cutout, with commas")
    parser.add_argument("--weights", action="append", help="kinds that are ranked: uniform, entangled")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--networks", type=int, default=500, help="that are ranked, or trained alone")
    parser.add_argument("--strategy", action="append", help="only these; of collapse with their settings")
    parser.add_argument("--trainer", action="append", help="of shared weights; only these of --part elastic")
    parser.add_argument(
        "--same", action="store_true", help="all strategies on the weights of --trainer, but hypernetworks"
    )
    parser.add_argument("--only", default="", help="spaces of constraint, or sets of collapse, that begin so")
    parser.add_argument("--logit-rate", type=float, default=0.1, help="learning rate of the logits in --part collapse")
    parser.add_argument("--weight-rate", type=float, default=0.005, help="and of the weights there")
    parser.add_argument("--device", default="1080ti_1", help="of the table, for the second objective")
    parser.add_argument("--descent", type=int, default=200, help="most steps of each run by gradients")
    parser.add_argument("--looks", type=int, default=300, help="most networks that a strategy looks at")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/one_shot"))
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    import torch

    torch.set_num_threads(options.threads)
    answer = {"benchmark": "one_shot", "part": options.part, **_part(options), "machine": machine()}
    (options.output / f"{options.part}.json").write_text(json.dumps(answer, indent=1))
    print(json.dumps(answer, indent=1))


def _part(options: argparse.Namespace) -> dict[str, Any]:
    if options.part in ("ranks", "strategies", "collapse"):
        from benchmarks import one_shot_table

        parts = {"ranks": one_shot_table.ranks, "strategies": one_shot_table.strategies_part}
        return parts.get(options.part, one_shot_table.collapse)(options)
    from benchmarks import one_shot_algebra, one_shot_device, one_shot_elastic

    homes = {"algebra": one_shot_algebra, "elastic": one_shot_elastic}
    found: dict[str, Any] = getattr(homes.get(options.part, one_shot_device), options.part)(options)
    return found


if __name__ == "__main__":
    main()
