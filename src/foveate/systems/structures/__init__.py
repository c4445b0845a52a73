"""Structures: graphs, shapes and diagrams in, what they are made of out."""
