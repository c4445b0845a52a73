"""The page, the README's table and the listing that is issued again."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foveate.catalogue import Card, read_card
from foveate.errors import InputError
from foveate.page import propose_slug, readme_table, refresh_readme, reissue_listing, run_command, standing, write_page
from foveate.results import Picture

CLAIMS = """
[[claim]]
id = "C1"
says = "twice the sharpness <b>"
paper = "+1 dB"
kind = "relational"
experiment = "arms"
metric = "psnr"
method = "ours"
relation = "better than"
baseline = ["plain", "none"]
margin = 0.02
[[claim]]
id = "C2"
says = "small"
kind = "structural"
experiment = "size"
metric = "parameters"
method = "ours"
equals = 12345678
[[claim]]
id = "C3"
says = "32 dB on their data"
kind = "absolute"
command = "foveate reproduce --data '<SIDD>'"
[[claim]]
id = "C4"
says = "new since then"
kind = "structural"
experiment = "size"
metric = "parameters"
method = "ours"
within = [1, 2]
[metric.psnr]
unit = "dB"
better = "higher"
"""
EVIDENCE: dict[str, Any] = {
    "budget": "full",
    "seeds": 5,
    "started": "2026-01-02T03:04:05+00:00",
    "seconds": 600.0,
    "machine": {"processor": "Some CPU", "cores": 2, "memory_gb": 8, "accelerator": None},
    "commit": "0123456789ab+",
    "claims": [
        {
            "id": "C1", "kind": "relational", "verdict": "holds", "metric": "psnr", "value": None, "matters": False,
            "comparisons": [
                {"baseline": "plain", "difference": 0.0123, "low": 0.0101, "high": 0.0145, "verdict": "holds"},
                {"baseline": "none", "difference": 1234.5, "low": 1200.0, "high": None, "verdict": "holds"},
            ],
        },
        {"id": "C2", "kind": "structural", "verdict": "does not hold", "metric": "parameters", "value": 12345679},
    ],
    "figures": ["arms.png", "../secret.png", "gone.png"],
}  # fmt: skip


def make_card(root: Path, slug: str, arxiv: str, title: str = "A Title", claims: str = "", evidence: bool = False) -> Card:
    """Write a system's folder and read its card."""
    folder = root / slug
    (folder / "evidence").mkdir(parents=True)
    head = {"title": title, "arxiv": arxiv, "summary": "a | b in, c out", "learns": "gradient"}
    toml = "\n".join(f"{key} = {json.dumps(value)}" for key, value in head.items())
    actions = "[action.restore]\n[action.restore.inputs.photos]\nkind = 'picture'\n"
    (folder / "card.toml").write_text(f"{toml}\nauthors = ['A. Author']\n{actions}{claims}", encoding="utf-8")
    if evidence:
        rules = {claim.id: claim.rule() for claim in read_card(folder, "").claim}
        judged = [{**c, "rule": rules[c["id"]]} for c in EVIDENCE["claims"]]
        (folder / "evidence" / "evidence.json").write_text(json.dumps({**EVIDENCE, "claims": judged}), encoding="utf-8")
        for path in (folder / "evidence" / "arms.png", folder / "secret.png"):
            Picture(np.zeros((2, 3), np.uint8)).write(path)
    return read_card(folder, f"other.{slug}", "restoration")


@pytest.fixture
def cards(tmp_path: Path) -> list[Card]:
    """One measured system and one without claims."""
    return [
        make_card(tmp_path, "zz_measured", "2105.99001", "<script>alert(1)</script> & Co", CLAIMS, evidence=True),
        make_card(tmp_path, "zz_bare", "cs/0501001"),
    ]


class Elements(HTMLParser):
    """Collects the start tags of a page and checks that they are closed in order."""

    def __init__(self) -> None:
        """Start with nothing."""
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep a tag."""
        self.found.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Compare with the tag that is open."""
        assert self.open.pop() == tag


def test_page_stands_alone_and_escapes(tmp_path: Path, cards: list[Card]) -> None:
    """Nothing is fetched, no markup of a card survives, every tag is closed."""
    html = write_page(tmp_path / "page.html", cards).read_text(encoding="utf-8")
    elements = Elements()
    elements.feed(html)
    assert not elements.open
    assert not {"script", "link", "iframe", "b"} & {tag for tag, _ in elements.found}
    assert [a["src"][:22] for tag, a in elements.found if tag == "img"] == ["data:image/png;base64,"]
    assert not re.search(r"url\(|@import", html)
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; Co" in html
    assert "measure it: <code>foveate reproduce --data &#x27;&lt;SIDD&gt;&#x27;</code>" in html


def test_page_tells_what_was_measured(tmp_path: Path, cards: list[Card]) -> None:
    """Differences with interval and unit, values beside what was claimed, verdicts, provenance, what chance gives."""
    html = write_page(tmp_path / "out", cards).read_text(encoding="utf-8")
    assert (tmp_path / "out" / "foveate.html").is_file()
    for told in (
        "against plain: +0.0123 dB (95 %: +0.0101 to +0.0145): holds",
        "against none: +1,234 dB (95 %: +1,200 to ?): holds",
        "smaller than what the card calls relevant, 0.02 dB",
        "12,345,679 (claimed: 12,345,678)",
        '<span class="badge does-not-hold"><span aria-hidden="true">✗ </span>does not hold</span>',
        "5 seeds · 10 min · 2026-01-02 · Some CPU · 2 cores · 8 GB · commit 0123456789ab+",
        "foveate run zz_measured PHOTOS --out out/\nfoveate train zz_measured\nfoveate reproduce zz_measured",
        "Claims judged: 2</strong> of 4: 1 holds, 1 does not hold. The others: 1 needs data, 1 not measured.",
        "2.5 %, that is 0.025, would",
        "The figure gone.png is missing",
        "The figure ../secret.png is missing",
        "Its card makes no claims yet",
    ):
        assert told in html, told


def test_readme(tmp_path: Path, cards: list[Card]) -> None:
    """Only what stands between the marks changes, once; the link stands where its page exists; line ends stay."""
    (tmp_path / "docs" / "papers").mkdir(parents=True)
    (tmp_path / "docs" / "papers" / "zz_bare.md").touch()
    readme = tmp_path / "README.md"
    readme.write_bytes(b"# X\r\n<!-- foveate:systems -->\r\nold\r\n<!-- /foveate:systems -->\r\nrest\x0cof it")
    assert refresh_readme(readme, cards)
    fresh = readme.read_bytes()
    assert fresh.startswith(b"# X\r\n<!-- foveate:systems -->\r\n| system |")
    assert fresh.endswith(b"|\r\n<!-- /foveate:systems -->\r\nrest\x0cof it")
    assert fresh.count(b"\n") == fresh.count(b"\r\n")
    assert b"| [zz_bare](docs/papers/zz_bare.md) | a \\| b in, c out | none yet | `foveate run zz_bare PHOTOS" in fresh
    assert not refresh_readme(readme, cards)
    assert readme.read_bytes() == fresh
    assert "| zz_measured | a \\| b in, c out | 1 holds, 1 does not hold, 1 needs data, 1 not measured |" in readme_table(cards)


@pytest.mark.parametrize(
    "text", ["# X\n", "<!-- /foveate:systems -->\n<!-- foveate:systems -->\n", "<!-- foveate:systems -->\n"]
)
def test_readme_without_marks(tmp_path: Path, text: str) -> None:
    """A file without the two lines in order is refused and stays as it is."""
    (tmp_path / "README.md").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match="foveate:systems"):
        refresh_readme(tmp_path / "README.md", [])
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == text
    with pytest.raises(InputError, match="no such file"):
        refresh_readme(tmp_path / "READYOU.md", [])


def entry(number: int, title: str, link: str, abstract: str) -> str:
    """Write one entry as the listings do."""
    return f"### {number}.{title}  [ :arrow_down: ](https://arxiv.org/pdf/{link}.pdf)\n>  {abstract}                \n"


LISTING = "# ArXiv cs.CV --Fri, 14 May 2021\n" + "".join(
    [
        entry(1, "Sharper: a Sharpener", "2105.99001v2", "We sharpen ### 7.things."),
        entry(2, "Sharper: Another (one) [too]", "2105.99002", "We sharpen more."),
        entry(3, "Logic $\\ell_0$ of Old", "cs/0501001", "We reason."),
        entry(4, "The Old Days", "math.GT/0501002v1", "We knot."),
    ]
)


def test_listing(tmp_path: Path, cards: list[Card]) -> None:
    """Entries stay, in order; systems and others are told apart, under each entry; issued again it is the same."""
    source = tmp_path / "day.md"
    source.write_text(LISTING, encoding="utf-8")
    out = reissue_listing(source, cards, tmp_path / "again.md")
    text = out.read_text(encoding="utf-8")
    kept = [line for line in text.split("\n") if line.startswith(("#", ">"))]
    assert kept == LISTING.rstrip("\n").split("\n")
    head, *entries = re.split(r"(?m)^### ", text)
    assert "systems of foveate: 2 of 4." in head
    assert "A system here: zz_measured" in entries[0]
    assert "1 holds, 1 does not hold, 1 needs data, 1 not measured" in entries[0]
    assert entries[0].count("](data:image/png;base64,") == 1
    assert "`foveate run zz_measured PHOTOS --out out/`" in entries[0]
    assert "`foveate new 2105.99002 sharper --wing WING`" in entries[1]
    assert "A system here: zz_bare" in entries[2]
    assert "`foveate new math.GT/0501002 old_days --wing WING`" in entries[3]
    assert reissue_listing(out, cards, tmp_path / "out").read_text(encoding="utf-8") == text


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n")), min_size=1, max_size=6))
@settings(max_examples=60, deadline=None)
def test_listing_keeps_every_title(tmp_path_factory: pytest.TempPathFactory, titles: list[str]) -> None:
    """Whatever the titles: their lines stay in order, names proposed for them differ, and a second issue is the same."""
    folder = tmp_path_factory.mktemp("listing")
    lines = [entry(i, title, f"2105.{i:05}", "We do.") for i, title in enumerate(titles)]
    (folder / "day.md").write_text("# ArXiv cs.CV --Fri, 14 May 2021\n" + "".join(lines), encoding="utf-8", newline="")
    out = reissue_listing(folder / "day.md", [], folder / "out.md")
    text = out.read_bytes().decode()
    assert [line for line in text.split("\n") if line.startswith("### ")] == [line.split("\n")[0] for line in lines]
    slugs = re.findall(r"`foveate new \S+ (\S+) --wing WING`", text)
    assert len(set(slugs)) == len(titles)
    assert all(slug.isidentifier() for slug in slugs)
    assert reissue_listing(out, [], folder / "twice.md").read_bytes().decode() == text


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty"),
        (b"\x89PNG\r\n\x1a\n\xff", "not UTF-8"),
        (b"# A tool\n### 1.Install\n[paper](https://arxiv.org/abs/2105.06086)\n", "no entry"),
        (None, "no such file"),
    ],
)
def test_no_listing(tmp_path: Path, content: bytes | None, said: str) -> None:
    """Anything else ends in one clear line, and nothing is written."""
    source = tmp_path / "day.md"
    if content is not None:
        source.write_bytes(content)
    with pytest.raises(InputError, match=said) as caught:
        reissue_listing(source, [], tmp_path / "out.md")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out.md").exists()


def test_names(cards: list[Card]) -> None:
    """Proposed names are identifiers, and not taken; standing and command are the README's."""
    assert [propose_slug(t) for t in ("HINet: Half", "Lambda", "3D Things", "日本", "What's Wrong")] == [
        "hinet", "paper_lambda", "paper_3d_things", "paper", "whats_wrong",
    ]  # fmt: skip
    assert propose_slug("HINet", {"hinet", "hinet_2"}) == "hinet_3"
    assert (standing(cards[1]), run_command(cards[1])) == ("none yet", "foveate run zz_bare PHOTOS --out out/")


def test_readme_shows_the_claims_of_a_system_where_it_asks_for_them(tmp_path: Path, cards: list[Card]) -> None:
    """The claims' table is written between the system's own markers, and only the measured ones show numbers."""
    readme = tmp_path / "README.md"
    markers = ("systems", "/systems", "zz_measured", "/zz_measured")
    readme.write_text("".join(f"<!-- {m[0] * (m[0] == '/')}foveate:{m.strip('/')} -->\n" for m in markers), encoding="utf-8")
    assert refresh_readme(readme, cards)
    rows = [line for line in readme.read_text(encoding="utf-8").splitlines() if line.startswith("| C")]
    assert [row.rsplit("**", 2)[1] for row in rows] == ["holds", "does not hold", "needs data", "not measured"]
    assert "12,345,679" in rows[1]
    assert not refresh_readme(readme, cards)
