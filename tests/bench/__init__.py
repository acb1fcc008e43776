"""Comparisons of speed, each in a module of its own whose `rows` gives what it measured: `just bench [NAME]`."""
