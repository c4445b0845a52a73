"""What was measured, as people read it: one HTML page, the README's table, and a day's arXiv listing issued again."""

from __future__ import annotations

import base64
import keyword
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Any

from foveate.catalogue import HOME, Card, Claim
from foveate.errors import InputError
from foveate.results import write_atomically

CHANCE = 0.025  # one tail of a 95 % interval
LARGEST = 32 * 2**20  # bytes; no listing, README or figure is larger
BEGIN, END = "<!-- foveate:systems -->", "<!-- /foveate:systems -->"

# Verdict: how several of them are counted, and the sign that tells it without colour.
VERDICTS = {
    "holds": ("hold", "✓"),
    "does not hold": ("do not hold", "✗"),
    "undecided": ("undecided", "?"),
    "needs data": ("need data", "…"),
    "not measured": ("not measured", "·"),
}
JUDGED = ("holds", "does not hold", "undecided")

STYLE = """
:root { color-scheme: light dark; --ink: #1c1e21; --soft: #5a6068; --paper: #fff; --tint: #f3f4f6; --line: #d5d9de;
  --link: #0b57a4; --good: #0a6b2d; --bad: #a8201a; --open: #7a4b00 }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e6e9; --soft: #a3aab3; --paper: #15171a; --tint: #202429;
  --line: #3a4048; --link: #82b7f2; --good: #6fd08c; --bad: #ff938a; --open: #f0b95b } }
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 62rem; padding: 1rem; font: 1rem/1.5 system-ui, sans-serif; color: var(--ink);
  background: var(--paper); overflow-wrap: break-word }
a { color: var(--link) }
h2 { margin: 2.5rem 0 0; border-bottom: 2px solid var(--line) }
article { margin: 1.5rem 0 2.5rem }
h3 { margin: 0; line-height: 1.3 }
p { margin: .5rem 0 }
.soft { color: var(--soft); font-size: .9rem }
pre, code { font: .9em/1.5 ui-monospace, monospace }
pre { margin: .5rem 0; padding: .5rem .75rem; background: var(--tint); white-space: pre-wrap }
table { width: 100%; border-collapse: collapse; font-size: .92rem }
th, td { padding: .4rem .5rem; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top }
td > div + div { margin-top: .2rem }
.badge { display: inline-block; padding: 0 .5em; border: 1px solid; border-radius: 1em; color: var(--soft); font-weight: 600;
  white-space: nowrap }
.holds { color: var(--good) } .does-not-hold { color: var(--bad) } .undecided { color: var(--open) }
figure { margin: 1rem 0 }
img { display: block; max-width: 100%; height: auto; background: #fff }
@media (max-width: 40rem) {
  table, tbody, tr, td { display: block } thead { display: none } td { border: 0; padding: .1rem 0 }
  tr { padding: .5rem 0; border-bottom: 1px solid var(--line) }
  td::before { content: attr(data-label) ": "; color: var(--soft) }
}
@media print {
  :root { --ink: #000; --soft: #444; --paper: #fff; --tint: #f3f4f6; --line: #999; --link: #000;
    --good: #0a6b2d; --bad: #a8201a; --open: #7a4b00 }
  body { max-width: none; font-size: 10pt } nav { display: none }
  h2, h3 { break-after: avoid } tr, figure, pre { break-inside: avoid }
}
"""


def write_page(out: Path, cards: list[Card]) -> Path:
    """Write all systems and their evidence as one HTML page that stands alone: no script, nothing fetched.

    Args:
        out: The file, or a folder that gets ``foveate.html``.
        cards: The systems.

    Returns:
        The file.

    Raises:
        InputError: If the file cannot be written.
    """
    target = out / "foveate.html" if out.is_dir() or not out.suffix else out
    ordered = sorted(cards, key=lambda c: (bool(c.rivals), c.wing, c.slug))
    wings = [(wing, list(group)) for wing, group in groupby(ordered, lambda c: c.wing)]
    names = [(f"wing-{i}", wing or "other packages", group) for i, (wing, group) in enumerate(wings)]
    links = " · ".join(f'<a href="#{anchor}">{escape(name)}</a> ({len(group)})' for anchor, name, group in names)
    sections = "".join(
        f'<section>\n<h2 id="{anchor}">{escape(name)}</h2>\n{"".join(map(_article, group))}</section>\n'
        for anchor, name, group in names
    )
    html = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>foveate: papers that work, claims that were measured</title>
<style>{STYLE}</style>
</head>
<body>
<header>
<h1>foveate</h1>
{_head(cards)}
<nav>{links}</nav>
</header>
<main>
{sections}</main>
</body>
</html>
"""
    write_atomically(target, html)
    return target


def readme_table(cards: list[Card], root: Path = HOME.parents[1]) -> str:
    """Return a Markdown table of the systems: what each takes and gives, how its claims stand, how to run it.

    Args:
        cards: The systems, in the order of the rows.
        root: Folder of the file that the table is for; a system links to ``docs/papers/<slug>.md`` where that exists under it,
            a comparison to ``docs/comparisons/<slug>.md``.
    """
    rows = ["| system | in and out | claims | run it |", "|---|---|---|---|"]
    for card in cards:
        page = f"docs/{'comparisons' if card.rivals else 'papers'}/{card.slug}.md"
        name = f"[{card.slug}]({page})" if (root / page).is_file() else card.slug
        rows.append(f"| {name} | {_markdown(card.summary)} | {_markdown(standing(card))} | `{run_command(card)}` |")
    return "\n".join(rows)


def claims_table(card: Card) -> str:
    """Return a Markdown table of one system's claims: what the paper says, what was measured, the verdict."""
    found, verdicts = _judged(card), card.verdicts()
    rows = ["| claim | the paper | measured here | verdict |", "|---|---|---|---|"]
    for claim in card.claim:
        measured = "<br>".join(map(_markdown, _measured(card, claim, found.get(claim.id, {}))))
        cells = (f"{claim.id}: {_markdown(claim.says)}", _markdown(claim.paper), measured, f"**{verdicts[claim.id]}**")
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def refresh_readme(path: Path, cards: list[Card]) -> bool:
    """Write anew what stands between ``<!-- foveate:systems -->`` and ``<!-- /foveate:systems -->``, each on a line of its own.

    The same is done between ``<!-- foveate:SLUG -->`` and its end for the claims of single systems, where there are such lines.

    Returns:
        Whether anything changed.

    Raises:
        InputError: If the file is missing, is not text, or does not have the lines once each and in this order.
    """
    expected = f"a Markdown file with the lines {BEGIN} and {END}"
    text = _read(path, expected)
    fresh = _between(text, "systems", readme_table(cards, path.parent), path, expected)
    for card in cards:
        if f"<!-- foveate:{card.slug} -->" in fresh:
            fresh = _between(fresh, card.slug, claims_table(card), path, expected)
    if fresh == text:
        return False
    write_atomically(path, fresh)
    return True


def _between(text: str, name: str, table: str, path: Path, expected: str) -> str:
    """Replace what stands between the two marker lines of a name."""
    lines = text.splitlines(keepends=True)
    places = []
    for marker in (f"<!-- foveate:{name} -->", f"<!-- /foveate:{name} -->"):
        found = [i for i, line in enumerate(lines) if line.strip() == marker]
        if len(found) != 1:
            raise InputError(path, f"the line {marker} {'stands more than once' if found else 'is missing'}", expected)
        places += found
    first, last = places
    if first > last:
        raise InputError(path, f"<!-- /foveate:{name} --> stands before <!-- foveate:{name} -->", expected)
    end = "\r\n" if lines[first].endswith("\r\n") else "\n"
    return "".join([*lines[: first + 1], *(line + end for line in table.split("\n")), *lines[last:]])


# An entry starts as "### 52.HINet: Half ..." and its title line ends with the link that holds the arXiv number: new style
# (2105.06086) or old (cs/0501001, math.GT/0309136), with or without a version.
ENTRY = re.compile(r"^(?=### \d+\.)", re.MULTILINE)
TITLE = re.compile(
    r"### \d+\.(?P<title>.*)\[\s*:arrow_down:\s*\]"
    r"\(https?://(?:www\.|export\.)?arxiv\.org/(?:pdf|abs)/(?P<number>[A-Za-z.-]+/\d{7}|\d{4}\.\d{4,5})(?:v\d+)?(?:\.pdf)?/?\)\s*$"
)
# What an earlier issue added; it never runs past the next entry.
ADDED = re.compile(r"^<!-- foveate -->\n(?:(?!### ).*\n)*?<!-- /foveate -->\n*", re.MULTILINE)


def reissue_listing(listing: Path, cards: list[Card], out: Path) -> Path:
    """Issue a day's arXiv listing again, telling under each paper whether it is a system here.

    Order, title lines and abstracts stay. A system shows how its claims stand, one figure (embedded) and how to run it; any
    other paper the command that starts a system for it. A listing that was issued by this function may be issued again.

    Args:
        listing: Markdown with one ``### 1.Title  [ :arrow_down: ](https://arxiv.org/pdf/2105.06468.pdf)`` per paper and its
            abstract below.
        cards: The systems.
        out: The file, or a folder that gets ``<listing>_foveate.md``.

    Returns:
        The file.

    Raises:
        InputError: If the file is missing or is no such listing, or the output cannot be written.
    """
    expected = "a Markdown listing with entries such as '### 1.Title [ :arrow_down: ](https://arxiv.org/pdf/2105.06468.pdf)'"
    text = ADDED.sub("", _read(listing, expected).replace("\r\n", "\n"))
    head, *entries = ENTRY.split(text)
    titles = [TITLE.match(entry.partition("\n")[0]) for entry in entries]
    if not any(titles):
        raise InputError(listing, "has no entry of an arXiv listing", expected)
    systems = defaultdict(list)
    for card in cards:
        systems[re.sub(r"v\d+$", "", card.arxiv)].append(card)
    taken = {card.slug for card in cards}
    known = sum(t is not None and t["number"] in systems for t in titles)
    pieces = [_with_notes(head, [f"Papers that are systems of foveate: {known} of {len(entries)}."])]
    for entry, title in zip(entries, titles, strict=True):
        if title is None:
            notes = ["No arXiv number stands in this title line."]
        elif title["number"] in systems:
            notes = [line for card in systems[title["number"]] for line in _notes(card)]
        else:
            slug = propose_slug(title["title"], taken)
            taken.add(slug)
            notes = [f"Not a system here yet. Start one: `foveate new {title['number']} {slug} --wing WING`"]
        pieces.append(_with_notes(entry, notes))
    target = out / f"{listing.stem}_foveate.md" if out.is_dir() or not out.suffix else out
    write_atomically(target, "\n".join(pieces))
    return target


def standing(card: Card) -> str:
    """Count a system's claims by verdict, as in ``3 hold, 1 undecided, 4 need data``."""
    return _count(card.verdicts().values()) or "none yet"


def run_command(card: Card) -> str:
    """Return the command that runs the first action, its inputs in capitals; the action is named if there are several.

    A comparison has none, and is reproduced.
    """
    if card.rivals:
        return f"foveate reproduce {card.slug}"
    action, says = next(iter(card.action.items()), ("", {}))
    words = [card.slug, *([action] if len(card.action) > 1 else []), *(name.upper() for name in says.get("inputs", {}))]
    return f"foveate run {' '.join(words)} --out out/"


def propose_slug(title: str, taken: Iterable[str] = ()) -> str:
    """Make a system's name of a paper's title: what stands before a colon, or the first words.

    Args:
        title: Any text.
        taken: Names that are in use.

    Returns:
        A Python identifier in lower case, of three words at most and a number if it was taken.

    Example:
        >>> propose_slug("HINet: Half Instance Normalization Network")
        'hinet'
        >>> propose_slug("3D Spatial Recognition without Spatially Labeled 3D")
        'paper_3d_spatial_recognition'
    """
    plain = unicodedata.normalize("NFKD", title.partition(":")[0]).encode("ascii", "ignore").decode()
    words = re.findall(r"[a-z0-9]+", plain.replace("'", "").lower())
    small = {"a", "an", "the", "of", "on", "in", "for", "with", "to", "and", "by", "from", "via"}
    base = "_".join([w for w in words if w not in small][:3])
    if not base.isidentifier() or keyword.iskeyword(base):
        base = f"paper_{base}".rstrip("_")
    slug, count = base, 2
    while slug in taken:
        slug, count = f"{base}_{count}", count + 1
    return slug


def _read(path: Path, expected: str) -> str:
    """Read a text file of the user's."""
    try:
        if path.stat().st_size > LARGEST:
            raise InputError(path, f"is larger than {LARGEST // 2**20} MiB", expected)
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError as error:
        raise InputError(path, "there is no such file", expected) from error
    except OSError as error:
        raise InputError(path, f"cannot be read: {error.strerror or error}", expected) from error
    except UnicodeDecodeError as error:
        raise InputError(path, "is not UTF-8 text", expected) from error
    if not text.strip():
        raise InputError(path, "the file is empty", expected)
    return text


def _count(verdicts: Iterable[str]) -> str:
    """Put verdicts into words, in the order of VERDICTS; one that is not there is told as it is."""
    counts = Counter(verdicts)
    order = [*(v for v in VERDICTS if v in counts), *(v for v in counts if v not in VERDICTS)]
    return ", ".join(f"{counts[v]} {v if counts[v] == 1 or v not in VERDICTS else VERDICTS[v][0]}" for v in order)


def _judged(card: Card) -> dict[str, dict[str, Any]]:
    """Return what the evidence says of each claim that was judged by the rule that the card has now."""
    verdicts = card.verdicts()
    found = {entry.get("id"): entry for entry in (card.evidence or {}).get("claims", [])}
    return {i: entry for i, entry in found.items() if verdicts.get(i) not in (None, "not measured", "needs data")}


def _number(value: float | None, signed: bool = False) -> str:
    """Write a number for people: whole ones whole, differences with their sign."""
    if value is None:
        return "?"
    digits, sign = (3, "+") if signed else (6, "")
    whole = float(value).is_integer() or abs(value) >= 10**digits - 1
    return f"{value:{sign},.{0 if whole else digits}{'f' if whole else 'g'}}".replace("-", "\N{MINUS SIGN}")


def _measured(card: Card, claim: Claim, found: dict[str, Any]) -> list[str]:
    """Say in plain lines what was measured for a claim."""
    metric = card.metric.get(claim.metric, {})
    unit = found.get("unit") or metric.get("unit", "")
    lines = []
    if found.get("value") is not None:
        if claim.equals is not None:
            wanted = f" (claimed: {_number(claim.equals)})"
        else:
            wanted = f" (claimed: {' to '.join(map(_number, claim.within))})" if claim.within else ""
        lines.append(f"{_number(found['value'])} {unit}".strip() + wanted)
    comparisons = found.get("comparisons") or []
    if comparisons:
        better = f"; {metric['better']} is better" if metric.get("better") else ""
        lines.append(f"{claim.metric}: {claim.method} minus baseline{better}")
    for one in comparisons:
        difference, low, high = (_number(one.get(key), signed=True) for key in ("difference", "low", "high"))
        size = f"{difference} {unit}".strip()
        verdict = f": {one['verdict']}" if len(comparisons) > 1 and one.get("verdict") else ""
        lines.append(f"against {one.get('baseline', '?')}: {size} (95 %: {low} to {high}){verdict}")
    if found.get("matters") is False and found.get("verdict") == "holds":
        relevant = "" if claim.margin is None else f", {_number(claim.margin)} {unit}".rstrip()
        lines.append(f"holds, but the mean difference is smaller than what the card calls relevant{relevant}")
    elif found.get("note") and claim.kind != "absolute":  # an absolute claim's note repeats its command
        lines.append(found["note"])
    return lines


def _figures(card: Card) -> dict[str, str | None]:
    """Read the evidence's figures: file name to data URI, None for what is no PNG file in the evidence's own folder."""
    evidence = card.evidence or {}
    found: dict[str, str | None] = {}
    for name in evidence.get("figures", []):
        path = Path(evidence["folder"], name)
        found[name] = None
        if path.name == name and path.is_file() and path.stat().st_size <= LARGEST:
            content = path.read_bytes()
            if content.startswith(b"\x89PNG\r\n\x1a\n"):
                found[name] = f"data:image/png;base64,{base64.b64encode(content).decode()}"
    return found


def _head(cards: list[Card]) -> str:
    """Say what foveate is, how much was judged, and what chance alone would give."""
    verdicts = [(claim.kind, card.verdicts()[claim.id]) for card in cards for claim in card.claim]
    judged = [(kind, verdict) for kind, verdict in verdicts if verdict in JUDGED]
    rest = _count(verdict for _, verdict in verdicts if verdict not in JUDGED)
    relational = sum(kind == "relational" for kind, _ in judged)
    outcome = f": {_count(verdict for _, verdict in judged)}" if judged else ""
    others = f" The others: {escape(rest)}." if rest else ""
    return f"""<p>Papers of computer vision as working systems: run one on your own file, train it on your own data, and
reproduce its claims to see, measured, whether they hold.</p>
<p><strong>Systems: {len(cards)}.</strong>
<strong>Claims judged: {len(judged)}</strong> of {len(verdicts)}{escape(outcome)}.{others}</p>
<p>Relational claims among those judged, which compare a method with baselines over seeds: {relational}. Were nothing behind
any of them, 2.5 %, that is {CHANCE * relational:.2g}, would still come out as “holds” by chance.</p>
<p class="soft">A comparison <em>holds</em> if the whole 95 % interval of the mean difference lies on the claimed side,
<em>does not hold</em> if it lies on the other, and is <em>undecided</em> if it spans the line. <em>Needs data</em>: only the
paper's own data can tell.</p>"""


def _article(card: Card) -> str:
    """Write one system's card."""
    commands = [run_command(card)]
    if card.learns in ("gradient", "fit"):
        commands.append(f"foveate train {card.slug}")
    if not card.rivals:
        commands.append(f"foveate reproduce {card.slug}")
    by = escape(", ".join(card.authors) + (f" ({card.venue})" if card.venue else ""))
    source = f'<a href="https://arxiv.org/abs/{escape(card.arxiv)}">arXiv {escape(card.arxiv)}</a> · {by}'
    if card.rivals:
        source = "compares " + ", ".join(f'<a href="#{escape(r)}">{escape(r)}</a>' for r in card.rivals)
    figures = "".join(
        f'<figure><img src="{uri}" alt="{escape(f"{card.slug}: {Path(name).stem}")}"></figure>\n'
        if uri
        else f'<p class="soft">The figure {escape(name)} is missing.</p>\n'
        for name, uri in _figures(card).items()
    )
    return f"""<article id="{escape(card.slug)}">
<h3>{escape(card.title)}</h3>
<p class="soft">{source}</p>
<p><strong>{escape(card.slug)}</strong>: {escape(card.summary)}</p>
<pre>{escape(chr(10).join(commands))}</pre>
{_claims(card)}{_provenance(card)}{figures}</article>
"""


def _claims(card: Card) -> str:
    """Write the table of a system's claims."""
    if not card.claim:
        return '<p class="soft">Its card makes no claims yet.</p>\n'
    judged, verdicts = _judged(card), card.verdicts()
    labels = ("id", "claim", "paper", "measured", "verdict")
    rows = []
    for claim in card.claim:
        verdict, lines = verdicts[claim.id], [escape(line) for line in _measured(card, claim, judged.get(claim.id, {}))]
        if claim.command:
            lines.append(f"measure it: <code>{escape(claim.command)}</code>")
        badge = (
            f'<span class="badge {escape(verdict.replace(" ", "-"))}">'
            f'<span aria-hidden="true">{_sign(verdict)} </span>{escape(verdict)}</span>'
        )
        measured = "".join(f"<div>{line}</div>" for line in lines) or "not measured"
        cells = (escape(claim.id), escape(claim.says), escape(claim.paper) or "no figure", measured, badge)
        row = "".join(f'<td data-label="{label}">{cell}</td>' for label, cell in zip(labels, cells, strict=True))
        rows.append(f"<tr>{row}</tr>\n")
    header = "".join(f'<th scope="col">{label}</th>' for label in labels)
    return f"<table>\n<thead><tr>{header}</tr></thead>\n<tbody>\n{''.join(rows)}</tbody>\n</table>\n"


def _sign(verdict: str) -> str:
    """Return the sign of a verdict."""
    return VERDICTS.get(verdict, ("", "·"))[1]


def _provenance(card: Card) -> str:
    """Say how, where and when the evidence came about."""
    evidence = card.evidence
    if evidence is None:
        return f'<p class="soft">No evidence yet; <code>foveate reproduce {escape(card.slug)}</code> makes it.</p>\n'
    machine, versions = evidence.get("machine") or {}, evidence.get("versions") or {}
    seconds = evidence.get("seconds")
    facts = (
        ("", evidence.get("budget"), " budget"),
        ("", evidence.get("seeds"), " seeds"),
        ("", seconds and (f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"), ""),
        ("", str(evidence.get("started", ""))[:10], ""),
        ("", machine.get("processor"), ""),
        ("", machine.get("cores"), " cores"),
        ("", machine.get("memory_gb") and f"{machine['memory_gb']:.0f}", " GB"),
        ("", machine.get("accelerator"), ""),
        ("Python ", versions.get("python"), ""),
        ("torch ", versions.get("torch"), ""),
        ("foveate ", evidence.get("foveate") or versions.get("foveate"), ""),
        ("commit ", evidence.get("commit"), ""),
    )
    told = " · ".join(escape(f"{before}{value}{after}") for before, value, after in facts if value)
    return f'<p class="soft">Evidence: {told or "nothing is known of how it came about"}</p>\n'


def _with_notes(piece: str, notes: list[str]) -> str:
    """Put notes under a piece of a listing, between two marks by which the next issue finds them."""
    body = "\n\n".join(notes)
    return f"{piece.rstrip(chr(10))}\n\n<!-- foveate -->\n{body}\n\n<!-- /foveate -->\n"


def _notes(card: Card) -> list[str]:
    """Return the paragraphs that a listing shows of a system."""
    judged, verdicts = _judged(card), card.verdicts()
    told = [
        f"- {_sign(verdicts[c.id])} **{verdicts[c.id]}**: {_markdown('; '.join([c.says, *_measured(card, c, judged[c.id])]))}"
        for c in card.claim
        if c.id in judged and verdicts[c.id] in JUDGED
    ]
    figure = [f"![{card.slug}: {_markdown(Path(name).stem)}]({uri})" for name, uri in _figures(card).items() if uri][:1]
    return [
        f"**A system here: {card.slug}** ({_markdown(card.wing or card.package)}): {_markdown(card.summary)}.",
        f"Claims: {_markdown(standing(card))}.",
        *(["\n".join(told)] if told else []),
        *figure,
        f"Run it: `{run_command(card)}`",
    ]


def _markdown(text: str) -> str:
    """Escape a text for one line or cell of Markdown."""
    return re.sub(r"([\\`*_\[\]<>|$~])", r"\\\1", " ".join(text.split()))
