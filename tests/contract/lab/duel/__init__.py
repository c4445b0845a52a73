"""A comparison of two systems."""
