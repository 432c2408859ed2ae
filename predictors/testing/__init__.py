"""The conformance kits: what kernel models, graph predictors, encodings, costs and importers must hold to.

Example:
    >>> from predictors import graphs, models, testing
    >>> testing.check_kernel_model(models.REGISTRY.get("linear"))
    >>> testing.check_graph_predictor(graphs.REGISTRY.get("simulation"))

It raises AssertionError that says which rule was broken and how. It is no benchmark: it does not ask how good a model
is, only that it answers in order, says what it guesses, and comes back from its files as it was.
"""

from predictors.testing.costs import check_differentiable_cost
from predictors.testing.encodings import check_encoding, check_encoding_predictor
from predictors.testing.graphs import check_graph_predictor
from predictors.testing.kernels import check_kernel_model, convolution, samples
from predictors.testing.layouts import check_importer

__all__ = [
    "check_differentiable_cost",
    "check_encoding",
    "check_encoding_predictor",
    "check_graph_predictor",
    "check_importer",
    "check_kernel_model",
    "convolution",
    "samples",
]
