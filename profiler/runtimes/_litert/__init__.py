"""What the runtime `litert` is made of."""
