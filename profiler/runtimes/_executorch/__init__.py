"""Parts of the runtime `executorch`: the file of its event tracer, and which event is of which kernel."""
