"""Bounds on the device, the speed and memory of a path, and exact sums within budgets."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import torch

import nas
import predictors
from benchmarks.spaces_measured import command
from nas.gradient.additive.scores import score
from nas.gradient.blockwise import blockwise as solve
from nas.gradient.protocol import GradientProblem
from nas.study import checked_bounds
from nas.weights import images, supernets
from predictors.encoding import CostTable

TARGET = "local-onnxruntime"
#: Spaces whose networks are bound to so large a share of the median latency.
BOUND_SPACES = (
    "nasbench201:cells=1,channels=16,image_channels=1",
    "chain:layers=2,resolution=64,width=50,classes=10,image_channels=1",
)
BOUND_SHARE = 0.6
#: Spaces whose steps are timed, and examples in one.
SPEED_SPACES = (
    "nasbench201:cells=1",
    "chain:layers=2,resolution=64,width=50,classes=10",
    "mobilenetv3:resolution=64,smallest=64,width=50,classes=10",
)
BATCH, TURNS, PATHS = 64, 9, 6
#: Of scores of single options, and how often they are taken.
REFERENCES, EXAMPLES, REPEATS = 4, 32, 3


def constraint(options: argparse.Namespace) -> dict[str, Any]:
    """Asked, predicted and measured, for each seed: shared weights and gdas within a bound, one finalist."""
    found: dict[str, Any] = {"target": TARGET, "share_of_median": BOUND_SHARE}
    for spec in (spec for spec in BOUND_SPACES if spec.startswith(options.only)):
        space = nas.spaces.load(spec)
        place = options.output / f"constraint.{spec.partition(':')[0]}"
        store, latency = str(place / "store.db"), str(place / "latency")
        place.mkdir(parents=True, exist_ok=True)
        if not (place / "latency" / "card.json").is_file():
            command("profile", TARGET, "--space", spec, "--samples", "40", "--budget", "60s", "--store", store)
            command("fit", TARGET, "--space", spec, "--predictor", "lookup", "--store", store, "-o", latency)
        archs = space.sample(500, np.random.default_rng(3))
        bound = BOUND_SHARE * float(np.median(predictors.load(latency).predict(archs).value))
        rows = []
        for seed in range(options.seeds):
            result = nas.search(
                spec, objectives=["accuracy", f"latency:{latency}"], strategy="gdas", evaluations=12,
                constraints=[f"latency <= {bound:.6g} ms"], seed=seed, data="digits", target=TARGET, finalists=1,
                settings={"train_steps": options.steps, "gdas.weights": (0.0, 0.4)}, folder=place / f"seed{seed}",
            )  # fmt: skip
            (one,) = checked_bounds.checked(result.study)
            assert one.measured is not None
            rows.append(
                {"asked": bound, "predicted": one.believed[0], "measured": one.measured[0], "verdict": one.verdict}
            )
            print(json.dumps(rows[-1]), flush=True)
        met = sum(row["verdict"].startswith("met") for row in rows)
        found[spec] = {"met": met, "of": len(rows), "unit": "ms", "seeds": rows}
    return found


def speed(options: argparse.Namespace) -> dict[str, Any]:
    """Time of a step of one path over that of the same network alone, in turns; memory that both keep for gradients."""
    found: dict[str, Any] = {"batch": BATCH}
    for spec in SPEED_SPACES:
        space = nas.spaces.load(spec)
        supernet = supernets.of(space).train()
        inputs = torch.randn(BATCH, *space.input_shape[1:])
        times, memory = [], []
        for arch in space.sample(PATHS, np.random.default_rng(1)):
            alone = supernet.subnet(arch).train()
            steps = {"path": partial(supernet.forward_path, inputs, arch), "alone": partial(alone, inputs)}
            taken = _least(steps)
            kept = {name: _kept_bytes(step) for name, step in steps.items()}
            times.append(taken["path"] / taken["alone"])
            memory.append(kept["path"] / kept["alone"])
        found[spec] = {
            "time": float(np.median(times)), "worst_time": max(times),
            "memory": float(np.median(memory)), "worst_memory": max(memory),
        }  # fmt: skip
        print(json.dumps({spec: found[spec]}), flush=True)
    return found


def _least(steps: Mapping[str, Any]) -> dict[str, float]:
    """Seconds of a pass and its gradients, the least of several; all take turns."""
    found: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(TURNS):
        for name, step in steps.items():
            start = time.perf_counter()
            step().sum().backward()
            found[name].append(time.perf_counter() - start)
    return {name: min(taken[1:]) for name, taken in found.items()}


def _kept_bytes(step: Any) -> int:
    """Bytes of tensors that a pass keeps for its gradients, each storage once."""
    kept: dict[int, int] = {}

    def pack(tensor: Any) -> Any:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        outputs = step()
    del outputs
    return sum(kept.values())


def blockwise(options: argparse.Namespace) -> dict[str, Any]:
    """24 budgets in mobilenetv3: seconds after scoring, and excess over the budgets by the true cost.

    The cost is made up: each layer has one for its kernel and expansion, unless its stage is not so deep.
    """
    space = nas.spaces.load("mobilenetv3:resolution=32,smallest=32,width=25,classes=10,image_channels=1")
    cost = _layered(space)
    supernet, pictures = supernets.of(space), images.load("digits", space.input_shape, seed=0)
    problem = GradientProblem(
        space, supernet=lambda: supernet, data=lambda: pictures, cost=cost.differentiable(), budget=24, seed=0
    )
    scoring, whole = [], []
    for _ in range(REPEATS):  # one after the other, since the scoring is taken off what both take
        start = time.monotonic()
        score(problem, REFERENCES, EXAMPLES)
        scoring.append(time.monotonic() - start)
        start = time.monotonic()
        runs = list(solve(problem, references=REFERENCES, batch=EXAMPLES))
        whole.append(time.monotonic() - start)
    solving = [max(both - one, 0.0) for both, one in zip(whole, scoring, strict=True)]
    beyond = []
    for run in runs:
        words = run.note.split()
        if words[0] == "budget" and words[1] != "any":
            beyond.append(float(cost.predict(run.archs)[0]) / float(words[1].rstrip(",")) - 1)
    return {
        "genes": len(space.choices), "finds": len(runs), "scoring_s": scoring, "solving_s": solving,
        "most_beyond_a_budget": max(beyond),
    }  # fmt: skip


def _layered(space: Any) -> CostTable:
    names = [gene.name for gene in space.genes]
    rng = np.random.default_rng(4)
    genes, costs = [], []
    for name in (name for name in names if name.startswith("kernel")):
        at = name.removeprefix("kernel")
        stage, layer = at.split("_")
        part = tuple(names.index(one) for one in (f"depth{stage}", name, f"expansion{at}"))
        table = np.zeros([space.choices[gene] for gene in part]) + 1e-6
        for depth, count in enumerate(space.genes[part[0]].options):
            if int(layer) <= int(count):
                table[depth] = 0.02 + np.sort(rng.random(table.shape[1:]), axis=1) * 0.1
        genes.append(part)
        costs.append(table)
    return CostTable(space.choices, tuple(genes), tuple(costs))
