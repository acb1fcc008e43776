"""People's pictures before they are tensors."""
