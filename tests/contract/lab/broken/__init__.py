"""Breaks the contract."""
