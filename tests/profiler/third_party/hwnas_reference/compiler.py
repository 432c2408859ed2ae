"""The host's half: what travels has another suffix."""

import shutil

from profiler.compilers.plain import Plain


class ReferenceCompiler(Plain):
    """Copies a model."""

    def compile(self, model, options, calibration=None):
        return shutil.copyfile(model, model.with_suffix(".reference"))
