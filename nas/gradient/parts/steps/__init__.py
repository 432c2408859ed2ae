"""How the gradient of an architecture is taken. Each is one file that defines `STEP`."""
