"""Experiments of `kind: run`: a command over a grid of parameters, each run a contained job with measured results."""
