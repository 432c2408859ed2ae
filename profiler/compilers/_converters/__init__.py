"""Scripts that run in environments of converters; see `profiler.compilers.converters`."""
