"""Entangled convolutions of nasbench201: one kernel, mixtures that are one convolution, gradients of their gates."""

import numpy as np
import pytest
import torch
from torch.nn import functional

import nas
from nas.spaces.nasbench201 import blocks
from nas.spaces.nasbench201.algebra import CONV1, CONV3, SKIP
from nas.spaces.nasbench201.entangled import convolutions
from nas.testing import check_shared_weights
from nas.weights import supernets

pytestmark = pytest.mark.usefixtures("one_thread")

NB201 = nas.spaces.load("nasbench201:cells=1,channels=4,resolution=8,classes=10")


@pytest.fixture(autouse=True)
def seeded():
    """A space's own supernet takes torch's random numbers."""
    torch.manual_seed(0)


def test_entangled_networks_keep_to_the_protocol():
    check_shared_weights(NB201, kind="entangled")
    check_shared_weights(NB201.restrict({"edge01": ["nor_conv_1x1", "nor_conv_3x3"]}), kind="entangled")


def test_the_small_kernel_is_the_centre_of_the_large_one():
    small, large = np.full(6, CONV1), np.full(6, CONV3)
    supernet = supernets.of(NB201, kind="entangled")
    one, three = (dict(supernet.subnet(arch).named_parameters()) for arch in (small, large))
    names = [n for n in one if n.startswith("blocks.s") and "c0e" in n and n.endswith(".1.weight")]
    assert len(names) == 18
    assert all(torch.equal(one[n], three[n][:, :, 1:2, 1:2]) for n in names)


def separate(edge, x, gates, train):
    """The mixture of an edge by two convolutions that are run one by one."""
    x = functional.relu(x)
    kernel, norm = edge.whole[1].weight, edge.whole[2]
    one = functional.conv2d(x, kernel[:, :, 1:2, 1:2])
    three = functional.conv2d(x, kernel, padding=1)
    total = gates.sum()
    mean = (gates[0] * one + gates[1] * three) / total
    statistics = edge.mixed_norm.running_mean.clone(), edge.mixed_norm.running_var.clone()
    return total * functional.batch_norm(mean, *statistics, norm.weight, norm.bias, train, 0.1, norm.eps)


@pytest.mark.parametrize("train", [True, False])
def test_one_convolution_of_mixed_kernels_is_the_sum_of_two(train):
    torch.manual_seed(0)
    edge = convolutions(4).double().train(train)
    with torch.no_grad():
        for tensor in (edge.whole[2].weight, edge.whole[2].bias, edge.mixed_norm.running_mean):
            tensor.copy_(torch.randn(4))
        edge.mixed_norm.running_var.copy_(torch.rand(4) + 0.5)
    x = torch.randn(3, 4, 6, 6, dtype=torch.float64, requires_grad=True)
    gates = torch.tensor([0.3, 0.1], dtype=torch.float64, requires_grad=True)
    leaves = (gates, x, edge.whole[1].weight, edge.whole[2].weight, edge.whole[2].bias)
    probe = torch.randn(3, 4, 6, 6, dtype=torch.float64)
    wanted = separate(edge, x, gates, train)
    found = edge.mixed(x, gates[0], gates[1])
    assert torch.allclose(found, wanted, atol=1e-9) and wanted.std() > 0.1
    gradients = [torch.autograd.grad((out * probe).sum(), leaves) for out in (found, wanted)]
    for one, other in zip(*gradients, strict=True):
        assert torch.allclose(one, other, atol=1e-9) and one.abs().max() > 1e-3
    single = convolutions(4).train(train)
    x, gates = x.detach().float(), gates.detach().float()
    assert torch.allclose(separate(single, x, gates, train), single.mixed(x, *gates), atol=1e-5)


@pytest.mark.parametrize(("kind", "runs"), [("shared", 2), ("entangled", 1)])
def test_mixed_edges_run_one_convolution(kind, runs, monkeypatch):
    supernet = supernets.of(NB201, kind=kind)
    calls, inner = [], functional.conv2d
    monkeypatch.setattr(functional, "conv2d", lambda *args, **named: calls.append(1) or inner(*args, **named))
    monkeypatch.setattr(torch.nn.modules.conv.F, "conv2d", functional.conv2d)
    gates = [torch.full((5,), 0.2) for _ in range(6)]
    supernet.forward_mixed(torch.zeros(1, 3, 8, 8), gates)
    outside = 1 + 2 * 3  # the stem, and three in each reduction
    assert len(calls) == outside + runs * 3 * 6


@pytest.mark.parametrize("code", [CONV1, CONV3])
def test_a_gate_of_a_sampled_path_has_a_gradient_in_training(code):
    """What batch norm undoes of a convolution's scale is no gradient: so gates weigh what norms give."""
    supernet = supernets.of(NB201, kind="entangled").train()
    images = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    for edge in range(6):  # all others are skips: behind a convolution there is none that would undo it in its turn
        path = [SKIP] * edge + [code] + [SKIP] * (5 - edge)
        gates = [functional.one_hot(torch.tensor(gene), 5).float().requires_grad_() for gene in path]
        supernet.forward_mixed(images, gates)[:, 0].sum().backward()
        assert gates[edge].grad[code].abs() > 1e-3


def test_gates_of_mixed_edges_have_the_gradient_of_a_finite_difference():
    supernet = supernets.of(NB201, kind="entangled").double().eval()
    images = torch.randn(2, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    gates = [torch.tensor([0.1, 0.2, 0.3, 0.25, 0.15], dtype=torch.float64).requires_grad_() for _ in range(6)]
    supernet.forward_mixed(images, gates).sum().backward()
    for gene, option in ((0, CONV1), (0, CONV3), (4, CONV1), (5, 1)):
        values = []
        for step in (1e-6, -1e-6):
            moved = [gate.detach().clone() for gate in gates]
            moved[gene][option] += step
            values.append(float(supernet.forward_mixed(images, moved).detach().sum()))
        assert float(gates[gene].grad[option]) == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-4, abs=1e-7)


def test_only_what_has_a_gate_is_run():
    supernet = supernets.of(NB201, kind="entangled").train()
    gates = [functional.one_hot(torch.tensor(CONV1), 5).float() for _ in range(6)]
    supernet.forward_mixed(torch.randn(2, 3, 8, 8), gates)
    counts = {n.split(".")[-2]: int(t) for n, t in supernet.state_dict().items() if "e0." in n and "tracked" in n}
    assert counts == {"2": 0, "centre_norm": 1, "mixed_norm": 0}


def test_an_operator_alone_is_that_of_a_network():
    edge = convolutions(4).eval()
    x = torch.randn(2, 4, 5, 5, generator=torch.Generator().manual_seed(0))
    for code in (CONV1, CONV3):
        alone = blocks.operator(code, 4).eval()
        alone.load_state_dict(edge.state_alone(code))
        assert torch.allclose(edge(x, code), alone(x), atol=1e-6)
