"""Under which gates weights are trained. Each is one file that defines `PERTURBATION`."""
