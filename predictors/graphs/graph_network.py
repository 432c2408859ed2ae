"""A graph network on top of the composition: what a kernel costs where it stands."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from device_profiles.errors import InvalidTable
from predictors import features, intervals, network
from predictors.graphs import _message_passing as passing
from predictors.models.lightgbm import MODEL as KERNEL_MODEL
from predictors.models.protocol import KernelSamples
from predictors.network import NetworkModel
from predictors.prediction import Prediction, check_missing
from predictors.samples import NetworkSamples
from predictors.sealed import check_numbers, floats, read_json, read_tensors, understood
from profiler.catalogue import Catalogue
from profiler.operators import Operator, OperatorGraph

if TYPE_CHECKING:
    from torch import Tensor

Floats = NDArray[np.float64]

_SCHEMA = "hwnas.graph-network/1"
_REMEDY = "Fit the predictor again."

#: Fewest networks to learn from.
LEAST_NETWORKS = 20
FOLDS = 5
EPOCHS = 150
LEARNING_RATE = 3e-3
#: Signs that stand for a kind of kernel.
KIND_BITS = 8
#: Log errors beyond this count linearly.
HUBER = 0.05
#: Weight of the squared corrections: without evidence nothing is corrected.
PULL = 0.02
MEMBERS = 2
#: Shares of the correction that are tried on networks left out; 0 means that it does not help.
TRUSTS = (0.0, 0.5, 1.0)
#: Graphs that are laid side by side at once: their states then fit into a core's own cache.
CHUNK = 128

#: Gives the graphs of some rows.
Graphs = Callable[[Sequence[int]], Sequence[OperatorGraph]]


@dataclass(frozen=True)
class GraphNetwork:
    """`cost = composition of (kernel cost * exp(correction of the kernel where it stands))`.

    A small network passes messages along the edges of the fused graph and says for each node by which factor its cost
    differs in this place: what sums miss (branches, what ran before, fusion across blocks). The corrections start at 0
    and are pulled there, so with few networks this is the composition of `lightgbm`. How much of the correction is
    used is decided on networks left out; it may be none.

    Source: Hamilton et al., "Inductive representation learning on large graphs" (GraphSAGE), NeurIPS 2017, section 3.1;
        whole-graph latency: Dudziak et al., "BRP-NAS", NeurIPS 2020, section 3. Correcting a sum in place of
        predicting the whole is ours.

    Attributes:
        base: kernels and their composition.
        members: weights of the ensemble's networks.
        center: `(inputs,)`, means of the inputs.
        scale: `(inputs,)`, their standard deviations.
        trust: share of the correction that is used.
        half_width: relative half-width of the 90 % interval where all kernels were measured, or None.
    """

    costs: ClassVar[tuple[str, ...]] = ("latency", "energy")

    base: NetworkModel
    members: tuple[dict[str, Tensor], ...]
    center: Floats
    scale: Floats
    trust: float
    half_width: float | None = None

    @staticmethod
    def fit(kernels: KernelSamples, networks: NetworkSamples, *, sure: bool = True) -> GraphNetwork:
        """Train on one thread; the same samples give the same network.

        Raises:
            InvalidTable: fewer than 20 networks, or fewer than 8 kernels.
        """
        count = len(networks.ids)
        if count < LEAST_NETWORKS:
            raise InvalidTable(
                f"graph-network needs at least {LEAST_NETWORKS} measured networks, got {count}",
                hint="Profile more networks, or fit 'lightgbm'.",
            )
        base = network.fit(KERNEL_MODEL, kernels, networks, sure=sure, streams=False)
        held = [np.arange(fold, count, FOLDS) for fold in range(FOLDS)]
        logs = np.zeros((len(TRUSTS), count))
        for rows in held:
            rest = networks.take(np.setdiff1d(np.arange(count), rows).tolist())
            part = _train(network.compose(base.kernels, rest, base.unit), rest)
            graphs = [networks.graphs[i] for i in rows]
            for i, trust in enumerate(TRUSTS):
                logs[i, rows] = np.log(networks.cost[rows] / replace(part, trust=trust).predict(graphs).value)
        chosen = int(np.argmin(np.abs(logs).mean(axis=1)))
        found = replace(_train(base, networks), trust=TRUSTS[chosen])
        width = intervals.relative_half_width(np.abs(np.expm1(logs[chosen]))) if sure else None
        return replace(found, half_width=intervals.repeated(width, networks.repeats))

    def predict(self, graphs: Sequence[OperatorGraph], *, missing: str = "guess") -> Prediction:
        """Predict fused graphs; see `GraphPredictor.predict`."""
        check_missing(missing)
        catalogue, counts = network.kernel_counts(graphs)
        plain = self.base.predict_counts(catalogue, counts)
        if missing == "raise":
            network.require_known(plain.missing)
        return self._scaled(plain, self._factors(catalogue, lambda rows: [graphs[i] for i in rows], len(graphs)))

    def predict_catalogue(self, catalogue: Catalogue) -> Prediction:
        """Predict all networks of a catalogue, in order."""
        plain = self.base.predict_catalogue(catalogue)
        return self._scaled(plain, self._factors(catalogue.kernels, catalogue.graphs, len(plain.value)))

    def idle(self, catalogue: Catalogue) -> float:
        """As the composition has it."""
        return self.base.idle(catalogue)

    def save(self, folder: Path) -> None:
        """Write the files of the base, `graph-network.json` and `graph-network.safetensors`."""
        from safetensors.torch import save_file

        self.base.save(folder)
        tensors = {f"{i}.{name}": weight for i, member in enumerate(self.members) for name, weight in member.items()}
        save_file(tensors, folder / "graph-network.safetensors")
        data = {
            "schema": _SCHEMA,
            "features": features.SCHEMA,
            "center": self.center.tolist(),
            "scale": self.scale.tolist(),
            "trust": self.trust,
            "half_width": self.half_width,
        }
        (folder / "graph-network.json").write_text(json.dumps(data, indent=1))

    @staticmethod
    def load(folder: Path) -> GraphNetwork:
        """Read what `save` wrote.

        Raises:
            SchemaMismatch: the files are missing, damaged, or of another schema.
        """
        import torch

        path = folder / "graph-network.json"
        data = read_json(path, _SCHEMA, _REMEDY)
        with understood(f"cannot read {path} and its weights", _REMEDY):
            if data["features"] != features.SCHEMA:
                raise ValueError(f"features are {data['features']!r}; this version reads {features.SCHEMA!r}")
            inputs = len(features.NAMES) + 1 + KIND_BITS
            check_numbers("center", data["center"], inputs)
            check_numbers("scale", data["scale"], inputs, least=sys.float_info.min)
            check_numbers("trust", (data["trust"],), 1, least=0.0)
            if data["half_width"] is not None:
                check_numbers("half_width", (data["half_width"],), 1, least=0.0)
            raw, _ = read_tensors(folder / "graph-network.safetensors")
            tensors = {name: torch.from_numpy(floats(raw, name).copy()) for name in raw}
            wanted = {name: weight.shape for name, weight in passing.initial(inputs, 0).items()}
            count = len({name.partition(".")[0] for name in tensors})
            members = tuple({name: tensors[f"{i}.{name}"] for name in wanted} for i in range(count))
            if not members or any(member[name].shape != shape for member in members for name, shape in wanted.items()):
                raise ValueError("the weights have other shapes")
            base = network.load(folder, KERNEL_MODEL)
            center, scale = np.array(data["center"]), np.array(data["scale"])
            return GraphNetwork(base, members, center, scale, data["trust"], data["half_width"])

    def _factors(self, catalogue: tuple[Operator, ...], graphs: Graphs, count: int) -> Floats:
        """By which factor each graph's cost differs from the composition's, `(count,)`."""
        factor = np.ones(count)
        if self.trust == 0.0:
            return factor
        import torch

        inputs, cost = _inputs(self.base, catalogue)
        standard = torch.as_tensor((inputs - self.center) / self.scale, dtype=torch.float32)
        number = {operator.key: i for i, operator in enumerate(catalogue)}
        for start in range(0, count, CHUNK):
            rows = range(start, min(start + CHUNK, count))
            batch = passing.lay_out(graphs(rows), number)
            with torch.no_grad(), passing.one_thread():
                logs = [passing.corrections(member, standard, batch).numpy() for member in self.members]
            node = cost[batch.kernel]
            kernels = np.bincount(batch.graph, minlength=batch.graphs).astype(np.float64)
            sums = np.bincount(batch.graph, node, minlength=batch.graphs).astype(np.float64)
            corrected = node * np.exp(self.trust * np.mean(logs, axis=0))
            moved = np.bincount(batch.graph, corrected, minlength=batch.graphs).astype(np.float64)
            apply = self.base.composition.apply
            factor[rows.start : rows.stop] = apply(moved, kernels) / apply(sums, kernels)
        return factor

    def _scaled(self, plain: Prediction, factor: Floats) -> Prediction:
        value = plain.value * factor
        if plain.low is None or plain.high is None or self.base.half_width is None or self.half_width is None:
            return replace(plain, value=value, low=None, high=None)
        # What guessed kernels add to the interval stays as it is; what the networks say is this predictor's own.
        guessed = plain.high / plain.value - 1.0 - self.base.half_width
        low, high = intervals.around(value, self.half_width, guessed)
        return replace(plain, value=value, low=low, high=high)


PREDICTOR = GraphNetwork


def _inputs(base: NetworkModel, catalogue: tuple[Operator, ...]) -> tuple[Floats, Floats]:
    """What the network sees of distinct kernels, `(k, inputs)`, and their costs, `(k,)`."""
    found = base.kernels.predict(catalogue)
    cost = base.kernel_costs(catalogue, found)
    assert isinstance(base.kernels, KERNEL_MODEL)
    columns = features.features(catalogue, base.kernels.device)
    return np.column_stack([columns, np.log(cost), [_code(operator.kind) for operator in catalogue]]), cost


def _code(kind: str) -> list[float]:
    """A kind of kernel as signs: any kind has some, those that were never seen too."""
    digest = hashlib.sha256(kind.encode()).digest()
    return [1.0 if digest[bit // 8] >> bit % 8 & 1 else -1.0 for bit in range(KIND_BITS)]


def _train(base: NetworkModel, networks: NetworkSamples) -> GraphNetwork:
    with passing.one_thread():
        return _train_alone(base, networks)


def _train_alone(base: NetworkModel, networks: NetworkSamples) -> GraphNetwork:
    import torch

    catalogue, _ = network.kernel_counts(networks.graphs)
    inputs, cost = _inputs(base, catalogue)
    center, scale = inputs.mean(axis=0), np.maximum(inputs.std(axis=0), 1e-3)
    batch = passing.lay_out(networks.graphs, {operator.key: i for i, operator in enumerate(catalogue)})
    standard = torch.as_tensor((inputs - center) / scale, dtype=torch.float32)
    node = torch.as_tensor(cost[batch.kernel], dtype=torch.float32)
    place = torch.as_tensor(batch.graph)
    sums = torch.zeros(batch.graphs).index_add(0, place, node)
    share = node / sums[place]
    composed = base.composition
    counts = torch.as_tensor(np.bincount(batch.graph, minlength=batch.graphs), dtype=torch.float32)
    target = torch.as_tensor(networks.cost, dtype=torch.float32)
    members = []
    for seed in range(MEMBERS):
        weights = {name: weight.requires_grad_() for name, weight in passing.initial(inputs.shape[1], seed).items()}
        optimiser = torch.optim.Adam(list(weights.values()), lr=LEARNING_RATE)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, EPOCHS)
        for _ in range(EPOCHS):
            optimiser.zero_grad()
            logs = passing.corrections(weights, standard, batch)
            moved = torch.zeros(batch.graphs).index_add(0, place, node * torch.exp(logs))
            value = composed.scale * moved + composed.per_kernel * counts + composed.constant
            error = torch.log(torch.clamp(value / target, min=0.05))
            strength = torch.zeros(batch.graphs).index_add(0, place, share * logs**2)
            wrong = torch.nn.functional.huber_loss(error, torch.zeros_like(error), delta=HUBER) / HUBER
            loss = wrong + PULL * strength.mean()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
        members.append({name: weight.detach() for name, weight in weights.items()})
    return GraphNetwork(base, tuple(members), center, scale, 1.0)
