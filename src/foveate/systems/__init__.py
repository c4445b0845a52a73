"""The systems, by wing: one folder, one paper."""
