"""Studies: what a search was asked for, every trial, and what they come to, in the database of its run."""
