"""One rank as a process: its events, its stop signals, its device."""
