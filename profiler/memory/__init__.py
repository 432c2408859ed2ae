"""Peak memory of a network, worked out from its operators: nothing is run.

    plan = simulate(fused_graph(path, target), "onnxruntime")
    plan.activation_peak_bytes      # tensors alive at once, whatever the runtime
    plan.allocator_peak_bytes       # what the runtime's allocator hands out at most
    plan.peak_tensors               # what is alive at the peak, largest first

It is: exact liveness of tensors, and the documented or observed rules of a runtime's allocator. It is not: a
measurement (the agent takes those), nor a model with fitted constants; what a runtime's rules leave open is in the
plan's notes. `fit_process_overhead` alone fits: what a process needs beside.
"""

from profiler.memory.liveness import LiveTensor, planned_peak_bytes, weights
from profiler.memory.plan import MemoryPlan, allocation, runtimes_with_rules, simulate
from profiler.memory.process import ProcessOverhead, fit_process_overhead

__all__ = [
    "LiveTensor",
    "MemoryPlan",
    "ProcessOverhead",
    "allocation",
    "fit_process_overhead",
    "planned_peak_bytes",
    "runtimes_with_rules",
    "simulate",
    "weights",
]
