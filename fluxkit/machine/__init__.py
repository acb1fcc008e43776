"""What machine this is, and whether it is fit to measure."""
