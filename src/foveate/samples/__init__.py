"""The embedded data: what installed packages ship, and procedural scenes. Nothing here reaches the network."""
