"""What is asked: one run as a whole, frozen value, and how it is read."""
