"""The contract's checks: what is broken is found, what is only odd passes, and known failures are kept account of."""

from dataclasses import replace

import numpy as np
import pytest
from lab import card
from lab.gradientless.method import Nearest

from foveate.actions import find_action
from foveate.contract import Finding, check
from foveate.errors import InputError


@pytest.fixture(scope="module")
def broken() -> dict[str, Finding]:
    return {finding.name: finding for finding in check(card("broken"))}


@pytest.mark.parametrize(
    ("point", "name", "words"),
    [
        (1, "card", "action renamed: the card's inputs are ['picture'], the function's ['photo']"),
        (1, "card", "action renamed: *options hides what it takes"),
        (1, "card", "action renamed: parameter size has no default"),
        (1, "card", "action gone: broken/run.py: has no function 'gone'"),
        (1, "card", "claim C3: says nothing"),
        (1, "card", "claim C3: 'no worse than' needs a margin"),
        (1, "experiment arms", "claim C1 names the arm 'best'; arms returns ours, plain"),
        (1, "experiment speeds", "claim C2 names 'score'; arm ours of speeds has ms"),
        (1, "experiment missing", "has no experiment 'missing'"),
        (2, "scale photo.png", "the card promises 'report'; the result has scaled"),
        (2, "swallow photo.png", "swallowed is a picture, the card says table"),
        (2, "stumble photo.png", "refuses the example"),
        (2, "mumble photo.png", "wrote nothing to photo_found.txt"),
        (3, "swallow photo", "missing: is accepted"),
        (3, "stumble photo", "missing: raises KeyError"),
        (3, "mumble photo", "the message does not name missing.png"),
        (3, "litter photo", "missing: leaves half.png behind"),
        (4, "climber learns", "the loss went from"),
        (4, "forgetful learns", "logs no 'train_loss'"),
        (
            4,
            "climber resumes",
            "stopped after batch 1 and resumed, 2 weights differ (network.layer.weight, network.layer.bias)",
        ),
        (
            5,
            "data classes",
            "of photo.png, data.py makes another tensor (3, 8, 8) than run.py (3, 8, 8)",
        ),
        (6, "swallow repeats", "run twice it writes another photo_swallowed.png"),
        (6, "climber is seeded", "two runs with one seed differ in network.layer.weight"),
        (6, "batch", "apart, alone and in a batch of 3"),
        (6, "saved", "saved and loaded, it says something else"),
        (6, "moved", "same dtype"),
        (6, "exported", "data-dependent"),
    ],
)
def test_what_is_broken_is_found(broken, point, name, words):
    finding = broken[name]
    assert (finding.point, finding.ok) == (point, False)
    assert words in finding.message
    assert len(str(finding).splitlines()) == 1


@pytest.mark.parametrize(("slug", "points"), [("awkward", "123456"), ("gradientless", "123456"), ("ruled", "1236")])
def test_what_is_only_odd_passes(slug, points):
    """Several inputs, actions and stages, optimisers by hand; an estimator; and a system of bare functions."""
    findings = list(check(card(slug)))
    assert not [str(finding) for finding in findings if not finding.ok]
    assert "".join(sorted({str(finding.point) for finding in findings})) == points


def test_a_comparison_has_claims_and_rivals_and_nothing_to_run():
    duel = replace(card("duel"), rivals=("hinet",))
    assert [(f.name, f.ok) for f in check(duel)] == [("card", True), ("written", True), ("experiment count", True)]
    assert "compares 'duel', which is no system" in next(check(card("duel"))).message
    with pytest.raises(InputError, match="foveate reproduce duel"):
        find_action(duel)


@pytest.mark.parametrize(
    ("name", "predict", "words"),
    [
        ("fit learns", lambda self, x: np.random.default_rng().choice(self.classes_, len(x)), "take a random_state"),
        ("fit learns", lambda self, x: np.full(len(x), "red"), "a constant answer 0.333"),
        ("batch", lambda self, x: np.full(len(x), "red" if len(x) > 1 else "blue"), "one item alone"),
    ],
)
def test_a_broken_estimator_is_found(monkeypatch, name, predict, words):
    monkeypatch.setattr(Nearest, "predict", predict)
    (finding,) = (finding for finding in check(card("gradientless")) if finding.name == name)
    assert not finding.ok
    assert words in finding.message


@pytest.mark.parametrize(
    ("known", "changes", "name", "ok", "words"),
    [
        ({"card": "unnamed so far"}, {"title": ""}, "card", True, "known failure: unnamed so far (title is empty)"),
        ({"card": "unnamed so far"}, {}, "card", False, "passes, but the card declares it a known failure (unnamed so far)"),
        ({"dance": "has no legs"}, {}, "dance", False, "a known failure of a check that does not exist"),
        ({"count text": ""}, {}, "card", False, "known failure count text: gives no reason"),
    ],
)
def test_known_failures(known, changes, name, ok, words):
    (finding,) = (f for f in check(replace(card("ruled"), known_failure=known, **changes)) if f.name == name)
    assert finding.ok == ok
    assert words in finding.message
