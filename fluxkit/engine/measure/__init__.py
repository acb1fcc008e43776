"""What is timed or probed beside tuning."""
