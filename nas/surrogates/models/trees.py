"""A forest of regression trees that split on random columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from nas.arrays import Floats

TREES = 40
#: Leaves of a tree, at most.
LEAVES = 64
#: Share of the rows that a tree sees, and share of the columns that a split chooses from.
ROWS, COLUMNS = 0.632, 0.5


@dataclass(frozen=True)
class Trees:
    """The mean of the trees.

    Attributes:
        booster: of LightGBM.
    """

    booster: Any

    def predict(self, x: Floats) -> Floats:
        """Costs `(n,)` at `(n, f)`."""
        return np.asarray(self.booster.predict(x, num_threads=1), dtype=np.float64)


def fit(x: Floats, y: Floats, rng: np.random.Generator) -> Trees:
    """Grow a random forest on one thread, always the same for the same `rng`.

    Source: Breiman, "Random forests", Machine Learning 45(1), 2001; an ensemble of CART with random features as a
        surrogate: Sun et al., IEEE TEVC 24(2), 2020, and NSGANetV2 (Lu et al., ECCV 2020, section 3.2), of 1000 trees.

    Args:
        x: `(n, f)`.
        y: `(n,)`.
        rng: draws the seed of the trees.
    """
    import lightgbm

    settings = {
        "objective": "regression",
        "boosting": "rf",
        "bagging_freq": 1,
        "bagging_fraction": ROWS,
        "feature_fraction_bynode": COLUMNS,
        "num_leaves": LEAVES,
        "min_data_in_leaf": 1,
        "min_data_in_bin": 1,
        "min_sum_hessian_in_leaf": 0.0,
        "seed": int(rng.integers(2**31)),
        "num_threads": 1,
        "deterministic": True,
        "force_col_wise": True,
        "verbosity": -1,
    }
    return Trees(lightgbm.train(settings, lightgbm.Dataset(x, y), TREES, keep_training_booster=True))


SURROGATE = fit
