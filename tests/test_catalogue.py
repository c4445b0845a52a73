"""Cards, and how they are found."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from foveate import catalogue
from foveate.catalogue import Card, Claim, cards, find, read_card
from foveate.cli import main
from foveate.errors import InputError

sys.path.insert(0, str(Path(__file__).parent / "contract"))
from lab import card, install

CARD = """
title = "T"
arxiv = "2105.99999"
authors = ["A", "B"]
summary = "s"
learns = "no"
[metric.error]
unit = "1"
better = "lower"
[[claim]]
id = "C1"
says = "ours errs less"
kind = "relational"
experiment = "arms"
metric = "error"
method = "ours"
relation = "better than"
baseline = "plain"
margin = 0.1
"""


def read(folder: Path, content: str | bytes) -> Card:
    """Write a card and read it."""
    folder.mkdir(exist_ok=True)
    (folder / "card.toml").write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_card(folder, "lab.dummy", "clinic")


# ---------------------------------------------------------------------------------------------------------------------
# reading
# ---------------------------------------------------------------------------------------------------------------------


def test_a_card_as_it_should_be(tmp_path):
    found = read(tmp_path / "dummy", CARD)
    assert (found.slug, found.wing, found.authors) == ("dummy", "clinic", ("A", "B"))
    assert found.claim[0].baseline == ("plain",)
    assert found.claim[0].problems() == []
    assert read(tmp_path / "dummy", 'wing = "fields"\n' + CARD).wing == "fields"
    json.dumps({**found.describe()})


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (CARD.replace("summary", "sumary"), "unknown key 'sumary' (expected: perhaps summary)"),
        (CARD.replace("margin", "margins"), "claim C1: unknown key 'margins' (expected: perhaps margin)"),
        (CARD + "zzz = 1\n", "claim C1: unknown key 'zzz' (expected: one of id, says, kind"),
        (CARD.replace('title = "T"', "").replace('summary = "s"', ""), "summary, title is missing"),
        (CARD.replace('kind = "relational"', ""), "claim C1: kind is missing"),
        ("title = \n", "is not valid TOML: Invalid value (at line 1, column 9)"),
        (b"title = '\xff'", "is not valid TOML"),
    ],
)
def test_a_card_that_is_wrong(tmp_path, content, says):
    with pytest.raises(InputError) as caught:
        read(tmp_path / "dummy", content)
    assert str(tmp_path / "dummy" / "card.toml") in str(caught.value)
    assert says in str(caught.value)


def test_no_card(tmp_path):
    with pytest.raises(InputError, match="there is no such file"):
        read_card(tmp_path, "lab.dummy")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"kind": "relative"}, "kind 'relative' is none of structural, relational, absolute"),
        ({"relation": "beats"}, "relation 'beats' is none of better than, no worse than, equal to"),
        ({"relation": "no worse than", "margin": None}, "'no worse than' needs a margin"),
        ({"baseline": (), "metric": ""}, "metric is missing, baseline is missing"),
        ({"kind": "structural"}, "needs either equals or within"),
        ({"kind": "structural", "equals": 1.0, "within": (0, 1)}, "needs either equals or within"),
        ({"kind": "absolute"}, "command is missing"),
    ],
)
def test_what_a_claim_lacks(changes, says):
    claim = Claim("C", "says", "relational", "", "arms", "m", "ours", ("plain",), "better than", 0.1)
    assert ", ".join(replace(claim, **changes).problems()) == says


# ---------------------------------------------------------------------------------------------------------------------
# finding
# ---------------------------------------------------------------------------------------------------------------------


def test_the_nearest_name_is_suggested():
    assert find("hinet").wing == "restoration"
    with pytest.raises(InputError, match="perhaps hinet"):
        find("hinnet")
    with pytest.raises(InputError, match="foveate list"):
        find("zzz")
    with pytest.raises(InputError, match="perhaps restoration"):
        cards("restoratoin")
    assert {c.wing for c in cards("restoration")} == {"restoration"}


def test_a_module_that_is_not_there():
    with pytest.raises(InputError, match=r"has no train\.py"):
        card("ruled").module("train")


def test_another_package_joins(tmp_path, monkeypatch, capsys):
    """As an installed one does, by its entry points: it is listed, shown and run like any other."""
    for path in install(tmp_path):
        monkeypatch.syspath_prepend(path)
    catalogue._places.cache_clear()
    try:
        found = find("gradientless")
        assert (found.package, found.folder.name) == ("lab.gradientless", "gradientless")
        assert found.module("run").name.__doc__.startswith("Name the colour")
        assert {"awkward", "gradientless", "hinet", "ruled"} <= {c.slug for c in cards()}
        assert main(["list"]) == 0
        assert "a picture in, the name of its colour out" in capsys.readouterr().out
        assert main(["run", "ruled", "paper", "--distance", "4", "--out", str(tmp_path / "out")]) == 0
        assert [path.name for path in (tmp_path / "out").iterdir()] == ["ruled_paper.png"]
    finally:
        catalogue._places.cache_clear()


def test_list_and_show_are_quick_to_start():
    """Nothing heavy is imported."""
    code = (
        "import sys; from foveate.cli import main; main(['list']); main(['show', 'hinet']); main(['list', '--json']); "
        "print({'torch', 'lightning', 'scipy', 'matplotlib', 'rich', 'jsonargparse'} & set(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "hinet" in done.stdout
    assert done.stderr.strip() == "set()"


# ---------------------------------------------------------------------------------------------------------------------
# evidence
# ---------------------------------------------------------------------------------------------------------------------


def test_a_verdict_counts_only_for_the_claim_that_was_judged(tmp_path):
    found = read(tmp_path / "dummy", CARD)
    assert found.verdicts() == {"C1": "not measured"}
    (claim,) = found.claim
    (found.folder / "evidence").mkdir()
    judged = {"claims": [{"id": "C1", "rule": claim.rule(), "verdict": "holds"}]}
    (found.folder / "evidence" / "evidence.json").write_text(json.dumps(judged))
    assert read(found.folder, CARD).verdicts() == {"C1": "holds"}
    assert read(found.folder, CARD.replace("ours errs", "it errs")).verdicts() == {"C1": "holds"}
    for old, new in (("margin = 0.1", "margin = 0.2"), ('"plain"', '["plain", "other"]'), ("better than", "equal to")):
        assert read(found.folder, CARD.replace(old, new)).verdicts() == {"C1": "not measured"}
    shutil.rmtree(found.folder / "evidence")
    assert read(found.folder, CARD).verdicts() == {"C1": "not measured"}


@pytest.mark.parametrize("content", ["{", "[1]", ""])
def test_broken_evidence(tmp_path, content):
    found = read(tmp_path / "dummy", CARD)
    (found.folder / "evidence").mkdir()
    (found.folder / "evidence" / "evidence.json").write_text(content)
    with pytest.raises(InputError, match="foveate reproduce dummy writes it anew"):
        found.verdicts()
