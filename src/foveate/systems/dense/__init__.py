"""Dense prediction: a label or a value for every pixel."""
