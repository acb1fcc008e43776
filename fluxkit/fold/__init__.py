"""Events become a result."""
