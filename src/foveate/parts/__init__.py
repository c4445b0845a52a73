"""What two systems or more share, one module per technique, by its usual name."""
