"""Experiments that do not return what the claims name."""


def arms(seed: int, budget: str) -> dict[str, dict[str, float]]:
    """Return other arms."""
    return {"ours": {"score": 1.0}, "plain": {"score": 0.0}}


def speeds(seed: int, budget: str) -> dict[str, dict[str, float]]:
    """Return another metric."""
    return {"ours": {"ms": 1.0}}
