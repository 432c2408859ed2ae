"""Parts besides samplers and steps: costs in the loss, bounds, perturbations, stops, channels that pass by."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

import nas
from device_profiles.errors import UsageError
from nas.gradient.machine.channels import pass_by, sampled
from nas.gradient.parts import BOUNDS, HARDWARE, PERTURBATIONS, STOPS
from nas.gradient.parts.perturbations._near import brought_back
from nas.gradient.parts.protocol import Reference, Watch
from nas.gradient.parts.stops.curvature import dominant_eigenvalue
from nas.gradient.protocol import Priced
from nas.weights import supernets

pytestmark = pytest.mark.usefixtures("one_thread")

SPACE = nas.spaces.load("nasbench201:cells=1,channels=4,resolution=8")


def double(*values):
    return torch.tensor(values, dtype=torch.float64)


def loss_of(name, entropy, costs, references, weight):
    factor, terms = HARDWARE.get(name)(costs, references, weight)
    assert len(terms) == len(costs)
    return factor * entropy + sum(terms)


# -- costs in the loss


def test_each_way_is_its_formula():
    costs, references = [double(3.0)[0], double(50.0)[0]], [Reference(1.5, 2.5), Reference(10.0, 60.0, bound=40.0)]
    got = {name: float(loss_of(name, 2.0, costs, references, 0.6)) for name in HARDWARE.names()}
    assert got["weighted-sum"] == pytest.approx(2.0 + 0.3 * (1.5 / 1.0 + 40.0 / 50.0))
    assert got["ratio"] == pytest.approx(2.0 + 0.3 * ((3.0 - 2.5) / 2.5 + (50.0 - 40.0) / 40.0))
    assert got["log-power"] == pytest.approx(2.0 * 0.2 * (1 + np.log(2)) ** 0.3 * (1 + np.log(5)) ** 0.3)
    one = float(loss_of("log-power", 2.0, costs[:1], references[:1], 0.6))
    assert one == pytest.approx(0.2 * 2.0 * np.log(np.e * 3.0 / 1.5) ** 0.6), "FBNet's, with a cost in lowest ones"


@pytest.mark.parametrize("name", HARDWARE.names())
def test_costs_pull_by_their_weight_and_the_unit_does_not_matter(name):
    def pull(weight, unit=1.0):
        cost = (2.0 * torch.ones((), dtype=torch.float64)).requires_grad_()
        reference = Reference(0.8 * unit, 1.9 * unit)
        (slope,) = torch.autograd.grad(loss_of(name, torch.tensor(1.3), [cost * unit], [reference], weight), cost)
        return float(slope)

    assert pull(0.0) == 0.0
    assert 0 < pull(0.1) < pull(0.4)
    assert pull(0.4) == pytest.approx(pull(0.4, unit=1e-6)), "seconds or microseconds"


def test_a_power_of_a_logarithm_stays_a_number_below_the_lowest_sample():
    cost = double(0.01)[0].requires_grad_()
    loss = loss_of("log-power", torch.tensor(1.0), [cost], [Reference(1.0, 2.0)], 0.6)
    assert torch.isfinite(loss) and loss > 0


# -- bounds


def descended(name, steepness, *, bound=None, floor=None, target=3.0, steps=600):
    """Where `steepness * (x - target)^2` is least within bounds on x, by Adam with a rate that falls; and the note."""
    x = double(0.5 * target)[0].requires_grad_()
    bounds = BOUNDS.get(name)((Priced(None, bound, floor),))
    optimiser = torch.optim.Adam([x], 0.1)
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = 0.1 * (1 - step / steps)
        optimiser.zero_grad()
        (limit,) = bounds.terms([x])
        (steepness * (x - target) ** 2 + (0.0 if limit is None else limit)).backward()
        optimiser.step()
        bounds.settle([x.detach()])
    return x.item(), bounds.note()


@pytest.mark.parametrize(("steepness", "steps"), [(1.0, 600), (30.0, 1600)])
def test_the_lagrangian_ends_at_the_bound_with_the_multiplier_of_the_theory(steepness, steps):
    x, note = descended("lagrangian", steepness, bound=2.0, steps=steps)
    assert x == pytest.approx(2.0, abs=0.02)
    # At the solution the slope of the loss is that of the multiplier's term: 2 s (x - 3) + m / 2 = 0.
    assert note.startswith("multiplier ") and float(note.split()[1]) == pytest.approx(4 * steepness, rel=0.1)


def test_a_lower_bound_is_kept_likewise_and_one_that_does_not_bind_has_no_price():
    x, note = descended("lagrangian", 1.0, floor=4.0, target=3.0, steps=900)
    assert x == pytest.approx(4.0, abs=0.02)
    assert float(note.split()[1]) == pytest.approx(8.0, rel=0.1)
    x, note = descended("lagrangian", 1.0, bound=5.0, floor=1.0)
    assert x == pytest.approx(3.0, abs=0.02) and note == "multipliers 0, 0"


def test_a_penalty_gives_way_to_what_is_steeper():
    gentle, steep = (descended("penalty", steepness, bound=2.0)[0] for steepness in (1.0, 30.0))
    assert gentle == pytest.approx(2.0, abs=0.05)
    assert steep > 2.5


@pytest.mark.parametrize("name", BOUNDS.names())
def test_costs_without_bounds_have_no_terms(name):
    bounds = BOUNDS.get(name)((Priced(None), Priced(None, 1.0), Priced(None, 2.0, 1.0)))
    costs = [double(value)[0].requires_grad_() for value in (5.0, 5.0, 0.5)]
    first, second, third = bounds.terms(costs)
    assert first is None
    assert torch.autograd.grad(second, costs[1])[0] > 0
    assert torch.autograd.grad(third, costs[2])[0] < 0, "below its lower bound"


# -- perturbations


GATES = [torch.tensor([0.7, 0.2, 0.1]), torch.tensor([0.5, 0.5])]


def linear(near):
    return sum((gate * torch.arange(1.0, len(gate) + 1)).sum() for gate in near)


@pytest.mark.parametrize("name", PERTURBATIONS.names())
def test_perturbed_gates_are_gates_with_the_sum_that_they_had(name):
    for gates in (GATES, [2 * gate / 3 for gate in GATES]):
        near = PERTURBATIONS.get(name)(gates, linear, 0.3, torch.Generator().manual_seed(0))
        for gate, one in zip(gates, near, strict=True):
            assert not one.requires_grad and (one >= 0).all()
            assert float(one.sum()) == pytest.approx(float(gate.sum()), abs=1e-6)
            assert torch.equal(gate, one) == (name == "none")


def test_adversaries_are_worse_than_chance_and_small_radii_change_little():
    def loss(name, radius, seed=0):
        return float(linear(PERTURBATIONS.get(name)(GATES, linear, radius, torch.Generator().manual_seed(seed))))

    chance = [loss("random", 0.2, seed) for seed in range(30)]
    assert loss("adversarial", 0.2) >= max(chance) > float(linear(GATES)) > min(chance)
    assert loss("adversarial", 1e-4) == pytest.approx(float(linear(GATES)), abs=1e-3)


def test_gates_that_were_moved_to_nothing_stay():
    assert torch.equal(
        brought_back([torch.tensor([0.1, 0.0])], [torch.tensor([-1.0, -1.0])])[0], torch.tensor([0.1, 0.0])
    )


# -- stops


def watch(probabilities=(), logits=(), valid_loss=None, alignment=lambda: 1.0):
    return Watch([np.array(row) for row in probabilities], list(logits), valid_loss, alignment)


@pytest.mark.parametrize("seed", range(4))
def test_the_dominant_eigenvalue_is_that_of_the_whole_hessian(seed):
    rng = np.random.default_rng(seed)
    basis, _ = np.linalg.qr(rng.standard_normal((6, 6)))
    values = np.array([5.0, 2.0, 1.0, -1.0, 0.5, 0.0]) * (-1 if seed % 2 else 1)
    hessian = torch.from_numpy(basis @ np.diag(values) @ basis.T)
    logits = [torch.from_numpy(rng.standard_normal(n)).requires_grad_() for n in (4, 2)]
    alpha = torch.cat(logits)
    assert dominant_eigenvalue(alpha @ hessian @ alpha / 2, logits) == pytest.approx(values[0], rel=1e-2)


def test_a_loss_without_curvature_has_none():
    logits = [double(1.0, 2.0).requires_grad_()]
    assert dominant_eigenvalue(logits[0].sum(), logits) == 0.0


def test_a_run_ends_where_the_loss_becomes_sharp_and_goes_back():
    def ends(sharpness):
        look = STOPS.get("curvature")(SPACE)
        logits = [double(0.1, 0.2)]
        found = [look(watch(logits=logits, valid_loss=lambda rows, s=s: s * rows[0].square().sum())) for s in sharpness]
        return next(((place, halt.back) for place, halt in enumerate(found) if halt), None)

    assert ends([1.0] * 20) is None
    assert ends(np.linspace(2.0, 1.0, 20)) is None
    assert ends([1.0] * 10 + [4.0] * 10) == (10, 5), "the first mean of five that is more than a third larger"


def test_too_many_skips_end_a_run_and_chance_does_not():
    look = STOPS.get("skips")(SPACE)
    skip, other, even = ([0.1, 0.6, 0.1, 0.1, 0.1], [0.1, 0.1, 0.6, 0.1, 0.1], [0.19, 0.21, 0.2, 0.2, 0.2])
    assert look(watch([skip, *[other] * 5])) is None
    assert look(watch([even] * 6)) is None
    halt = look(watch([skip, skip, *[other] * 4]))
    assert (halt.reason, halt.back) == ("2 of 6 are skips", 1)
    with pytest.raises(UsageError, match="no option that is a skip"):
        STOPS.get("skips")(SPACE.restrict({f"edge{e}": ["nor_conv_1x1"] for e in ("01", "02", "12", "03", "13", "23")}))


def test_a_decided_architecture_ends_a_run():
    look = STOPS.get("entropy")(SPACE)
    assert look(watch([[0.2] * 5, [1.0]])) is None
    assert look(watch([[0.999, 0.001, 0.0, 0.0, 0.0], [1.0]])) is not None


def test_weights_that_only_fit_what_trains_end_a_run():
    look = STOPS.get("matching")(SPACE)
    cosines = [0.5] * 8 + [0.1] * 8
    found = [look(watch(alignment=lambda c=c: c)) for c in cosines]
    assert [bool(halt) for halt in found].index(True) == 12 and found[12].back == 5


# -- channels


def test_a_share_of_the_channels_is_new_and_each_is_drawn():
    bypass = sampled(0.25, torch.Generator().manual_seed(0))
    new = torch.zeros(8)
    for _ in range(200):
        mixed = bypass(torch.zeros(2, 8, 3, 3), torch.ones(2, 8, 3, 3))
        assert ((mixed == 1).all(dim=(0, 2, 3)) | (mixed == 0).all(dim=(0, 2, 3))).all()
        assert mixed[0, :, 0, 0].sum() == 2
        new += mixed[0, :, 0, 0]
    assert (new > 20).all()
    assert bypass(torch.zeros(2, 5, 4), torch.ones(2, 5, 4)).sum(dim=-1).unique().tolist() == [1.0], (
        "of tokens the last"
    )


@pytest.mark.parametrize(
    "spec", ["nasbench201:cells=1,channels=4,resolution=8", "chain:layers=1,width=10,resolution=8"], ids=["cell", "row"]
)
def test_channels_pass_by_what_a_supernet_mixes(spec):
    space = nas.spaces.load(spec)
    torch.manual_seed(0)
    supernet = supernets.of(space).eval()
    inputs, gates = torch.randn(2, *space.input_shape[1:]), [torch.ones(n) / n for n in space.choices]
    arch = np.array([n - 1 for n in space.choices])
    plain, path = supernet.forward_mixed(inputs, gates), supernet.forward_path(inputs, arch)
    outputs = {}
    for share in (1.0, 0.25):
        pass_by(supernet, share, torch.Generator().manual_seed(1))
        outputs[share] = supernet.forward_mixed(inputs, gates)
        assert torch.equal(supernet.forward_path(inputs, arch), path), "a network alone is as it was"
    assert torch.equal(outputs[1.0], plain)
    assert not torch.allclose(outputs[0.25], plain)
    narrowed = space.restrict({0: [0, 1]})
    pass_by(supernets.of(narrowed), 0.5, torch.Generator())


def test_channels_cannot_pass_by_what_reads_several_places_or_a_supernet_of_others():
    with pytest.raises(UsageError, match=r"'darts'.*reads several"):
        pass_by(supernets.of(nas.spaces.load("darts:layers=3,channels=4,resolution=8")), 0.5, None)
    with pytest.raises(UsageError, match="SimpleNamespace"):
        pass_by(SimpleNamespace(), 0.5, None)
