"""FLUX itself: its flow, its parts, and how they are computed."""
