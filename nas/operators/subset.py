"""A subset of candidates that fills the gaps of a front."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from device_profiles.errors import UsageError
from nas.arrays import Floats

Ints = NDArray[np.int64]
Masks = NDArray[np.bool_]


def unevenness(values: Floats) -> Floats:
    """Standard deviation of the gaps between sorted values of each row, `(k, n)` to `(k,)`; 0 for even gaps or none."""
    if values.shape[1] < 2:
        return np.zeros(len(values))
    return np.asarray(np.diff(np.sort(values, axis=1), axis=1).std(axis=1))


def choose(
    candidates: Floats,
    front: Floats,
    count: int,
    rng: np.random.Generator,
    *,
    axes: Sequence[int] | None = None,
    population: int = 100,
    generations: int = 60,
) -> Ints:
    """The `count` candidates that make the union with the front most even, by a genetic algorithm.

    A member is a mask of exactly `count` bits. Its cost is the standard deviation of the gaps along one objective of
    the union, or the mean of those along several, each in the range of all points. A child keeps the bits that its
    parents share and draws the others among those that one of them has; a mutation moves one bit.

    Source: Lu et al., "NSGANetV2: Evolutionary multi-objective surrogate-assisted neural architecture search", ECCV
        2020, section 3.3, along the second of two objectives. For other numbers of objectives: all of them (ours).

    Args:
        candidates: `(n, m)`.
        front: `(k, m)`; may be empty.
        count: how many to choose, at least 0.
        rng: randomness.
        axes: objectives whose gaps count; None for the second of two, and all otherwise.
        population: of masks.
        generations: of masks.

    Returns:
        `(min(count, n),)` indices, ascending.

    Raises:
        UsageError: the shapes do not fit, or a number is too small.
    """
    points, total = np.concatenate([candidates, front]), len(candidates)
    if count < 0 or population < 2 or generations < 0:
        raise UsageError(
            "a subset needs count >= 0, population >= 2 and generations >= 0, "
            f"got {count}, {population} and {generations}"
        )
    if count == 0 or count >= total:
        return np.arange(min(count, total))
    objectives = points.shape[1]
    columns = list(axes) if axes is not None else ([1] if objectives == 2 else list(range(objectives)))
    low, span = points.min(axis=0), np.ptp(points, axis=0)
    points = (points - low) / np.where(span > 0, span, 1.0)

    def costs(masks: Masks) -> Floats:
        rows = np.nonzero(masks)[1].reshape(len(masks), count)
        fixed = np.broadcast_to(points[total:].T, (len(masks), objectives, len(front)))
        parts = [unevenness(np.concatenate([points[rows, column], fixed[:, column]], axis=1)) for column in columns]
        return np.asarray(np.mean(parts, axis=0))

    masks = _top(rng.random((population, total)), count)
    values = costs(masks)
    for _ in range(generations):
        pairs = rng.integers(0, len(masks), size=(2, 2, population))
        parents = np.where(values[pairs[:, 0]] <= values[pairs[:, 1]], pairs[:, 0], pairs[:, 1])
        children = _moved(_crossed(masks[parents[0]], masks[parents[1]], count, rng), rng)
        everyone, first = np.unique(np.concatenate([masks, children]), axis=0, return_index=True)
        worth = np.concatenate([values, costs(children)])[first]
        best = np.argsort(worth, kind="stable")[:population]
        masks, values = everyone[best], worth[best]
    return np.flatnonzero(masks[0] if generations else masks[np.argmin(values)])


def _top(keys: Floats, count: int) -> Masks:
    """Masks of the `count` largest keys of each row."""
    masks = np.zeros(keys.shape, dtype=np.bool_)
    np.put_along_axis(masks, np.argpartition(-keys, count - 1, axis=1)[:, :count], True, axis=1)
    return masks


def _crossed(mothers: Masks, fathers: Masks, count: int, rng: np.random.Generator) -> Masks:
    """Bits of both parents, and of either as many as are missing."""
    return _top((mothers & fathers) + (mothers | fathers) + rng.random(mothers.shape), count)


def _moved(masks: Masks, rng: np.random.Generator) -> Masks:
    """One bit of each row goes elsewhere; half of the rows stay."""
    keys = rng.random(masks.shape)
    off, on = np.argmax(keys * masks, axis=1), np.argmax(keys * ~masks, axis=1)
    moved = masks.copy()
    rows = np.flatnonzero(rng.random(len(masks)) < 0.5)
    moved[rows, off[rows]], moved[rows, on[rows]] = False, True
    return moved
