"""Restoration: a spoiled picture in, a better one out."""
