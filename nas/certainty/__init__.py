"""How sure a front is, what to evaluate again, and what a search has taught of its space."""
