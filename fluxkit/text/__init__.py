"""The comparison in words and cells."""
