"""One run, many runs, a run again."""
