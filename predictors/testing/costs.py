"""The conformance kit for differentiable costs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from device_profiles.errors import UsageError
from predictors.prediction import Prediction
from predictors.testing.files import require

if TYPE_CHECKING:
    from torch import Tensor

    from predictors.differentiable.protocol import DifferentiableCost

Archs = NDArray[np.int64]
Floats = NDArray[np.float64]

#: Architectures that are compared, points that are differentiated, and the error that is allowed at one-hot.
_ROWS = 64
_POINTS = 2
_TOLERANCE = 1e-4
#: A gene matters if changing it alone moves the discrete prediction by this share anywhere that was looked.
_MATTERS = 1e-3
#: The least share of the cost that the gradient of a gene that matters has across its options.
_GRADIENT = 1e-9


def check_differentiable_cost(
    cost: DifferentiableCost, discrete: Callable[[Archs], Floats | Prediction], *, seed: int = 0
) -> None:
    """Hold a cost to `predictors.differentiable.protocol`.

    Args:
        cost: what is checked; probabilities that it is given add up to 1, but for the small steps of `gradcheck`.
        discrete: the prediction that it must equal at one-hot probabilities, such as the `predict` of the same model:
            from `(n, d)` architectures to `(n,)` values, or to a `Prediction`.
        seed: of architectures and probabilities.

    Raises:
        AssertionError: it breaks the protocol; the message says how.
    """
    rng = np.random.default_rng(seed)
    choices = cost.choices
    require(
        isinstance(choices, tuple) and choices and all(isinstance(n, int) and n > 0 for n in choices),
        "choices",
        f"it must be a tuple with the options of each gene, got {choices!r}",
    )
    archs = np.stack([rng.integers(0, options, _ROWS) for options in choices], axis=1).astype(np.int64)
    expected = _values(discrete, archs)
    _check_corners(cost, archs, expected)
    _check_shapes(cost, rng)
    _check_gradients(cost, discrete, archs[:16], rng)
    _check_refusals(cost, rng)


def _values(discrete: Callable[[Archs], Floats | Prediction], archs: Archs) -> Floats:
    found = discrete(archs)
    values = np.asarray(found.value if isinstance(found, Prediction) else found)
    require(
        values.shape == (len(archs),) and np.isfinite(values).all() and (values > 0).all(),
        "discrete",
        f"the discrete prediction must be ({len(archs)},), finite and above 0, got shape {values.shape}",
    )
    return values


def _one_hot(choices: tuple[int, ...], archs: Archs, dtype: Any) -> list[Tensor]:
    import torch

    columns = torch.from_numpy(np.ascontiguousarray(archs.T))
    return [torch.nn.functional.one_hot(c, n).to(dtype) for c, n in zip(columns, choices, strict=True)]


def _inside(choices: tuple[int, ...], lead: tuple[int, ...], rng: np.random.Generator, dtype: Any) -> list[Tensor]:
    """Random probabilities away from the corners, `(*lead, options)` for each gene."""
    import torch

    return [torch.from_numpy(rng.dirichlet(np.full(n, 2.0), size=lead)).to(dtype) for n in choices]


def _called(cost: DifferentiableCost, probabilities: Sequence[Tensor], rule: str) -> Tensor:
    """What the cost says, of the right shape and precision, above 0."""
    import torch

    lead, dtype = probabilities[0].shape[:-1], probabilities[0].dtype
    found = cost(probabilities)
    require(isinstance(found, torch.Tensor), rule, f"it must return a tensor, got {type(found).__name__}")
    require(found.shape == lead, rule, f"for leading shape {tuple(lead)} it returns shape {tuple(found.shape)}")
    require(found.dtype == dtype, rule, f"for {dtype} it returns {found.dtype}")
    low = float(found.detach().min())
    require(
        bool(torch.isfinite(found).all()) and low > 0, rule, f"costs must be finite and above 0, the lowest is {low}"
    )
    return found


def _check_corners(cost: DifferentiableCost, archs: Archs, expected: Floats) -> None:
    import torch

    for dtype in (torch.float64, torch.float32):
        found = _called(cost, _one_hot(cost.choices, archs, dtype), "one-hot").detach().double().numpy()
        off = np.abs(found - expected) / expected
        worst = int(np.argmax(off))
        require(
            off[worst] <= _TOLERANCE,
            "one-hot",
            f"in {dtype} architecture {archs[worst].tolist()} costs {found[worst]}, the discrete prediction is "
            f"{expected[worst]}: {off[worst]:.1e} apart, {_TOLERANCE} is allowed",
        )


def _check_shapes(cost: DifferentiableCost, rng: np.random.Generator) -> None:
    """Leading dimensions are a batch: each row has its own answer, whatever it is asked with."""
    import torch

    for dtype in (torch.float64, torch.float32):
        probabilities = _inside(cost.choices, (3, 2), rng, dtype)
        both = _called(cost, probabilities, "shapes")
        for row in range(3):
            one = _called(cost, [p[row] for p in probabilities], "shapes")
            alone = _called(cost, [p[row, 0] for p in probabilities], "shapes")
            require(
                torch.allclose(one, both[row], rtol=1e-5, atol=0) and torch.allclose(alone, one[0], rtol=1e-5, atol=0),
                "shapes",
                f"a row alone costs {float(alone)}, and {float(both[row, 0])} among others",
            )


def _check_gradients(
    cost: DifferentiableCost,
    discrete: Callable[[Archs], Floats | Prediction],
    archs: Archs,
    rng: np.random.Generator,
) -> None:
    import torch

    for _ in range(_POINTS):
        points = [p.requires_grad_() for p in _inside(cost.choices, (), rng, torch.float64)]
        found = cost(points)
        require(found.requires_grad, "gradient", "the result does not depend on the probabilities: it has no gradient")
        try:
            torch.autograd.gradcheck(lambda *given: cost(given), points)
        except RuntimeError as error:
            raise AssertionError(f"gradient: gradcheck fails in double precision: {error}") from error
    points = [p.requires_grad_() for p in _inside(cost.choices, (8,), rng, torch.float64)]
    value = cost(points)
    gradients = torch.autograd.grad(value.sum(), points, allow_unused=True)
    for gene, gradient in enumerate(gradients):
        if not _matters(discrete, archs, gene, cost.choices[gene]):
            continue
        across = 0.0 if gradient is None else float((gradient - gradient.mean(dim=-1, keepdim=True)).abs().max())
        require(
            across > _GRADIENT * float(value.detach().mean()),
            "gradient",
            f"gene {gene} changes the discrete prediction, and the gradient does not tell its options apart",
        )


def _matters(discrete: Callable[[Archs], Floats | Prediction], archs: Archs, gene: int, options: int) -> bool:
    before = _values(discrete, archs)
    for option in range(options):
        changed = archs.copy()
        changed[:, gene] = option
        if (np.abs(_values(discrete, changed) - before) > _MATTERS * before).any():
            return True
    return False


def _check_refusals(cost: DifferentiableCost, rng: np.random.Generator) -> None:
    import torch

    right = cost.choices
    wrong = {
        "a gene too few": right[:-1],
        "a gene too many": (*right, 2),
        "an option too many": (right[0] + 1, *right[1:]),
        "an option too few in the last gene": (*right[:-1], right[-1] - 1),
        "no gene": (),
    }
    for how, sizes in wrong.items():
        if any(n < 1 for n in sizes):
            continue
        try:
            cost(_inside(sizes, (), rng, torch.float64))
        except UsageError:
            continue
        except Exception as error:
            raise AssertionError(
                f"refusals: {how} must raise UsageError, it raises {type(error).__name__}: {error}"
            ) from error
        raise AssertionError(f"refusals: {how} must raise UsageError, it is answered")
