"""Scores of what was tuned."""
