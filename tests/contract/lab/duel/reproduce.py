"""An experiment."""


def count(seed: int, budget: str) -> dict[str, dict[str, float]]:
    """Count."""
    return {"one_hand": {"fingers": 5}, "two_hands": {"fingers": 10}}
