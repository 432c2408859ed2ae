"""The device's half of a runtime that runs ONNX's own reference evaluator."""

import time

import numpy as np

from device_profiles.errors import InvalidModel, UnsupportedOperator
from profiler.runtimes.protocol import Traits, require_options, require_precision


class Session:
    """A model, ready to run, with its inputs in place."""

    def __init__(self, model, inputs):
        import onnx
        from google.protobuf.message import DecodeError
        from onnx.reference import ReferenceEvaluator

        try:
            proto = onnx.load(model)
            onnx.checker.check_model(proto)
        except (DecodeError, onnx.checker.ValidationError) as error:
            raise InvalidModel(f"{model.name} is not a valid ONNX model: {error}", hint="Export it again.") from error
        try:
            self._evaluator = ReferenceEvaluator(proto)
        except NotImplementedError as error:
            raise UnsupportedOperator(f"the reference has no such operator: {error}") from error
        rng = np.random.default_rng(0)
        self._feed = dict(inputs or {})
        for value in proto.graph.input:
            if value.name not in self._feed:
                shape = [d.dim_value for d in value.type.tensor_type.shape.dim]
                self._feed[value.name] = rng.standard_normal(shape).astype(np.float32)

    def run(self):
        self._evaluator.run(None, self._feed)

    @property
    def call(self):
        return self.run

    def outputs(self):
        return self._evaluator.run(None, self._feed)

    def profile(self, runs):
        return None

    def close(self):
        pass


class Reference:
    """ONNX's own reference evaluator: every operator in numpy, nothing fused."""

    traits = Traits(packages=("onnx",))

    def __init__(self):
        from onnx import __version__

        self.version = f"onnx reference {__version__}"
        self.clock = time.perf_counter_ns

    def sentinels(self):
        return None

    def load(self, model, options, inputs=None):
        require_precision("reference", self.traits, options.precision)
        require_options("reference", options.options, {})
        return Session(model, inputs)

    def fuse(self, model, options):
        return None
