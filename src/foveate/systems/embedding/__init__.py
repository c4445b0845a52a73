"""Codes and nearest neighbours."""
