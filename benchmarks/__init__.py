"""Scripts that make every published number; each prints JSON and states the machine."""
