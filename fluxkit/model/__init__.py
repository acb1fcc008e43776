"""The model as formulas and as files."""
