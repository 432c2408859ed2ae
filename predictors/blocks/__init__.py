"""Networks of any space from their blocks: a few hundred are compiled, 10^22 are predicted.

`places` says which block stands where, `contexts` which kernels it has there, `building` which networks must be
compiled to know both, `table` adds them up, `expected` does so under probabilities. See docs/explanation, "How a space
of 10^22 is tabulated".
"""
