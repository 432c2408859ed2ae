"""Architectures as sums over genes: what each option adds to the loss and to costs, and the best sum within bounds.

`scores` asks the shared weights, `costs` fits predicted costs, `knapsack` solves the sum exactly, `choosing` goes
through budgets and holds what it finds against the true predictions.
"""
