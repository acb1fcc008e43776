"""What tuning FLUX.1-schnell costs and gives on this hardware, compared with that hardware."""

__version__ = "0.1.0"
