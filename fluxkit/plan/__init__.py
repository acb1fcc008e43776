"""What will be started, what it needs and how long it takes."""
