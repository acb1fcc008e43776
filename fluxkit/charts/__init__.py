"""The comparison as SVG."""
