"""Whether a number may be believed."""
