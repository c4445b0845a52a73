"""Every system keeps the contract."""

import pytest

from foveate.catalogue import Card, cards
from foveate.contract import check


@pytest.mark.parametrize("card", cards(), ids=lambda card: card.slug)
def test_contract(card: Card):
    broken = [str(finding) for finding in check(card) if not finding.ok]
    assert not broken, "\n".join(broken)
