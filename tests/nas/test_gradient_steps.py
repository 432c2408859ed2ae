"""Through a step of the weights: on a quadratic by hand, on networks by moving logits and training on."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

import nas
from nas.gradient.parts import STEPS
from nas.gradient.parts.probing import undisturbed
from nas.gradient.parts.protocol import Turn
from nas.weights import supernets

pytestmark = pytest.mark.usefixtures("one_thread")


def descent(supernet, rate, momentum=0.9, decay=3e-3):
    return torch.optim.SGD(supernet.parameters(), rate, momentum, weight_decay=decay)


def gradient_of(name, supernet, weights, logits, train_loss, valid_loss):
    """What a step gives, `(options,)` each, and whether the supernet was left alone."""
    before = copy.deepcopy(supernet.state_dict())
    with undisturbed(supernet):
        STEPS.get(name)(Turn(logits, supernet, weights, train_loss, valid_loss))
    after = supernet.state_dict()
    assert all(torch.equal(value, after[key]) for key, value in before.items()), "weights and statistics are restored"
    assert all(parameter.grad is None for parameter in supernet.parameters())
    return torch.cat([logit.grad for logit in logits])


def error(got, exact):
    return float((got - exact).norm() / exact.norm())


# -- a quadratic


class Quadratic(nn.Module):
    """Losses w'Aw/2 + w'Ba + c'a of weights w and logits a, told apart by their matrices."""

    def __init__(self, rng):
        super().__init__()
        self.w = nn.Parameter(torch.from_numpy(rng.standard_normal(4)))

    def forward_mixed(self, matrices, gates):
        a, b, c = matrices
        alpha = torch.cat(gates)
        return self.w @ a @ self.w / 2 + self.w @ b @ alpha + c @ alpha


@pytest.fixture
def quadratic():
    rng = np.random.default_rng(0)
    supernet = Quadratic(rng)
    train, valid = (
        tuple(torch.from_numpy(rng.standard_normal(shape)) for shape in ((4, 4), (4, 3), (3,))) for _ in range(2)
    )
    train, valid = ((a @ a.T, b, c) for a, b, c in (train, valid))
    logits = [torch.from_numpy(rng.standard_normal(n)).requires_grad_() for n in (2, 1)]
    losses = [lambda forward, m=matrices: forward(m, logits) for matrices in (train, valid)]
    return supernet, train, valid, logits, losses


@pytest.mark.parametrize(("name", "tolerance"), [("second", 1e-3), ("unrolled", 1e-10)])
@pytest.mark.parametrize("stepped", [False, True], ids=["fresh", "with momentum"])
def test_the_gradient_of_a_quadratic_is_that_of_its_formula(quadratic, name, tolerance, stepped):
    supernet, (a, b, _), (va, vb, vc), logits, losses = quadratic
    weights = descent(supernet, 0.05)
    if stepped:
        losses[0](supernet.forward_mixed).backward()
        weights.step()
        weights.zero_grad()
        for logit in logits:
            logit.grad = None
    w, alpha = supernet.w.detach(), torch.cat(logits).detach()
    buffer = weights.state[supernet.w]["momentum_buffer"] if stepped else torch.zeros(4).double()
    new = w - 0.05 * (0.9 * buffer + a @ w + b @ alpha + 3e-3 * w)
    exact = vb.T @ new + vc - 0.05 * b.T @ (va @ new + vb @ alpha)
    got = gradient_of(name, supernet, weights, logits, *losses)
    assert error(got, exact) < tolerance
    assert error(vb.T @ w + vc, exact) > 0.01, "the first order is another one"


@pytest.mark.parametrize("name", ["second", "unrolled"])
def test_without_a_step_the_second_order_is_the_first(quadratic, name):
    supernet, _, _, logits, losses = quadratic
    first, other = (gradient_of(one, supernet, descent(supernet, 0.0), logits, *losses) for one in ("first", name))
    assert torch.allclose(first, other, atol=1e-12)


def test_where_no_weight_matters_the_second_order_is_the_first(quadratic):
    supernet, _, valid, logits, losses = quadratic
    flat = (torch.zeros(4, 4).double(), torch.zeros(4, 3).double(), valid[2])
    given = (losses[0], lambda forward: forward(flat, logits))
    got = gradient_of("second", supernet, descent(supernet, 0.05), logits, *given)
    assert torch.allclose(got, valid[2]), "nothing is divided by a gradient of 0"


# -- networks


def by_training_on(supernet, weights, logits, train_loss, valid_loss, distance=1e-5):
    """The exact gradient: each logit is moved, torch's own SGD takes the step, and the loss is looked at."""

    def after(place, gene, move):
        with torch.no_grad():
            logits[place][gene] += move
        mine = copy.deepcopy(supernet)
        optimiser = descent(mine, weights.param_groups[0]["lr"])
        optimiser.load_state_dict(copy.deepcopy(weights.state_dict()))
        train_loss(mine.forward_mixed).backward()
        optimiser.step()
        value = valid_loss(mine.forward_mixed).item()
        with torch.no_grad():
            logits[place][gene] -= move
        return value

    slopes = [
        (after(place, gene, distance) - after(place, gene, -distance)) / (2 * distance)
        for place, logit in enumerate(logits)
        for gene in range(len(logit))
    ]
    for logit in logits:
        logit.grad = None
    return torch.tensor(slopes, dtype=torch.float64)


def network(spec, smooth):
    torch.manual_seed(0)
    space = nas.spaces.load(spec)
    supernet = supernets.of(space).train()
    supernet.forward_mixed(torch.randn(2, *space.input_shape[1:]), [torch.ones(n) / n for n in space.choices])
    supernet.double()  # with the blocks that were made when they were first run
    if smooth:
        for module in [*supernet.modules()]:
            for name, child in module.named_children():
                if isinstance(child, (nn.ReLU, nn.ReLU6)):
                    setattr(module, name, nn.Softplus())
    source = torch.Generator().manual_seed(1)
    logits = [torch.randn(n, generator=source, dtype=torch.float64).requires_grad_() for n in space.choices]
    shape = (12, *space.input_shape[1:])
    batches = [
        (torch.randn(shape, generator=source, dtype=torch.float64), torch.randint(0, 10, (12,), generator=source))
        for _ in range(2)
    ]

    def loss(batch):
        def of(forward):
            gates = [torch.softmax(logit, dim=0) for logit in logits]
            return nn.functional.cross_entropy(forward(batch[0], gates), batch[1])

        return of

    losses = [loss(batch) for batch in batches]
    weights = descent(supernet, 0.1)
    losses[0](supernet.forward_mixed).backward()
    weights.step()
    weights.zero_grad()
    for logit in logits:
        logit.grad = None
    return supernet, weights, logits, *losses


@pytest.mark.slow
@pytest.mark.parametrize("smooth", [True, False], ids=["smooth", "with kinks"])
@pytest.mark.parametrize(
    ("spec", "tolerance"),
    [
        (
            "nasbench201:cells=1,channels=2,resolution=4@edge01=skip_connect+nor_conv_3x3@edge02=none+nor_conv_1x1"
            "@edge12=skip_connect@edge03=nor_conv_1x1+avg_pool_3x3@edge13=skip_connect@edge23=none+skip_connect",
            1e-3,
        ),
        (
            "chain:layers=1,width=10,resolution=8,classes=10@layer1=k3e1+k5e1"
            + "".join(f"@layer{layer}=skip" for layer in range(2, 8)),
            1e-2,
        ),
    ],
    ids=["cell", "cut weights"],
)
def test_the_gradient_of_a_network_is_that_of_training_on(spec, tolerance, smooth):
    turn = network(spec, smooth)
    exact = by_training_on(*turn)
    assert error(gradient_of("unrolled", *turn), exact) < 1e-5
    if smooth:  # differences see kinks of a gradient, which a derivative does not
        assert error(gradient_of("second", *turn), exact) < tolerance
    assert error(gradient_of("first", *turn), exact) > 5e-3, "the first order is another one"
