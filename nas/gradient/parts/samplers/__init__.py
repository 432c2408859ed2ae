"""How logits become gates. Each is one file that defines `SAMPLER`."""
