"""Efficiency: a network in, a cheaper or better trained one out."""
