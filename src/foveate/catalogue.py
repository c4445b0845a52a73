"""What systems there are: each one's card, read from its card.toml without importing it."""

from __future__ import annotations

import difflib
import importlib
import importlib.metadata
import importlib.util
import json
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from functools import cache, cached_property
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from foveate.errors import InputError, MissingExtra

HOME = Path(__file__).parent
GROUP = "foveate.systems"  # the entry-point group through which other packages' systems join

Kind = Literal["structural", "relational", "absolute"]
RELATIONS = ("better than", "no worse than", "equal to")


@dataclass(frozen=True)
class Claim:
    """One claim of the paper, in our words, and how an experiment decides it.

    Attributes:
        id: As in the system's sheet.
        says: The claim.
        kind: ``structural`` (measured exactly, no seeds), ``relational`` (method against baselines over seeds) or ``absolute``
            (a figure on the paper's own data).
        paper: The paper's own figure.
        experiment: Function in reproduce.py.
        metric: Metric that it is judged by; declared under ``[metric]``.
        method: Arm that the claim is about.
        baseline: Arms that it is compared with.
        relation: ``better than``, ``no worse than`` or ``equal to``.
        margin: Smallest difference that matters, in the metric's unit; the line for the two latter relations.
        equals: For a structural claim, the exact value.
        within: For a structural claim, the allowed range.
        command: For an absolute claim, the command that measures it on the paper's data.
    """

    id: str
    says: str
    kind: Kind
    paper: str = ""
    experiment: str = ""
    metric: str = ""
    method: str = ""
    baseline: tuple[str, ...] = ()
    relation: str = ""
    margin: float | None = None
    equals: float | None = None
    within: tuple[float, float] | None = None
    command: str = ""

    def rule(self) -> str:
        """Return what decides the claim, in one line: a verdict is worth nothing for another rule."""
        target = [self.equals, self.within] if self.kind == "structural" else [self.relation, list(self.baseline), self.margin]
        return json.dumps([self.experiment, self.metric, self.method, *target])

    def problems(self) -> list[str]:
        """List what is missing or contradictory."""
        wanted = {
            "structural": ("experiment", "metric", "method"),
            "relational": ("experiment", "metric", "method", "baseline", "relation"),
            "absolute": ("command",),
        }
        if self.kind not in wanted:
            return [f"kind {self.kind!r} is none of {', '.join(wanted)}"]
        found = [f"{name} is missing" for name in wanted[self.kind] if not getattr(self, name)]
        if self.kind == "structural" and (self.equals is None) == (self.within is None):
            found.append("needs either equals or within")
        if self.kind == "relational" and self.relation not in RELATIONS:
            found.append(f"relation {self.relation!r} is none of {', '.join(RELATIONS)}")
        elif self.kind == "relational" and self.relation != "better than" and self.margin is None:
            found.append(f"{self.relation!r} needs a margin")
        return found


@dataclass(frozen=True)
class Card:
    """What card.toml says of a system, or of a comparison of several.

    Attributes:
        folder: Where the system lies.
        package: Its import path.
        wing: The folder above it, or what the card of another package says.
        title: The paper's.
        summary: One line: what goes in, what comes out.
        learns: ``gradient``, ``fit`` (scikit-learn style) or ``no``.
        arxiv: The paper's number.
        authors: In the paper's order.
        rivals: The systems that a comparison compares; a comparison has experiments and claims, and nothing to run.
        venue: Where it appeared.
        code: The authors' repository.
        needs: Extra of foveate (``pip install 'foveate[NEEDS]'``) without which it cannot be imported.
        network: Class in method.py that `foveate.load` builds.
        forward: Entries of a batch (of arrays, for ``fit``) that the network is called with.
        any_size: Whether the network takes pictures of any size.
        exports: Whether the network is feed-forward and exports.
        stages: Training stages in order: name to ``{module, data}``, classes in train.py and data.py.
        preset: Named constructor arguments of the network; ``tiny`` is used by the contract.
        recipe: Named settings of `foveate train`.
        action: Actions in run.py, the default first: ``{says, inputs, outputs}``.
        data: Data layouts: ``{class, says}``, classes in data.py.
        metric: Metrics of the experiments: ``{unit, better}``.
        experiment: Settings of experiments: ``{seeds, alone}``.
        claim: The claims.
        known_failure: Contract checks that are known to fail, each with its reason.
    """

    folder: Path
    package: str
    wing: str
    title: str
    summary: str
    learns: Literal["gradient", "fit", "no", ""] = ""
    arxiv: str = ""
    authors: tuple[str, ...] = ()
    rivals: tuple[str, ...] = ()
    venue: str = ""
    code: str = ""
    needs: str = ""
    network: str = ""
    forward: tuple[str, ...] = ()
    any_size: bool = False
    exports: bool = True
    stages: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    preset: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    recipe: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    action: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    data: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    metric: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    experiment: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    claim: tuple[Claim, ...] = ()
    known_failure: Mapping[str, str] = field(default_factory=dict)

    @property
    def slug(self) -> str:
        """The system's name: its folder's."""
        return self.folder.name

    @cached_property
    def evidence(self) -> dict[str, Any] | None:
        """What `foveate reproduce` measured: here, or as committed or shipped; None if nothing was."""
        bases = (Path("evidence"), HOME.parents[1] / "evidence", HOME / "_evidence")
        for folder in (*(base / self.slug for base in bases), self.folder / "evidence"):
            path = folder / "evidence.json"
            if path.is_file():
                try:
                    return {**json.loads(path.read_text(encoding="utf-8")), "folder": str(folder)}
                except (ValueError, TypeError) as error:
                    raise InputError(path, f"is broken: {error}", f"foveate reproduce {self.slug} writes it anew") from error
        return None

    def verdicts(self) -> dict[str, str]:
        """Claim id to verdict: ``holds``, ``does not hold``, ``undecided``, ``needs data`` or ``not measured``.

        A verdict counts only for the claim that was judged: once its card says another relation or margin, it is gone.
        """
        judged = {c.get("id"): c for c in (self.evidence or {}).get("claims", [])}
        found = {}
        for claim in self.claim:
            entry = judged.get(claim.id, {})
            current = entry.get("rule") == claim.rule()
            found[claim.id] = entry.get("verdict", "not measured") if current else "not measured"
            if claim.kind == "absolute":
                found[claim.id] = "needs data"
        return found

    def module(self, name: str) -> ModuleType:
        """Import one of the system's modules: method, data, run, train or reproduce.

        Raises:
            InputError: If the system has no such module.
            MissingExtra: If a package that the card declares is not installed.
        """
        try:
            return importlib.import_module(f"{self.package}.{name}")
        except ModuleNotFoundError as error:
            if error.name == f"{self.package}.{name}":
                raise InputError(self.slug, f"has no {name}.py", f"{self.folder / f'{name}.py'}") from error
            if self.needs and error.name:
                raise MissingExtra(error.name.partition(".")[0], self.needs) from error
            raise

    def describe(self) -> dict[str, Any]:
        """Return the card as plain values, for programs."""
        plain = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("folder", "claim")}
        verdicts = self.verdicts()
        claims = [{k.name: getattr(c, k.name) for k in fields(c)} | {"verdict": verdicts[c.id]} for c in self.claim]
        return {"slug": self.slug, **plain, "claim": claims}


def read_card(folder: Path, package: str, wing: str = "") -> Card:
    """Read a system's card.

    Args:
        folder: The system's folder.
        package: Its import path.
        wing: Its wing, unless the card names one.

    Raises:
        InputError: If card.toml is missing, broken, or has unknown or missing keys.
    """
    path = folder / "card.toml"
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(path, "there is no such file", "a card; see CONTRIBUTING") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(path, f"is not valid TOML: {error}", "a card; see CONTRIBUTING") from error
    content = {"wing": wing, **content}
    content["claim"] = tuple(_build(Claim, c, f"{path}, claim {c.get('id', '?')}") for c in content.get("claim", []))
    return _build(Card, {"folder": folder, "package": package, **content}, str(path))


def _build(kind: type, values: dict[str, Any], where: str) -> Any:
    """Make a dataclass of a TOML table, refusing unknown and missing keys."""
    known = {f.name: f for f in fields(kind)}
    for key in values:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            raise InputError(where, f"unknown key {key!r}", f"perhaps {near[0]}" if near else f"one of {', '.join(known)}")
    required = {n for n, f in known.items() if f.default is MISSING and f.default_factory is MISSING}
    missing = sorted(required - values.keys())
    if missing:
        raise InputError(where, f"{', '.join(missing)} is missing")
    # One baseline may be written without brackets; lists are kept as tuples.
    whole = {k: (v,) if k == "baseline" and isinstance(v, str) else v for k, v in values.items()}
    return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in whole.items()})


@cache
def _places() -> dict[str, tuple[Path, str, str]]:
    """Find every system and comparison: slug to folder, import path and wing."""
    found = {}
    for path in sorted((HOME / "comparisons").glob("*/card.toml")):
        slug = path.parent.name
        found[slug] = (path.parent, f"foveate.comparisons.{slug}", "comparisons")
    for path in sorted((HOME / "systems").glob("*/*/card.toml")):
        wing, slug = path.parts[-3:-1]
        found[slug] = (path.parent, f"foveate.systems.{wing}.{slug}", wing)
    for entry in importlib.metadata.entry_points(group=GROUP):
        try:
            spec = importlib.util.find_spec(entry.value)
        except ModuleNotFoundError:  # a package that is half gone does not hide the others
            continue
        if spec is not None and spec.submodule_search_locations:
            folder = Path(next(iter(spec.submodule_search_locations)))
            found[folder.name] = (folder, entry.value, "")
    return found


def find(slug: str) -> Card:
    """Return the card of a system.

    Raises:
        InputError: If there is no such system; the nearest name is suggested.
    """
    places = _places()
    if slug not in places:
        near = difflib.get_close_matches(slug, places, 1, cutoff=0.4)
        raise InputError(slug, "there is no such system", f"perhaps {near[0]}" if near else "a name that `foveate list` shows")
    return read_card(*places[slug])


def cards(wing: str | None = None) -> list[Card]:
    """Return all cards, or those of one wing, by wing and name.

    Raises:
        InputError: If no system is in the wing.
    """
    # Comparisons come after what they compare.
    found = sorted((read_card(*place) for place in _places().values()), key=lambda c: (bool(c.rivals), c.wing, c.slug))
    if wing is None:
        return found
    wings = sorted({c.wing for c in found})
    if wing not in wings:
        near = difflib.get_close_matches(wing, wings, 1)
        raise InputError(wing, "there is no such wing", f"perhaps {near[0]}" if near else f"one of {', '.join(wings)}")
    return [c for c in found if c.wing == wing]
