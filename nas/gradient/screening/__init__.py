"""Many networks under shared weights: which are looked at (`drawing`), how good they are (`judging`), who is best.

`rounds` is the search that looks at random ones; `budgets` goes through a grid of budgets, `skeletons` are networks
whose genes move together, and `evolution` is that of once-for-all on predicted losses.
"""
