"""GDAS: sample one path by Gumbel noise, send its gradient to all probabilities, add the expected hardware cost.

Source: Dong & Yang, "Searching for a robust neural architecture in four GPU hours", CVPR 2019, sections 3.2-3.3. The
    hardware term is
the expected latency of ProxylessNAS (Cai et al., ICLR 2019, section 3.3), here exact over the whole space, swept over
its weight.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from device_profiles.errors import HwnasError, UsageError
from nas.gradient.protocol import DifferentiableCost, Found, GradientProblem, Priced, all_costs
from nas.streams import stream, torch_seed
from nas.weights.devices import device_of
from nas.weights.training import adopt, loss_of, minibatch

if TYPE_CHECKING:
    from torch import Tensor

#: Weights of the normalised cost against the cross entropy, from no regard to cost alone; denser where fronts bend.
DEFAULT_WEIGHTS = (0.0, 0.1, 0.2, 0.4, 0.8, 1.6)
#: Weight of the share by which an expected cost breaks a bound.
_BREACH = 10.0
#: Of Adam for the logits, as in DARTS (Liu, Simonyan & Yang, ICLR 2019, appendix A.1.1); the spread of the first ones.
_BETAS, _LOGIT_DECAY, _LOGIT_SPREAD = (0.5, 0.999), 1e-3, 1e-3
#: Of SGD for shared weights, as there; and the norm to which their gradient is clipped.
_MOMENTUM, _WEIGHT_DECAY, _LARGEST_NORM = 0.9, 3e-4, 5.0
#: Architectures of which a cost's scale is taken.
_SCALE_SAMPLES = 512


def gdas(
    problem: GradientProblem,
    *,
    weights: tuple[float, ...] = DEFAULT_WEIGHTS,
    steps: int = 60,
    batch: int = 64,
    rate: float = 0.1,
    weight_rate: float = 0.005,
    tau_first: float = 10.0,
    tau_last: float = 0.1,
) -> Iterator[Found]:
    """One run for each weight of the hardware cost, all from the same shared weights.

    Args:
        problem: space, supernet, data and cost.
        weights: of the cost, each at least 0; the loss is `cross entropy + weight * (E[cost] - fastest) / (median -
            fastest)`, of several costs their mean; each bound that an expected cost breaks adds ten times the share by
            which it does.
        steps: of each run; every step trains shared weights on one training batch, then probabilities on one validation
            batch.
        batch: images in one.
        rate: Adam's rate for the logits of the probabilities.
        weight_rate: SGD's rate for shared weights.
        tau_first: temperature of the Gumbel softmax at the start; it falls linearly.
        tau_last: and at the end.

    Yields:
        For each weight the most probable architectures, the best first; together at most `problem.budget`.

    Raises:
        UsageError: a setting is out of its range.
        HwnasError: a run diverged.
    """
    positive = (tau_first, tau_last, rate, weight_rate)
    if not weights or not all(0 <= weight < math.inf for weight in weights) or steps < 1 or batch < 1:
        raise UsageError(
            f"GDAS needs finite weights of at least 0, and at least one step and one image, got {weights}, {steps}, "
            f"{batch}"
        )
    if not all(0 < value < math.inf for value in positive):
        raise UsageError(f"GDAS needs finite temperatures and rates above 0, got {positive}")
    runs = weights[: problem.budget]
    share = [problem.budget // len(runs) + (i < problem.budget % len(runs)) for i in range(len(runs))]
    scales = [cost_scale(problem, price.cost) for price in problem.priced]
    for run, weight in enumerate(runs):
        if run in problem.skip:
            continue

        def normalised(probabilities: list[Tensor], weight: float = weight) -> Tensor:
            share = weight / len(scales)
            first, *others = (
                _penalty(price, probabilities, share, *scale)
                for price, scale in zip(problem.priced, scales, strict=True)
            )
            return sum(others, start=first)

        logits = _run(problem, run, len(runs), normalised, steps, batch, rate, weight_rate, tau_first, tau_last)
        yield Found(run, most_probable(logits, share[run], problem), f"weight {weight:g}")


GRADIENT = all_costs(gdas)


def _penalty(price: Priced, probabilities: list[Tensor], weight: float, lowest: float, median: float) -> Tensor:
    """What an expected cost adds to the loss, by its weight and by the bounds that it breaks."""
    expected = price.cost(probabilities)
    loss = weight * (expected - lowest) / (median - lowest)
    if price.bound is not None:
        loss = loss + _BREACH * ((expected - price.bound) / price.bound).clamp(min=0)
    if price.floor is not None:
        loss = loss + _BREACH * ((price.floor - expected) / max(abs(price.floor), 1e-12)).clamp(min=0)
    return loss


def gumbel_gates(logits: list[Tensor], tau: float, generator: Any) -> list[Tensor]:
    """One sampled option per gene as straight-through gates: one-hot forward, the gradient of the softmax backward.

    Args:
        logits: per gene `(options,)`.
        tau: temperature, above 0.
        generator: torch's random generator.
    """
    import torch

    gates = []
    for logit in logits:
        noise = -torch.log(
            -torch.log(torch.rand(logit.shape, generator=generator, dtype=logit.dtype).clamp(1e-9, 1 - 1e-7))
        )
        soft = torch.softmax((torch.log_softmax(logit, dim=0) + noise) / tau, dim=0)
        hard = torch.zeros_like(soft)
        hard[int(soft.argmax())] = 1.0
        gates.append(hard + soft - soft.detach())
    return gates


def most_probable(
    logits: NDArray[np.float64] | list[NDArray[np.float64]], count: int, problem: GradientProblem
) -> NDArray[np.int64]:
    """The `count` most probable networks, distinct and with a function, `(<=count, d)`, best first.

    The search is over the options of each gene in falling order of probability, by best first.
    """
    import heapq

    scores = [np.asarray(row) - np.logaddexp.reduce(np.asarray(row)) for row in logits]
    order = [np.argsort(-row, kind="stable") for row in scores]
    start = (0,) * len(scores)
    queue = [(-sum(float(row[o[0]]) for row, o in zip(scores, order, strict=True)), start)]
    seen = {start}
    networks: set[bytes] = set()
    found: list[NDArray[np.int64]] = []
    while queue and len(found) < count:
        cost, ranks = heapq.heappop(queue)
        arch = np.array([[o[rank] for o, rank in zip(order, ranks, strict=True)]], dtype=np.int64)
        key = problem.space.canonical(arch).tobytes()
        if key not in networks and bool(problem.space.is_valid(arch)[0]):
            networks.add(key)
            found.append(arch[0])
        for gene, rank in enumerate(ranks):
            if rank + 1 < len(order[gene]):
                following = (*ranks[:gene], rank + 1, *ranks[gene + 1 :])
                if following not in seen:
                    seen.add(following)
                    step = float(scores[gene][order[gene][rank]] - scores[gene][order[gene][rank + 1]])
                    heapq.heappush(queue, (cost + step, following))
    return np.array(found, dtype=np.int64).reshape(-1, len(scores))


def cost_scale(problem: GradientProblem, cost: DifferentiableCost | None = None) -> tuple[float, float]:
    """Fixed bounds of a cost's normalisation, the first's if None: lowest and median of 512 samples of the space."""
    import torch

    cost = problem.cost if cost is None else cost

    archs = problem.space.sample(_SCALE_SAMPLES, stream(problem.seed, "gdas.scale"))
    one_hot = [
        torch.nn.functional.one_hot(torch.from_numpy(archs[:, gene]), options).double()
        for gene, options in enumerate(problem.space.choices)
    ]
    values = cost(one_hot).numpy()
    lowest, median = float(values.min()), float(np.median(values))
    return lowest, median if median > lowest else lowest + max(abs(lowest), 1e-9)


def _run(
    problem: GradientProblem,
    run: int,
    runs: int,
    penalty: Any,
    steps: int,
    batch: int,
    rate: float,
    weight_rate: float,
    tau_first: float,
    tau_last: float,
) -> list[NDArray[np.float64]]:
    """Logits after one run."""
    import torch

    supernet = copy.deepcopy(problem.supernet()).train()
    place = device_of(supernet)
    data = problem.data()
    generator = torch.Generator().manual_seed(torch_seed(problem.seed, "gdas.run", run))
    logits = [
        (_LOGIT_SPREAD * torch.randn(options, generator=generator)).requires_grad_()
        for options in problem.space.choices
    ]
    architecture = torch.optim.Adam(logits, rate, betas=_BETAS, weight_decay=_LOGIT_DECAY)
    weights = torch.optim.SGD(
        [{"params": list(supernet.parameters())}], weight_rate, _MOMENTUM, weight_decay=_WEIGHT_DECAY
    )
    for step in range(steps):
        problem.progress("gdas", run * steps + step, runs * steps)
        tau = tau_first + (tau_last - tau_first) * step / max(steps - 1, 1)
        rng = stream(problem.seed, "gdas.steps", run, step)
        with torch.no_grad():
            path = np.array([int(gate.argmax()) for gate in gumbel_gates(logits, tau, generator)])
        images, labels = (tensor.to(place) for tensor in minibatch(data.train, batch, rng))
        weights.zero_grad(set_to_none=True)
        loss_of(data, supernet.forward_path(images, path), labels).backward()  # type: ignore[no-untyped-call]
        adopt(weights, supernet)
        torch.nn.utils.clip_grad_norm_(supernet.parameters(), _LARGEST_NORM)
        weights.step()

        images, labels = (tensor.to(place) for tensor in minibatch(data.valid, batch, rng))
        architecture.zero_grad(set_to_none=True)
        gates = gumbel_gates(logits, tau, generator)
        loss = loss_of(data, supernet.forward_mixed(images, gates), labels).cpu()
        loss = loss + penalty([torch.softmax(logit, dim=0) for logit in logits])
        loss.backward()
        architecture.step()
        supernet.zero_grad(set_to_none=True)
    problem.progress("gdas", (run + 1) * steps, runs * steps)
    if not all(bool(torch.isfinite(logit).all()) for logit in logits):
        raise HwnasError(
            f"run {run} of GDAS diverged: the architecture's probabilities are not finite",
            hint="Lower gdas.rate or gdas.weight_rate.",
        )
    return [logit.detach().double().numpy() for logit in logits]
