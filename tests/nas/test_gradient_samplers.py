"""How logits become gates: each sampler against what its paper says, by enumeration, by hand or by many draws."""

from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.gradient import parts
from nas.gradient.parts.protocol import FAINT
from nas.gradient.parts.samplers import binary, dirichlet, gumbel, reinforce, reinmax, sigmoid
from nas.gradient.parts.samplers._noise import straight_through

pytestmark = pytest.mark.usefixtures("one_thread")

DENSE = {"softmax", "gumbel", "dirichlet", "sigmoid"}


def leaf(values):
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def jacobian(logit):
    """J(p) = diag(p) - p p', of the softmax."""
    p = torch.softmax(logit.detach(), dim=0)
    return torch.diag(p) - torch.outer(p, p)


def random_quadratic(rng, options):
    """f(x) = x'Ax/2 + b'x, and its values at the corners."""
    a, b = (torch.from_numpy(rng.standard_normal(shape)) for shape in ((options, options), (options,)))
    a = a + a.T
    return (lambda x: x @ a @ x / 2 + b @ x), a.diagonal() / 2 + b


# -- all of them


@pytest.mark.parametrize("name", parts.SAMPLERS.names())
def test_gates_are_drawn_from_the_generator_alone_and_gradients_reach_the_logits(name):
    logits = [leaf([0.3, -1.0, 0.5]), leaf([0.0, 2.0])]

    def once():
        sampler = parts.SAMPLERS.get(name)()
        gates = sampler.gates(logits, 0.7, generator(3))
        loss = sum((gate * torch.arange(1.0, len(gate) + 1)).sum() ** 2 for gate in gates)
        if sampler.credit is not None:
            sampler.credit(torch.tensor(1.0, dtype=torch.float64), gates, logits)  # what a loss is compared with
            loss = sampler.credit(loss.detach(), gates, logits)
        return gates, torch.autograd.grad(loss, logits)

    torch.manual_seed(1)
    gates, slopes = once()
    torch.manual_seed(2)
    again, more = once()
    assert all(torch.equal(one, other) for one, other in zip([*gates, *slopes], [*again, *more], strict=True))
    assert all(slope.abs().sum() > 0 for slope in slopes)
    assert all(slope.sum().abs() < 1e-9 for slope in slopes) or name in ("dirichlet", "sigmoid"), (
        "a constant is nothing"
    )
    for gate, logit in zip(gates, logits, strict=True):
        assert gate.shape == logit.shape and gate.dtype == logit.dtype
        gate = gate.detach()
        assert (gate >= 0).all() and (gate <= 1).all()
        if name != "sigmoid":
            assert float(gate.sum()) == pytest.approx(1.0)
        if name not in DENSE:
            assert float(gate.max()) == 1.0 and sorted(gate.tolist())[-2] <= FAINT


@pytest.mark.parametrize("name", parts.SAMPLERS.names())
def test_where_logits_are_far_apart_probabilities_and_gates_are_one_hot(name):
    sampler = parts.SAMPLERS.get(name)()
    logits = [leaf([-800.0, 900.0, -800.0]), leaf([900.0, -800.0])]
    for row, gate, option in zip(sampler.scores(logits), sampler.gates(logits, 1.0, generator()), (1, 0), strict=True):
        likely = torch.softmax(row.detach(), dim=0)
        assert int(likely.argmax()) == int(gate.argmax()) == option
        assert float(likely[option]) == pytest.approx(1.0, abs=1e-4)


@given(st.lists(st.floats(-4, 4, width=32), min_size=2, max_size=5), st.integers(0, 99))
def test_straight_through_is_one_thing_forward_and_another_backward(values, seed):
    logit = torch.tensor(values, requires_grad=True)
    drawn = torch.rand(len(values), generator=generator(seed))
    gate = straight_through(drawn, torch.softmax(logit, dim=0))
    assert torch.equal(gate, drawn), "to the last bit"
    probe = torch.arange(1.0, len(values) + 1)
    (got,) = torch.autograd.grad(gate @ probe, logit)
    assert torch.allclose(got, (jacobian(logit) @ probe).float(), atol=1e-6)


# -- each of them


def test_concrete_draws_choose_by_probability_and_cool_down_to_one_path():
    logits = [leaf([0.0, 1.0, -1.0])]
    drawn, source = [], generator()
    for _ in range(4000):
        (gate,) = gumbel.gates(logits, 0.3, source)
        drawn.append(gate.detach())
    shares = torch.bincount(torch.stack(drawn).argmax(dim=1), minlength=3) / 4000
    assert torch.allclose(shares, torch.softmax(logits[0].detach(), dim=0).float(), atol=0.04)
    (cold,), (warm,) = (gumbel.gates(logits, tau, generator(1)) for tau in (1e-3, 100.0))
    assert float(cold.max()) == pytest.approx(1.0) and float(warm.max()) < 0.4


@pytest.mark.parametrize("options", [2, 3, 5])
def test_reinmax_is_exact_in_expectation_on_quadratics_and_plain_straight_through_is_not(options):
    rng = np.random.default_rng(options)
    worst = {"reinmax": 0.0, "plain": 0.0}
    for _ in range(40):
        loss, corners = random_quadratic(rng, options)
        logit = leaf(rng.standard_normal(options).tolist())
        exact = jacobian(logit) @ corners
        mean = {name: torch.zeros_like(logit) for name in worst}
        for option, chance in enumerate(torch.softmax(logit.detach(), dim=0)):
            drawn = torch.full_like(logit, FAINT).detach()
            drawn[option] = 1.0
            gates = {
                "reinmax": reinmax.gate(logit, drawn, 1.0),
                "plain": straight_through(drawn, torch.softmax(logit, dim=0)),
            }
            for name, gate in gates.items():
                mean[name] += chance * torch.autograd.grad(loss(gate), logit)[0]
        for name, value in mean.items():
            worst[name] = max(worst[name], float((value - exact).abs().max()))
    assert worst["reinmax"] < 1e-10
    assert worst["plain"] > 0.1


def test_reinmax_draws_by_probability_and_has_the_formula_of_its_paper_at_any_temperature():
    logit, tau = leaf([0.5, -0.3, 1.2]), 1.7
    source = generator()
    counts = sum(reinmax.gates([logit], tau, source)[0].detach().round() for _ in range(3000))
    assert torch.allclose(counts / 3000, torch.softmax(logit.detach(), dim=0), atol=0.04)
    drawn, slope = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64), torch.tensor([1.0, -2.0, 0.7]).double()
    (got,) = torch.autograd.grad(reinmax.gate(logit, drawn, tau) @ slope, logit)
    between = (drawn + torch.softmax(logit.detach() / tau, dim=0)) / 2
    expected = (torch.diag(between) - torch.outer(between, between)) @ (2 * slope) - jacobian(logit) @ slope / 2
    assert torch.allclose(got, expected, atol=1e-12)


def test_dirichlet_draws_have_the_pathwise_gradients_of_their_moments():
    logit = leaf([0.4, -0.6, 1.5])
    slopes = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    beta = dirichlet.concentration(logit)
    total = beta.sum()
    moments = {
        "linear": (slopes * beta / total).sum(),
        "square": (slopes * beta * (beta + 1) / (total * (total + 1))).sum(),
    }
    exact = {name: torch.autograd.grad(value, logit, retain_graph=True)[0] for name, value in moments.items()}
    found, source = {name: [] for name in exact}, generator(5)
    for _ in range(3000):
        (gate,) = dirichlet.gates([logit], 1.0, source)
        found["linear"].append(torch.autograd.grad(gate @ slopes, logit, retain_graph=True)[0])
        found["square"].append(torch.autograd.grad(gate.square() @ slopes, logit)[0])
    for name, rows in found.items():
        sample = torch.stack(rows)
        error = 5 * sample.std(dim=0) / len(rows) ** 0.5
        assert ((sample.mean(dim=0) - exact[name]).abs() < error).all(), name


@pytest.mark.parametrize("level", [-60.0, -4.0, 0.0, 8.0])
def test_dirichlet_gradients_are_numbers_however_far_logits_are(level):
    logit = torch.tensor([level, 0.0, -level], requires_grad=True)
    source = generator(1)
    for _ in range(50):
        (gate,) = dirichlet.gates([logit], 1.0, source)
        (slope,) = torch.autograd.grad(gate @ torch.arange(3.0) + dirichlet.regulariser([logit]), logit)
        assert torch.isfinite(slope).all()


def test_the_divergence_of_drnas_is_that_of_the_formula_and_none_for_uniform_ones():
    logit = leaf([0.4, -0.6, 1.5])
    beta = dirichlet.concentration(logit)
    digamma = torch.digamma(beta) - torch.digamma(beta.sum())
    by_hand = torch.lgamma(beta.sum()) - torch.lgamma(beta).sum() - np.log(2.0) + ((beta - 1) * digamma).sum()
    assert float(dirichlet.regulariser([logit])) == pytest.approx(1e-3 * float(by_hand.detach()))
    flat = leaf([np.log(0.99)] * 3)
    assert float(dirichlet.regulariser([flat])) == pytest.approx(0.0, abs=1e-12)


def test_the_zero_one_term_of_fairdarts_is_least_where_gates_are_decided():
    decided, open_ = (float(sigmoid.regulariser([leaf([value, -value])])) for value in (30.0, 0.0))
    assert (decided, open_) == (pytest.approx(-2.5), pytest.approx(0.0))
    by_hand = -10 * np.mean([(1 / (1 + np.exp(-x)) - 0.5) ** 2 for x in (0.3, -1.0, 2.0)])
    assert float(sigmoid.regulariser([leaf([0.3, -1.0]), leaf([2.0])])) == pytest.approx(by_hand)


def test_options_of_fairdarts_do_not_compete():
    logit = leaf([0.3, -1.0])
    (gate,) = sigmoid.gates([logit], 1.0, None)
    (slope,) = torch.autograd.grad(gate[0], logit)
    assert slope[1] == 0 and slope[0] > 0


@pytest.mark.parametrize("pair", list(combinations(range(4), 2)))
def test_a_pair_of_paths_has_the_gradient_of_equation_4(pair):
    logit, slope = leaf([0.2, -0.5, 1.0, 0.7]), torch.tensor([1.0, 3.0, -2.0, 0.5], dtype=torch.float64)
    chosen = torch.tensor(pair)
    gate = binary.pair_gate(logit, chosen, generator(2))
    assert sorted(gate.tolist())[-2:] == [FAINT, 1.0] and (gate == 0).sum() == 2
    (got,) = torch.autograd.grad(gate @ slope, logit)
    shares = torch.softmax(logit.detach()[chosen], dim=0)
    expected = torch.zeros_like(got)
    for i, share in zip(pair, shares, strict=True):
        for j, other in zip(pair, shares, strict=True):
            expected[i] += slope[j] * other * (float(i == j) - share)
    assert torch.allclose(got, expected, atol=1e-12)


def test_options_that_were_not_drawn_keep_their_probabilities():
    sampler = binary.sampler()
    logits = [leaf([0.2, -0.5, 1.0, 0.7]), leaf([0.1, 0.4]), leaf([3.0])]
    gates = sampler.gates(logits, 1.0, generator(4))
    before = [logit.detach().clone() for logit in logits]
    with torch.no_grad():
        for logit in logits:
            logit.add_(torch.randn(logit.shape, generator=generator(6), dtype=logit.dtype))
    wanted = [logit.detach().clone() for logit in logits]
    sampler.settle(before, logits)
    for gate, old, new, moved in zip(gates, before, logits, wanted, strict=True):
        left_out = gate == 0
        assert torch.allclose(torch.softmax(new, 0)[left_out], torch.softmax(old, 0)[left_out], atol=1e-12)
        pair = gate.nonzero().flatten()
        assert torch.allclose(torch.softmax(new[pair], 0), torch.softmax(moved[pair], 0)), "the two as the step said"


@settings(max_examples=20)
@given(st.floats(-3, 3), st.integers(0, 50))
def test_reinforce_is_unbiased_whatever_the_mean_of_losses(mean, seed):
    rng = np.random.default_rng(seed)
    losses = torch.from_numpy(rng.standard_normal(4))
    logit = leaf(rng.standard_normal(4).tolist())
    total = torch.zeros_like(logit)
    for option, chance in enumerate(torch.softmax(logit.detach(), dim=0)):
        sampler = reinforce.sampler()
        gate = torch.nn.functional.one_hot(torch.tensor(option), 4).double()
        sampler.credit(torch.tensor(mean, dtype=torch.float64), [gate], [logit])
        credited = sampler.credit(losses[option], [gate], [logit])
        assert float(credited) == pytest.approx(float(losses[option])), "the value is the loss"
        total += chance * torch.autograd.grad(credited, logit)[0]
    assert torch.allclose(total, jacobian(logit) @ losses, atol=1e-10)


def test_a_loss_that_is_no_number_does_not_spoil_the_mean():
    sampler = reinforce.sampler()
    logit, gate = leaf([0.0, 1.0]), torch.tensor([1.0, 0.0]).double()
    sampler.credit(torch.tensor(2.0), [gate], [logit])
    assert torch.isnan(sampler.credit(torch.tensor(float("nan")), [gate], [logit]))
    (slope,) = torch.autograd.grad(sampler.credit(torch.tensor(3.0), [gate], [logit]), logit)
    expected = torch.autograd.grad(torch.log_softmax(logit, 0)[0], logit)[0]
    assert torch.allclose(slope, expected), "3 is 1 above 2"
