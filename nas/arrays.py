"""Names of the arrays that everything here is about."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: Architectures, one per row: `(n, d)` whole numbers, `0 <= gene < choices[gene]`.
Archs = NDArray[np.int64]
#: Costs of architectures, one per row: `(n, m)`, lower is better; NaN where an evaluation failed.
Costs = NDArray[np.float64]
#: Numbers of any shape.
Floats = NDArray[np.float64]
#: Yes or no, of any shape.
Flags = NDArray[np.bool_]
