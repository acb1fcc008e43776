"""Pictures and captions become tensors."""
