"""A claim about letters."""

import string


def alphabet(seed: int, budget: str) -> dict[str, dict[str, float]]:
    """Count the letters there are."""
    return {"latin": {"letters": len(string.ascii_lowercase)}}
