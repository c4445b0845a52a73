"""The command `foveate`: the verbs, and nothing else."""

from __future__ import annotations

import argparse
import errno
import json
import os
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from foveate.errors import InputError

if TYPE_CHECKING:
    from foveate.catalogue import Card


class Parser(argparse.ArgumentParser):
    """A parser whose errors are `InputError`: one line, no usage."""

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing and exiting."""
        raise InputError(self.prog, message, f"{self.prog} --help tells more")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status.

    0: done; 1: some of several inputs failed, or a check did; 2: the input is wrong; 130: interrupted.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a file's name may hold what the terminal cannot show
    try:
        return _dispatch(given)
    except InputError as error:
        return _fail(str(error))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # Whoever read our output went away, as `| head` does: nothing is wrong, and nothing more can be printed.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.filename is None and error.errno is None:
            raise
        return _fail(f"{error.filename or 'the disk'}: {error.strerror}")


def _fail(line: str) -> int:
    print(f"foveate: {line.removeprefix('foveate ').removeprefix('foveate: ')}", file=sys.stderr)
    return 2


def _dispatch(given: list[str]) -> int:
    parser = Parser(prog="foveate", description="Computer-vision papers that work.")
    parser.add_argument("--version", action="store_true", help="print the version")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", parser_class=Parser)

    def verb(name: str, function: Any, says: str, slug: bool = True, rest: bool = False) -> argparse.ArgumentParser:
        made = verbs.add_parser(name, help=says, description=says, add_help=not rest)
        made.set_defaults(function=function)
        if slug:
            made.add_argument("slug", metavar="SYSTEM", nargs="?" if rest else None)
        return made

    p = verb("list", _list, "the systems: what each takes and gives, how its claims stand", slug=False)
    p.add_argument("--wing", help="only this wing")
    p.add_argument("--json", action="store_true", help="for programs")
    p = verb("show", _show, "a system's card: inputs, outputs, actions, data formats, claims, sizes")
    p.add_argument("--json", action="store_true", help="for programs")
    verb("run", _run, "run a system on your own files", rest=True)
    verb("train", _train, "train a system on your own data (LightningCLI)", rest=True)
    p = verb("reproduce", _reproduce, "measure a system's claims")
    p.add_argument("--claim", metavar="ID", help="only this claim")
    p.add_argument("--budget", choices=("quick", "full"), default="quick", help="a minute, or up to 25 minutes on 2 cores")
    p.add_argument("--seeds", type=_positive, metavar="N", help="seeds of the relational experiments")
    p.add_argument("--jobs", type=_positive, metavar="N", help="tasks side by side (default: one for each core)")
    p.add_argument("--backend", choices=("loky", "ray", "dask"), default="loky", help="joblib's: this machine or a cluster")
    p.add_argument("--out", type=Path, help="folder of the evidence (default: evidence if full, runs/evidence if quick)")
    p = verb("data", _data, "the data doctor: which layout a folder has, what is in it, what is missing")
    p.add_argument("path", type=Path, metavar="PATH")
    p.add_argument("--json", action="store_true", help="for programs")
    p = verb("import", _import, "weights that the authors released, or a checkpoint of ours: mapped strictly to safetensors")
    p.add_argument("file", type=Path, metavar="FILE")
    p.add_argument("--out", type=Path, default=Path("weights"), help="folder (default: weights)")
    p.add_argument("--half", action="store_true", help="store 16-bit floats: half the size")
    p = verb("check", _check, "does a system keep the contract?")
    p.add_argument("--full", action="store_true", help="the slow checks too")
    p = verb("page", _page, "all evidence as one HTML page; refreshes the README's table", slug=False)
    p.add_argument("--out", type=Path, help="the page (default: foveate.html; with --listing foveate.md)")
    p.add_argument("--readme", type=Path, help="README whose table is refreshed")
    p.add_argument("--listing", type=Path, help="re-issue this arXiv listing (Markdown) instead")
    p = verb("new", _new, "the skeleton of one more system", slug=False)
    p.add_argument("arxiv", metavar="ARXIV", help="the paper's number, 2105.01234")
    p.add_argument("slug", metavar="SYSTEM", help="its name here, a Python identifier")
    p.add_argument("--wing", required=True, help="the wing it belongs to")
    p.add_argument("--root", type=Path, default=Path(), help="the source tree (default: here)")

    options, rest = parser.parse_known_args(given)
    if options.version:
        from foveate import __version__

        print(__version__)
        return 0
    if options.verb is None:
        parser.print_help()
        return 0
    if options.verb in ("run", "train"):
        # What comes after the system is the system's own grammar.
        if given[1:2] in (["-h"], ["--help"]):
            print(f"usage: foveate {options.verb} SYSTEM ... (foveate {options.verb} SYSTEM --help tells more)")
            return 0
        if options.slug is None or given[1] != options.slug:
            raise InputError(
                f"foveate {options.verb}", "no system is named", f"foveate {options.verb} SYSTEM, then its options"
            )
        return options.function(options, given[given.index(options.slug) + 1 :])
    if rest:
        raise InputError(f"foveate {options.verb}", f"unknown argument {rest[0]}", f"foveate {options.verb} --help tells more")
    return options.function(options)


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1 up")
    return int(text)


# ---------------------------------------------------------------------------------------------------------------------
# list, show
# ---------------------------------------------------------------------------------------------------------------------


def _list(options: argparse.Namespace) -> int:
    from foveate.catalogue import cards
    from foveate.page import standing

    found = cards(options.wing)
    if options.json:
        print(json.dumps([card.describe() for card in found], indent=1, default=str))
        return 0
    wing = ""
    for card in found:
        if card.wing != wing:
            wing = card.wing
            print(f"\n{wing}")
        print(f"  {card.slug:<22} {card.summary}")
        print(f"  {'':<22} claims: {standing(card)}")
    return 0


def _show(options: argparse.Namespace) -> int:
    from foveate.catalogue import find

    card = find(options.slug)
    if options.json:
        print(json.dumps(card.describe(), indent=1, default=str))
        return 0
    where = f"arXiv {card.arxiv}" + (f", {card.venue}" if card.venue else "") + "\n" + ", ".join(card.authors)
    if card.rivals:
        where = f"compares {', '.join(card.rivals)}"
    print(f"{card.slug}: {card.title}\n{where}\n{card.summary}")
    for name, action in card.action.items():
        inputs = "; ".join(f"{n}: {i['kind']} ({', '.join(i['formats'])})" for n, i in action.get("inputs", {}).items())
        outputs = ", ".join(f"{n} ({kind})" for n, kind in action["outputs"].items())
        print(f"\nfoveate run {card.slug} {name}\n  {action['says']}\n  in:  {inputs or 'nothing'}\n  out: {outputs}")
    for title, table in (("data layouts", card.data), ("training recipes", card.recipe)):
        if table:
            print(f"\n{title}\n" + "\n".join(f"  {name:<10} {entry['says']}" for name, entry in table.items()))
    if card.preset:
        print(
            "\npresets\n"
            + "\n".join(f"  {n:<10} " + ", ".join(f"{k}={v}" for k, v in p.items()) for n, p in card.preset.items())
        )
    verdicts = card.verdicts()
    print("\nclaims")
    for claim in card.claim:
        print(f"  {claim.id:<12} {verdicts[claim.id]:<14} {claim.says} (paper: {claim.paper})")
        if claim.command:
            print(f"  {'':<27} {claim.command}")
    return 0


# ---------------------------------------------------------------------------------------------------------------------
# run, train
# ---------------------------------------------------------------------------------------------------------------------


def _run(options: argparse.Namespace, rest: list[str]) -> int:
    import inspect

    from jsonargparse import ArgumentError

    from foveate import actions
    from foveate.catalogue import find

    card = find(options.slug)
    name = rest.pop(0) if rest and rest[0] in card.action else None
    name, function = actions.find_action(card, name)
    parser = _action_parser(card, name, function)
    try:
        values = vars(parser.parse_args(actions.spell_out_flags(function, rest)))
    except ArgumentError as error:
        raise InputError(parser.prog, str(error), f"{parser.prog} --help tells more") from error
    out = Path(values.pop("out"))
    inputs: list[Path]
    if actions.takes_many(card, name, function):
        (argument,) = actions.input_names(function)
        patterns = values.pop(argument)
        inputs = actions.expand(patterns, card.action[name]["inputs"][argument]["formats"])
        several = len(inputs) > 1 or len(patterns) > 1 or Path(patterns[0]).is_dir()
    else:
        inputs = [Path(values.pop(argument)) for argument in actions.input_names(function)]
        several = False
    actions.check_writable(out)
    known = inspect.signature(function).parameters
    failed = 0
    notes: list[str] = []
    for outcome in actions.run(card, inputs, name, **{k: v for k, v in values.items() if k in known}):
        if isinstance(outcome, InputError):
            if not several:
                raise outcome
            failed += 1
            _fail(str(outcome))
            continue
        try:
            written = outcome.save(out)
        except InputError as error:
            full = isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.ENOSPC
            if full or not several:
                raise
            failed += 1
            _fail(f"{outcome.name}: {error}")
            continue
        print(*written, sep="\n")
        notes += [note for note in outcome.notes if note not in notes]
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    if failed:
        print(f"{failed} of {len(inputs)} inputs failed", file=sys.stderr)
    return 1 if failed else 0


def _action_parser(card: Card, name: str, function: Any) -> Any:
    """Make the parser of an action: its typed function's parameters, and where the result goes."""
    from jsonargparse import ArgumentParser

    from foveate import actions

    inputs = actions.input_names(function)
    others = [other for other in card.action if other != name]
    parser = ArgumentParser(
        prog=f"foveate run {card.slug}" + (f" {name}" if len(card.action) > 1 else ""),
        description=f"{card.title}. {card.action[name]['says']}." + (f" Other actions: {', '.join(others)}." if others else ""),
        exit_on_error=False,
        default_env=False,
    )
    many = actions.takes_many(card, name, function)
    for argument in inputs:
        formats = ", ".join(card.action[name]["inputs"][argument]["formats"])
        says = f"{card.action[name]['inputs'][argument]['kind']} ({formats})"
        if many:
            parser.add_argument(argument, nargs="+", help=f"{says}: files, folders or globs")
        else:
            parser.add_argument(argument, help=says)
    parser.add_function_arguments(function, skip=set(inputs), sub_configs=False)
    parser.add_argument("--out", default="out", help="folder for the results")
    return parser


def _train(options: argparse.Namespace, rest: list[str]) -> int:
    from foveate.catalogue import find

    card = find(options.slug)
    from foveate.trainer import train

    train(card, rest)
    return 0


# ---------------------------------------------------------------------------------------------------------------------
# reproduce
# ---------------------------------------------------------------------------------------------------------------------


def _reproduce(options: argparse.Namespace) -> int:
    from foveate import evidence
    from foveate.catalogue import find

    card = find(options.slug)
    found = evidence.reproduce(card, options.claim, options.budget, options.seeds, options.jobs, options.backend, options.out)
    _print_verdicts(card, found)
    print(f"evidence: {evidence.folder_of(card, options.budget, options.out)}")
    return 0


def _print_verdicts(card: Card, found: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{card.slug}: {found['budget']} budget, {found['seconds']:.0f} s", title_justify="left")
    for column in ("claim", "arms", "difference or value", "95 % interval", "verdict"):
        table.add_column(column, overflow="fold")
    claims = {claim.id: claim for claim in card.claim}
    for judged in found["claims"]:
        claim = claims[judged["id"]]
        verdict = judged["verdict"] + (f" ({judged['note']})" if judged["note"] and claim.kind != "absolute" else "")
        if judged["verdict"] in ("needs data", "not measured"):
            table.add_row(f"{claim.id} {claim.says}", "", "", "", judged["verdict"])
        elif claim.kind == "structural":
            table.add_row(f"{claim.id} {claim.says}", claim.method, f"{judged['value']:,.9g}", "", verdict)
        else:
            unit = card.metric[claim.metric]["unit"]
            for i, c in enumerate(judged["comparisons"]):
                table.add_row(
                    f"{claim.id} {claim.says}" if i == 0 else "",
                    f"{claim.method} - {c['baseline']}",
                    f"{c['difference']:+.3g} {unit}",
                    "none" if c["low"] is None else f"{c['low']:+.3g} to {c['high']:+.3g}",
                    verdict if i == 0 else "",
                )
    Console(width=None if sys.stdout.isatty() else 140).print(table)


# ---------------------------------------------------------------------------------------------------------------------
# data, import
# ---------------------------------------------------------------------------------------------------------------------


def _data(options: argparse.Namespace) -> int:
    from foveate.catalogue import find

    card = find(options.slug)
    if not card.data:
        raise InputError(card.slug, "reads no data sets")
    if not options.path.is_dir():
        raise InputError(options.path, "there is no such folder", "the folder of a data set")
    module = card.module("data")
    found: dict[str, Any] = {}
    for name, layout in card.data.items():
        try:
            parts = getattr(module, layout["class"])(root=str(options.path)).parts()
            found[name] = {"says": layout["says"], "fits": True, "parts": {part: len(items) for part, items in parts.items()}}
        except InputError as error:
            found[name] = {"says": layout["says"], "fits": False, "missing": str(error)}
    if options.json:
        print(json.dumps(found, indent=1))
    else:
        for name, report in found.items():
            print(f"{'+' if report['fits'] else '-'} {name}: {report['says']}")
            print(
                "    " + (", ".join(f"{p}: {n}" for p, n in report["parts"].items()) if report["fits"] else report["missing"])
            )
    if not any(report["fits"] for report in found.values()):
        raise InputError(options.path, "has none of the layouts above", "one of them")
    return 0


def _import(options: argparse.Namespace) -> int:
    from foveate.catalogue import find

    card = find(options.slug)
    if card.learns != "gradient":
        raise InputError(card.slug, "has no network that weights could be imported to", "a system that learns by gradient")
    method = card.module("method")
    from foveate.parts import weights

    kind = getattr(method, card.network)
    content = weights.read_checkpoint(options.file)
    if "arguments" in content:  # of our own training
        network = weights.load(kind, options.file)
    elif not hasattr(method, "released"):
        raise InputError(options.file, f"is no checkpoint of ours, and of {card.slug} none is released", "one of foveate train")
    else:
        try:
            arguments, state = method.released(content)
            network = kind(**arguments)
            network.load_state_dict(state)
        except (InputError, RuntimeError, TypeError) as error:
            said = textwrap.shorten(str(error), 300)
            raise InputError(options.file, f"does not fit: {said}", f"weights of {card.slug}") from error
    target = options.out / f"{options.file.stem}.safetensors"
    weights.save(network, target, options.half)
    print(target)
    print(f"{len(network.state_dict())} tensors, {network.arguments}", file=sys.stderr)
    return 0


# ---------------------------------------------------------------------------------------------------------------------
# check, page, new
# ---------------------------------------------------------------------------------------------------------------------


def _check(options: argparse.Namespace) -> int:
    from foveate.catalogue import find
    from foveate.contract import check

    failed = 0
    for finding in check(find(options.slug), full=options.full):
        print(finding)
        failed += not finding.ok
    return 1 if failed else 0


def _page(options: argparse.Namespace) -> int:
    from foveate import page
    from foveate.catalogue import cards

    found = cards()
    if options.readme and page.refresh_readme(options.readme, found):
        print(options.readme)
    if options.listing:
        print(page.reissue_listing(options.listing, found, options.out or Path("foveate.md")))
    else:
        print(page.write_page(options.out or Path("foveate.html"), found))
    return 0


def _new(options: argparse.Namespace) -> int:
    from foveate.skeleton import create

    for path in create(options.arxiv, options.slug, options.wing, options.root):
        print(path)
    print(f"now fill them in; foveate check {options.slug} says what is missing", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
