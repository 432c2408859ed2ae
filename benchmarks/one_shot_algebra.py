"""What must hold exactly in one-shot search: gradients by formulas, costs at decided choices, paths of supernets."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import Any

import numpy as np
import onnxruntime
import torch
from torch import nn

import nas
from benchmarks.matrix import SMALL
from nas.gradient import parts
from nas.gradient.machine import Settings
from nas.gradient.machine.run import Run
from nas.gradient.parts.probing import undisturbed
from nas.gradient.parts.protocol import Reference, Turn
from nas.gradient.parts.samplers import reinmax
from nas.gradient.protocol import Priced
from nas.spaces.export import onnx_bytes
from nas.testing import gradients as kit
from nas.testing.rules import inputs_of
from nas.weights import supernets
from predictors.encoding import CostTable

#: Of the optimiser of weights.
RATE, MOMENTUM, DECAY = 0.05, 0.9, 3e-3
#: Networks of each space whose paths are held against their modules and files.
NETWORKS = 4


def algebra(options: argparse.Namespace) -> dict[str, Any]:
    """Each as the largest error that was seen, or the smallest change."""
    del options
    return {
        "second_order": {name: _second_order(make) for name, make in (("quadratic", _Quadratic), ("network", _Small))},
        "reinmax": _reinmax(),
        "cost_at_decided_logits": {name: _decided(name) for name in parts.SAMPLERS.names()},
        "least_change_of_a_zeroed_term": {
            f"{sampler}, {hardware}": _zeroed(sampler, hardware)
            for sampler in parts.SAMPLERS.names() for hardware in parts.HARDWARE.names()
        },
        "paths": {name: _paths(SMALL[name]) for name in nas.spaces.names() if name in SMALL},
    }  # fmt: skip


class _Quadratic(nn.Module):
    """Weights w, gates a, and a loss w'Aw/2 + w'Ba + c'a."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.randn(4, dtype=torch.float64))

    def forward_mixed(self, batch: Any, gates: Any) -> Any:
        a, b, c = batch
        alpha = torch.cat(gates)
        return self.w @ a @ self.w / 2 + self.w @ b @ alpha + c @ alpha

    @staticmethod
    def batch() -> Any:
        a = torch.randn(4, 4, dtype=torch.float64)
        return a @ a.T, torch.randn(4, 5, dtype=torch.float64), torch.randn(5, dtype=torch.float64)


class _Small(nn.Module):
    """Two mixed layers, a linear one with tanh or with a sigmoid or a skip, and a cross entropy."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(6, 6).double() for _ in range(2)])

    def forward_mixed(self, batch: Any, gates: Any) -> Any:
        x, target = batch
        for layer, gate in zip(self.layers, gates, strict=True):
            x = gate[0] * layer(x).tanh() + gate[1] * x + (gate[2] * layer(x).sigmoid() if len(gate) > 2 else 0)
        return nn.functional.cross_entropy(x, target)

    @staticmethod
    def batch() -> Any:
        return torch.randn(16, 6, dtype=torch.float64), torch.randint(0, 6, (16,))


def _second_order(make: Any) -> dict[str, float]:
    """Relative error of each step's gradient of logits; the exact one is by autograd through a step of weights."""
    worst: dict[str, float] = {}
    for seed in range(10):
        torch.manual_seed(seed)
        net = make()
        train, valid = net.batch(), net.batch()
        logits = [torch.randn(n, dtype=torch.float64).requires_grad_() for n in (3, 2)]
        optimiser = torch.optim.SGD(net.parameters(), RATE, MOMENTUM, weight_decay=DECAY)

        def loss(batch: Any, net: Any = net, logits: Any = logits) -> Any:
            return lambda forward: forward(batch, [torch.softmax(logit, 0) for logit in logits])

        loss(train)(net.forward_mixed).backward()  # a step, so that there is momentum
        optimiser.step()
        optimiser.zero_grad()
        for logit in logits:
            logit.grad = None
        names = [name for name, _ in net.named_parameters()]
        slopes = torch.autograd.grad(loss(train)(net.forward_mixed), list(net.parameters()), create_graph=True)
        stepped = {
            name: w - RATE * (MOMENTUM * optimiser.state[w]["momentum_buffer"] + slope + DECAY * w)
            for name, w, slope in zip(names, net.parameters(), slopes, strict=True)
        }
        holder = _Mixed(net)
        after = loss(valid)(
            lambda batch, gates, holder=holder, stepped=stepped: torch.func.functional_call(
                holder, {f"net.{name}": w for name, w in stepped.items()}, (batch, gates)
            )
        )
        exact = torch.cat(torch.autograd.grad(after, logits))
        for name in parts.STEPS.names():
            with undisturbed(net):
                parts.STEPS.get(name)(Turn(logits, net, optimiser, loss(train), loss(valid)))
            got = torch.cat([logit.grad for logit in logits if logit.grad is not None])
            for logit in logits:
                logit.grad = None
            worst[name] = max(worst.get(name, 0.0), float((got - exact).norm() / exact.norm()))
    return worst


class _Mixed(nn.Module):
    """What `functional_call` can call."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, batch: Any, gates: Any) -> Any:
        return self.net.forward_mixed(batch, gates)  # type: ignore[operator]


def _reinmax() -> dict[str, float]:
    """Largest error of the mean gradient over all draws, on 200 random quadratics, beside plain straight-through."""
    rng, worst = np.random.default_rng(0), {"reinmax": 0.0, "plain": 0.0}
    for _ in range(200):
        size = int(rng.integers(2, 6))
        a, b = (torch.from_numpy(rng.standard_normal(shape)) for shape in ((size, size), (size,)))
        a = a + a.T
        logit = torch.from_numpy(rng.standard_normal(size)).requires_grad_()
        chances = torch.softmax(logit, 0)
        corners = torch.diagonal(a) / 2 + b
        (exact,) = torch.autograd.grad(chances @ corners, logit, retain_graph=True)
        mean = {name: torch.zeros(size, dtype=torch.float64) for name in worst}
        for option in range(size):
            drawn = torch.nn.functional.one_hot(torch.tensor(option), size).double()
            gates = {
                "reinmax": reinmax.gate(logit, drawn, 1.0), "plain": drawn + chances - chances.detach(),
            }  # fmt: skip
            for name, gate in gates.items():
                (slope,) = torch.autograd.grad(gate @ a @ gate / 2 + b @ gate, logit, retain_graph=True)
                mean[name] += chances[option].detach() * slope
        for name, value in mean.items():
            worst[name] = max(worst[name], float((value - exact).abs().max()))
    return worst


def _run(problem: Any, **settings: Any) -> Run:
    references = [Reference(0.6, 4.0, price.bound) for price in problem.priced]
    return Run(problem, replace(Settings(batch=8), **settings), "algebra", 0, 1, 0.5, references)


def _problem() -> Any:
    return kit._Kit("darts", {}).problem(kit._table().differentiable())


def _decided(sampler: str) -> float:
    """Largest relative difference of the expected cost at decided logits from the cost of the architecture."""
    problem, worst = _problem(), 0.0
    run = _run(problem, sampler=sampler)
    for arch in problem.space.sample(20, np.random.default_rng(0)):
        logits = [
            2000.0 * (torch.nn.functional.one_hot(torch.tensor(int(gene)), n).double() - 0.5)
            for gene, n in zip(arch, problem.space.choices, strict=True)
        ]
        (cost,) = run.costs(logits)
        wanted = kit._table().predict(arch[None])[0]
        worst = max(worst, abs(float(cost) - wanted) / wanted)
    return worst


def _zeroed(sampler: str, hardware: str) -> float:
    """Least change of the gradient, relative to it, where the loss, the weight, a cost or a bound is taken away."""
    other, problem = Priced(kit._table([3.0, 1.0, 0.5]).differentiable()), _problem()
    flat = CostTable((3, 3, 3), ((0,),), (np.full(3, 2.0),)).differentiable()
    whole = replace(problem, bound=0.8, floor=40.0, more=(other,))
    parts_of = {"sampler": sampler, "hardware": hardware}

    def slope(run: Run, entropy: float = 1.0) -> Any:
        source = torch.Generator().manual_seed(0)
        logits = [torch.randn(n, generator=source).requires_grad_() for n in run.problem.space.choices]
        first: Any = sum(torch.softmax(logit, 0)[0] for logit in logits)
        return torch.cat(torch.autograd.grad(run.total(entropy * first, logits), logits))

    light = _run(whole, **parts_of)
    light.weight = 0.0
    without = [
        slope(_run(whole, **parts_of), entropy=1e-6),
        slope(light),
        *(
            slope(_run(changed, **parts_of))
            for changed in (
                replace(whole, cost=flat), replace(whole, more=(Priced(flat),)),
                replace(whole, bound=None), replace(whole, floor=None),
            )
        ),
    ]  # fmt: skip
    got = slope(_run(whole, **parts_of))
    return min(float((got - changed).abs().max() / got.abs().max()) for changed in without)


def _paths(spec: str) -> dict[str, float]:
    """Largest difference of a path of the supernet from its module alone and its ONNX file, over the largest output."""
    space, found = nas.spaces.load(spec), {"module": 0.0, "onnx": 0.0}
    supernet = supernets.of(space, seed=0).eval()
    for arch in space.canonical(space.sample(NETWORKS, np.random.default_rng(3))):
        inputs = inputs_of(space.assembly(arch), 1)
        with torch.no_grad():
            path = supernet.forward_path(inputs, arch)
            network = supernet.subnet(arch).eval()
            alone = network(inputs)
        session = onnxruntime.InferenceSession(
            onnx_bytes(space, arch, module=network), providers=["CPUExecutionProvider"]
        )
        ran = session.run(None, {session.get_inputs()[0].name: inputs.numpy()})[0]
        size = max(float(path.abs().max()), 1e-6)
        found["module"] = max(found["module"], float((path - alone).abs().max()) / size)
        found["onnx"] = max(found["onnx"], float((path - torch.from_numpy(ran)).abs().max()) / size)
    return found
