"""Predictions of kernels and of whole families of networks that were never measured.

Measures families of networks on this machine, fits on `nasbench201` and `mobilenetv3`, and asks for the others.

    python -m benchmarks.unseen [--keep FOLDER] [--networks 40] [--test 30]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

import device_profiles
import profiler
from benchmarks import families
from benchmarks.machine import machine
from predictors import evaluation, models, registry, samples, unseen
from predictors.models.protocol import KernelSamples
from predictors.samples import NetworkSamples
from profiler import probes

TARGET = "local-onnxruntime"
TRAIN = ("nasbench201", "mobilenetv3")
PROBES = "probes"
TEST = ("resnet", "efficientnet", "transformer")


def measured(folder: Path, family: str, count: int, seed: int) -> Path:
    """A store of networks of a family; what is there already is not measured again."""
    path = folder / f"{family}.db"
    target = device_profiles.load(TARGET)
    with profiler.Store(path) as store:
        subjects = probes.probes(count, seed) if family == PROBES else families.sample(family, count, seed)
        if len(store.models()) < count:
            profiler.measure(subjects, target=target, store=store)
    return path


def read(path: Path) -> tuple[KernelSamples, NetworkSamples, float | None]:
    """Kernels, networks, and the error of measuring them twice."""
    with profiler.Store(path, create=False) as store:
        conditions = store.require_conditions(TARGET)
        networks = samples.networks(store, conditions)
        noise = evaluation.noise_mape(store, conditions, networks.ids)
        return samples.kernels(store, conditions), networks, noise


def together(parts: list[KernelSamples]) -> KernelSamples:
    """Kernels of several stores; those measured in two count in the first."""
    found = {}
    for part in parts:
        for operator, cost, weight in zip(part.operators, part.cost, part.weights, strict=True):
            found.setdefault(operator, (cost, weight))
    cost, weight = np.array(list(found.values())).T
    return KernelSamples(tuple(found), cost, weight, parts[0].device)


def beside(parts: list[NetworkSamples]) -> NetworkSamples:
    """Networks of several stores."""
    return NetworkSamples(
        sum((part.ids for part in parts), ()),
        sum((part.spaces for part in parts), ()),
        sum((part.archs for part in parts), ()),
        sum((part.graphs for part in parts), ()),
        np.concatenate([part.cost for part in parts]),
        np.concatenate([part.repeats for part in parts]),
    )


def kernels_left_out(everything: KernelSamples, what: str) -> None:
    """Errors at kernels whose group (kind and shapes) was left out."""
    count = len(everything.operators)
    print(f"\nunseen kernels of {what}: {count} kernels, left out by kind and shape in {unseen.FOLDS} folds")
    print(f"{'':16}{'median':>8}{'p90':>8}")
    for name in models.REGISTRY.names():
        _, folds = unseen.learn(models.REGISTRY.get(name), everything)
        error = np.concatenate([np.abs(part.found.cost / everything.cost[part.rows] - 1) for part in folds])
        print(f"{name:16}{np.median(error):8.1%}{np.quantile(error, 0.9):8.1%}")


def families_left_out(
    kernels: KernelSamples, networks: NetworkSamples, tests: dict[str, NetworkSamples], what: str
) -> None:
    """Errors at families that were not fitted on."""
    print(f"\nunseen families: fitted on {len(networks.ids)} networks: {what}")
    print(f"{'':16}" + "".join(f"{name:>22}" for name in tests) + f"{'all':>22}")
    print(f"{'':16}" + f"{'MAPE   rho  in 90 %':>22}" * (len(tests) + 1))
    for name in registry.names_for("latency"):
        model = registry.get(name).fit(kernels, networks)
        cells, errors, inside = [], [], []
        for test in tests.values():
            found = model.predict(test.graphs)
            scores = evaluation.scores(found.value, test.cost, found.low, found.high)
            cells.append(f"{scores.mape:8.1%}{scores.spearman:7.3f}{scores.interval_coverage:7.0%}")
            errors.append(np.abs(found.value / test.cost - 1))
            inside.append((found.low <= test.cost) & (test.cost <= found.high))
        whole, covered = np.concatenate(errors), np.concatenate(inside)
        print(f"{name:16}" + "".join(cells) + f"{whole.mean():8.1%}{'':7}{covered.mean():7.0%}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", type=Path, help="folder for the stores; a temporary one if not given")
    parser.add_argument("--networks", type=int, default=40, help="of each family that is fitted on")
    parser.add_argument("--test", type=int, default=30, help="of each other family")
    parser.add_argument("--probes", type=int, default=80, help="random networks that are fitted on as well")
    options = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        found = {name: read(measured(folder, name, options.networks, 0)) for name in TRAIN}
        found |= {name: read(measured(folder, name, options.test, 0)) for name in TEST}
        found[PROBES] = read(measured(folder, PROBES, options.probes, 0))
    for name, (kernels, networks, noise) in found.items():
        low, high = networks.cost.min(), networks.cost.max()
        print(
            f"{name:14} {len(networks.ids)} networks of {low:.2f} to {high:.2f} ms, "
            f"{len(kernels.operators)} distinct kernels; measured twice: {noise:.1%}"
        )
    for what, names in (("families", (*TRAIN, *TEST)), ("families and probes", tuple(found))):
        kernels_left_out(together([found[name][0] for name in names]), what)
    tests = {name: found[name][1] for name in TEST}
    for fitted in (TRAIN, (*TRAIN, PROBES)):
        train = [found[name] for name in fitted]
        kernels, networks = together([part for part, _, _ in train]), beside([part for _, part, _ in train])
        families_left_out(kernels, networks, tests, ", ".join(fitted))


if __name__ == "__main__":
    main()
