"""Counts letters and draws lines."""
