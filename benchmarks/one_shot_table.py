"""Shared weights and strategies beside NAS-Bench-201's table of trainings."""

from __future__ import annotations

import argparse
import csv
import gzip
import hashlib
import json
import tarfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import kendalltau, spearmanr

import nas
from nas import gradient, indicators, strategies
from nas.evaluators.counted import Counted
from nas.gradient.protocol import GradientProblem, wanted_by
from nas.objectives import Objective
from nas.spaces.nasbench201.algebra import SKIP
from nas.study.plan import settings_of
from nas.weights import images, kinds, training
from nas.weights.data import augmentation
from nas.weights.images import Split
from nas.weights.training import TrainingPlan
from predictors.encoding import CostTable

#: Cells that do not learn are no part of the front.
CHANCE = 10.5
#: Networks that each strategy may find, and evaluations of NSGA-II on the same weights.
FINDS, EVALUATIONS = 24, 240
#: Settings of strategies that say how many networks they look at.
LOOKS = ("candidates", "networks", "scored", "coarse")
#: Searches whose collapse is looked at, as strategy and settings: the first is known for it, others are remedies.
COLLAPSING: dict[str, tuple[str, dict[str, Any]]] = {
    "darts": ("darts", {}),
    "darts, stop=skips": ("darts", {"stop": "skips"}),
    "darts, stop=curvature": ("darts", {"stop": "curvature"}),
    "darts, perturbation=random": ("darts", {"perturbation": "random"}),
    **{name: (name, {}) for name in ("sdarts", "darts-second", "drnas", "fair-darts", "gdas", "pc-darts", "reinmax")},
}


@dataclass(frozen=True)
class Table:
    """All 15,625 cells, in the order of their genomes.

    Attributes:
        archs: `(n, 6)`.
        accuracy: `(n,)`, on CIFAR-10's test images after 200 epochs, in percent.
        latency: `(n,)`, in ms.
    """

    archs: Any
    accuracy: Any
    latency: Any

    @staticmethod
    def read(folder: Path, device: str) -> Table:
        """From the public file."""
        space = nas.spaces.load("nasbench201")
        with gzip.open(folder / "nasbench201.csv.gz", "rt", newline="") as file:
            rows = list(csv.DictReader(file))
        archs = np.array([space.parse(row["arch"]) for row in rows])
        order = np.lexsort(archs.T[::-1])
        columns = ("accuracy.cifar10.test.200ep", f"latency_ms.{device}")
        accuracy, latency = (np.array([float(row[column]) for row in rows])[order] for column in columns)
        return Table(archs[order], accuracy, latency)

    def rows(self, archs: Any) -> Any:
        """Places of `(n, 6)` genomes."""
        return np.asarray(archs) @ 5 ** np.arange(6)[::-1]

    def cost(self) -> CostTable:
        """Latency, exact for independent choices."""
        return CostTable((5,) * 6, (tuple(range(6)),), (self.latency.reshape((5,) * 6),))

    def share(self, archs: Any) -> float:
        """Hypervolume of `(n, 6)` over that of the exact front: error and latency, min-max over cells that learn."""
        fine = self.accuracy > CHANCE
        costs = np.stack([100 - self.accuracy, self.latency], axis=1)
        low, high = costs[fine].min(axis=0), costs[fine].max(axis=0)
        scaled = (costs - low) / (high - low)
        mine = self.rows(archs)
        reference = np.ones(2)
        whole = indicators.hypervolume(scaled[fine], reference)
        return indicators.hypervolume(scaled[mine[fine[mine]]], reference) / whole


def _images(options: argparse.Namespace, space: Any) -> Any:
    folder = options.images
    if folder is None:
        folder = options.output / "cifar10"
        if not folder.is_dir():
            with tarfile.open(options.data / "cifar10-imagefolder.tar.gz") as packed:
                packed.extractall(folder, filter="data")
        inner = [path for path in folder.iterdir() if path.is_dir()]
        folder = inner[0] if len(inner) == 1 and not (folder / "train").is_dir() else folder
    return images.load(str(folder), space.input_shape, seed=0, limit=options.limit)


def _trained(options: argparse.Namespace, space: Any, pictures: Any, label: str = "", **how: Any) -> tuple[Any, float]:
    """Shared weights, and what their training took in s of CPU time; taken from their file where they are there."""
    learned = kinds.plan_of(kinds.REGISTRY.get(how.get("weights", "shared")))
    asked = {
        "steps": options.steps, "batch": options.batch, "rate": options.rate,
        "augment": augmentation.parse(options.augment), "trainer": (options.trainer or ["uniform"])[0],
    }  # fmt: skip
    plan = TrainingPlan(**(asked | learned | how))
    name = "-".join([*([label] if label else []), *map(str, how.values())]) or "uniform"
    identity = hashlib.sha256(repr((options.space, space.choices, options.images, options.limit, plan)).encode())
    times = options.output / f"supernet.{name}.{options.steps}.{identity.hexdigest()[:12]}.seconds"
    start = time.process_time()
    supernet = training.train(space, pictures, plan, checkpoint=times.with_suffix(".safetensors"))
    if not times.is_file():
        times.write_text(str(time.process_time() - start))
    return supernet, float(times.read_text())


def _setting(options: argparse.Namespace) -> tuple[Table, Any, Any]:
    space = nas.spaces.load(options.space)
    return Table.read(options.data, options.device), space, _images(options, space)


def _codes(space: Any, whole: Any, archs: Any) -> Any:
    """Genomes `(n, 6)` of a restricted space as those of the whole one."""
    return np.array([whole.parse(space.format(arch)) for arch in np.atleast_2d(archs)])


def _stated(options: argparse.Namespace, pictures: Any) -> dict[str, Any]:
    """The reduced schedule, in words."""
    return {
        "space": options.space, "steps": options.steps, "batch": options.batch, "rate": options.rate,
        "augment": options.augment, "trainer": (options.trainer or ["uniform"])[0],
        "train_images": len(pictures.train), "valid_images": len(pictures.valid),
        "judged_on": min(options.judged, len(pictures.valid)),
        "schedule": "reduced: the table's trainings are 200 epochs of 50,000 images, 17 cells, 16 channels",
    }  # fmt: skip


def ranks(options: argparse.Namespace) -> dict[str, Any]:
    """Accuracy by shared weights beside the table's, on random cells that are distinct networks."""
    table, space, pictures = _setting(options)
    archs = space.canonical(space.sample(options.networks, np.random.default_rng(11)))
    archs = archs[space.is_valid(archs)]
    true = table.accuracy[table.rows(archs)]
    found: dict[str, Any] = _stated(options, pictures) | {"networks": len(archs)}
    for name, how in {"uniform": {}, "entangled": {"weights": "entangled"}}.items():
        if options.weights and name not in options.weights:
            continue
        supernet, seconds = _trained(options, space, pictures, **how)
        shared, losses = zip(*_judged(options, supernet, pictures, archs), strict=True)
        spread = np.quantile(shared, (0.0, 0.5, 1.0)).tolist()
        found[name] = {"train_s": seconds, "accuracy_least_median_most": spread, **_agreement(shared, true)}
        found[name]["by_loss"] = _agreement([-loss for loss in losses], true)
        print(json.dumps({name: found[name]}), flush=True)
    for name in ("params", "macs"):
        found[name] = _agreement(
            Counted(Objective(name, "", False, "counted", name), space).evaluate(archs).value, true
        )
    return found


def _judged(options: argparse.Namespace, supernet: Any, pictures: Any, archs: Any) -> list[tuple[float, float]]:
    """Accuracy and loss of `(n, d)` genomes by shared weights, on the first `--judged` images of validation."""
    import torch

    some = Split(pictures.valid.images[: options.judged], pictures.valid.labels[: options.judged])
    found = []
    for arch in archs:
        network = training.inherit(supernet, arch, pictures)
        with torch.no_grad():
            outputs = torch.cat([network(images) for images in some.images.split(250)])
        right = (outputs.argmax(dim=1) == some.labels).double().mean()
        found.append((float(right), float(torch.nn.functional.cross_entropy(outputs, some.labels))))
    return found


def _agreement(one: Any, other: Any) -> dict[str, float]:
    return {"spearman": float(spearmanr(one, other).statistic), "kendall": float(kendalltau(one, other).statistic)}


def strategies_of(options: argparse.Namespace) -> list[str]:
    """Names of strategies that own gradients, or those that were asked for."""
    return [name for name in gradient.names() if not options.strategy or name in options.strategy]


def _reduced(name: str, options: argparse.Namespace) -> dict[str, int]:
    """Settings of a strategy that are less than it would use by itself."""
    most = {"steps": options.descent, **dict.fromkeys(LOOKS, options.looks)}
    known = settings_of(name) or {}
    return {key: least for key, least in most.items() if key in known and known[key].default > least}


def strategies_part(options: argparse.Namespace) -> dict[str, Any]:
    """Each strategy's finds on the table, and the CPU time it took beside that of its weights."""
    table, space, pictures = _setting(options)
    found: dict[str, Any] = _stated(options, pictures) | {"finds": FINDS, "device": options.device}
    rng = np.random.default_rng(0)
    found["random"] = _summary([table.share(space.sample(FINDS, rng)) for _ in range(20)])
    for count in (FINDS, 100):
        found[f"auto, {count} rows of the table"] = _summary(
            [table.share(_asked(table, "auto", count, seed)) for seed in range(options.seeds)]
        )
    for name in strategies_of(options):
        wanted = wanted_by(gradient.REGISTRY.get(name))
        try:
            own = {k: v for k, v in wanted.items() if v != "uniform" and not (options.same and k == "trainer")}
            supernet, seconds = _trained(options, space, pictures, **own)
            shares, times = [], []
            for seed in range(options.seeds):
                start = time.process_time()
                finds = _finds(name, space, supernet, pictures, table, seed, **_reduced(name, options))
                times.append(time.process_time() - start)
                shares.append(table.share(finds))
            hours = {"train_cpu_h": seconds / 3600, "search_cpu_h": float(np.mean(times)) / 3600}
            found[name] = _summary(shares) | hours | {"reduced": _reduced(name, options)}
        except Exception as error:  # the others are still asked for
            found[name] = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps({name: found[name]}), flush=True)
    supernet, seconds = _trained(options, space, pictures)
    shares, times = [], []
    for seed in range(options.seeds):
        start = time.process_time()
        shares.append(table.share(_evolved(options, space, supernet, pictures, table, seed)))
        times.append(time.process_time() - start)
    found[f"nsga2 on shared weights, {EVALUATIONS} evaluations"] = _summary(shares) | {
        "train_cpu_h": seconds / 3600, "search_cpu_h": float(np.mean(times)) / 3600,
    }  # fmt: skip
    return found


def _summary(shares: list[float]) -> dict[str, Any]:
    return {"hypervolume_share": float(np.mean(shares)), "each": [round(share, 4) for share in shares]}


def _finds(name: str, space: Any, supernet: Any, pictures: Any, table: Table, seed: int, **settings: Any) -> Any:
    problem = GradientProblem(
        space,
        supernet=lambda: supernet,
        data=lambda: pictures,
        cost=table.cost().differentiable(),
        budget=FINDS,
        seed=seed,
    )
    return np.concatenate([run.archs for run in gradient.REGISTRY.get(name)(problem, **settings)])


def _asked(table: Table, name: str, evaluations: int, seed: int) -> Any:
    """What a strategy that asks and tells was told of the table, `(n, 6)`; latency costs nothing to know."""
    told = strategies.create(
        name, choices=(5,) * 6, objectives=2, seed=seed, known={1: lambda archs: table.latency[table.rows(archs)]}
    )
    seen = []
    while len(seen) < evaluations:
        archs = told.ask(min(8, evaluations - len(seen)))
        rows = table.rows(archs)
        told.tell(archs, np.stack([100 - table.accuracy[rows], table.latency[rows]], axis=1))
        seen.extend(archs.tolist())
    return np.array(seen)


def _evolved(options: argparse.Namespace, space: Any, supernet: Any, pictures: Any, table: Table, seed: int) -> Any:
    """The front of NSGA-II by accuracy under shared weights and latency of the table, `(n, 6)`."""
    told = strategies.create("nsga2", choices=(5,) * 6, objectives=2, seed=seed, valid=space.is_valid, population=40)
    archs, costs = np.empty((0, 6), dtype=np.int64), np.empty((0, 2))
    while len(archs) < EVALUATIONS:
        asked = told.ask(min(40, EVALUATIONS - len(archs)))
        shared = np.array([accuracy for accuracy, _ in _judged(options, supernet, pictures, asked)])
        mine = np.stack([1 - shared, table.latency[table.rows(asked)]], axis=1)
        told.tell(asked, mine)
        archs, costs = np.concatenate([archs, asked]), np.concatenate([costs, mine])
    return archs[indicators.nondominated(costs)]


def collapse(options: argparse.Namespace) -> dict[str, Any]:
    """Skips of the most probable cell where costs have no weight, and its accuracy in the table.

    Three sets of operators: a skip or a 3x3 convolution, where the skip is nothing but bait; all but the skip; all.
    """
    table, whole, pictures = _setting(options)
    found: dict[str, Any] = _stated(options, pictures) | {"best_of_table": float(table.accuracy.max())}
    rates = {"rate": options.logit_rate, "weight_rate": options.weight_rate}
    found |= {"descent": options.descent, "logit_rate": options.logit_rate, "weight_rate": options.weight_rate}
    for label, kept in {"skip or 3x3": (SKIP, 3), "no skip": (0, 2, 3, 4), "all": range(5)}.items():
        if not label.startswith(options.only):
            continue
        space = whole.restrict({gene: tuple(kept) for gene in range(6)})
        supernet, _ = _trained(options, space, pictures, label=label.replace(" ", "_"))
        for name, (strategy, settings) in COLLAPSING.items():
            if options.strategy and name not in options.strategy:
                continue
            rows = []
            for seed in range(options.seeds):
                problem = GradientProblem(
                    space, supernet=lambda net=supernet: net, data=lambda: pictures, budget=1, seed=seed,
                    cost=CostTable(space.choices, ((0,),), (np.ones(space.choices[0]),)).differentiable(),
                )  # fmt: skip
                make = gradient.REGISTRY.get(strategy)
                runs = list(make(problem, weights=(0.0,), steps=options.descent, **rates, **settings))
                (cell,) = _codes(space, whole, runs[0].archs[:1])
                place = table.rows(cell)
                rows.append(
                    {"skips": int((cell == SKIP).sum()), "accuracy": float(table.accuracy[place]), "note": runs[0].note}
                )
            found.setdefault(label, {})[name] = {
                "skips": float(np.mean([row["skips"] for row in rows])),
                "accuracy": float(np.mean([row["accuracy"] for row in rows])), "each": rows,
            }  # fmt: skip
            print(json.dumps({label: {name: found[label][name]}}), flush=True)
    return found
