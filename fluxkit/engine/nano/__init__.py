"""The recipe that made the embedded model; run once."""
