"""ImgQL, the text language of specifications: parsed, resolved and turned into hash-consed formulas.

A specification is a list of statements::

    load id = "file"        import "file"
    let name(arguments) = expression        let OPERATOR(a,b) = expression
    save "name" expression  print "name" expression

There is no precedence: infix operators are right-recursive, and a prefix operator takes the whole rest, so ``!a & b`` is
``!(a & b)``. Names are resolved where they are defined, as in the released tool; so wrong names and numbers of arguments are
found in definitions that nothing uses, too.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from lark import Lark, Token, v_args
from lark.exceptions import UnexpectedCharacters, UnexpectedToken
from lark.visitors import Transformer_NonRecursive

from foveate.errors import InputError
from foveate.systems.structures.polylogica.method import OPERATORS, Formulas

STDLIB = Path(__file__).with_name("stdlib.imgql")
MAX_BYTES = 2**26

GRAMMAR = r"""
start: statement*
?statement: "load" IDENTIFIER EQUALS STRING      -> load
          | "import" STRING                      -> import_file
          | "let" (IDENTIFIER | OPERATOR) parameters? EQUALS expression  -> let
          | "save" STRING expression             -> save
          | "print" STRING expression            -> show
parameters: "(" IDENTIFIER ("," IDENTIFIER)* ")"
?expression: operand
           | operand OPERATOR extra? expression  -> infix
           | OPERATOR expression                 -> prefix
?operand: NUMBER                                 -> number
        | TRUE                                   -> boolean
        | FALSE                                  -> boolean
        | STRING                                 -> string
        | IDENTIFIER actual?                     -> call
        | "(" expression ")"
actual: "(" expression ("," expression)* ")"
extra: "[" expression ("," expression)* "]"

EQUALS: "="
TRUE: "true"
FALSE: "false"
STRING: "\"" /[^"]*/ "\""
NUMBER.2: /[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?/
IDENTIFIER: /[a-z][A-Za-z0-9]*/
OPERATOR: /[A-Z#;:_'.|!$%&\/^=*\-+<>?@~\\]+/
COMMENT.3: /\/\/[^\n]*/
%ignore COMMENT
%ignore /\s+/
"""

# What the parser wants next, for people; whatever starts an expression is told as that.
_EXPRESSION = {"NUMBER", "STRING", "IDENTIFIER", "OPERATOR", "TRUE", "FALSE", "LPAR"}
_STATEMENT = {"LOAD", "IMPORT", "LET", "SAVE", "PRINT"}
_WORDS = {
    "STRING": "a name in double quotes", "IDENTIFIER": "a name", "OPERATOR": "an operator", "EQUALS": "=", "LPAR": "(",
    "RPAR": ")", "COMMA": "a comma", "LSQB": "[", "RSQB": "]",
}  # fmt: skip


@dataclass(frozen=True)
class Place:
    """A place in a file: what an error points at."""

    file: Path
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True)
class Expression:
    """A constant, or a name or operator applied to arguments.

    Attributes:
        place: Where it stands.
        name: What is applied; empty for a constant.
        arguments: To what.
        value: The constant.
        target: What the name means, once it is resolved: a definition, the number of a parameter, or None for a built-in.
    """

    place: Place
    name: str = ""
    arguments: tuple[Expression, ...] = ()
    value: float | bool | str | None = None
    target: Definition | int | None = None


@dataclass(frozen=True, eq=False)
class Definition:
    """What ``let`` defines; two of one name are two."""

    name: str
    parameters: tuple[str, ...]
    body: Expression
    place: Place


@dataclass(frozen=True)
class Statement:
    """A statement: its keyword, the name that it is about, and what it needs further."""

    place: Place
    keyword: str
    name: str
    parameters: tuple[str, ...] = ()
    body: Expression | None = None


@dataclass
class Specification:
    """A specification, ready to be checked.

    Attributes:
        formulas: All formulas, hash-consed.
        saves: Name to formula, in order; each of them is a set of cells.
        prints: Name and formula, in order.
        loads: Files that ``load`` statements name.
    """

    formulas: Formulas = field(default_factory=Formulas)
    saves: dict[str, int] = field(default_factory=dict)
    prints: list[tuple[str, int]] = field(default_factory=list)
    loads: list[str] = field(default_factory=list)

    @property
    def size(self) -> int:
        """Number of distinct formulas that have to be evaluated, constants left out."""
        needed = self.formulas.needed([*self.saves.values(), *(formula for _, formula in self.prints)])
        return sum(self.formulas.nodes[i].operator != "constant" for i in needed)


# ---------------------------------------------------------------------------------------------------------------------
# text to statements
# ---------------------------------------------------------------------------------------------------------------------


@cache
def _parser() -> Lark:
    return Lark(GRAMMAR, parser="lalr", propagate_positions=True)


@v_args(inline=True)
class _Build(Transformer_NonRecursive):
    """Turns the parse tree of one file into statements."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.file = file

    def _at(self, token: Token) -> Place:
        return Place(self.file, token.line or 0, token.column or 0)

    def start(self, *statements: Statement) -> list[Statement]:
        return list(statements)

    def load(self, name: Token, _: Token, file: Token) -> Statement:
        return Statement(self._at(name), "load", str(name), body=Expression(self._at(file), value=file[1:-1]))

    def import_file(self, file: Token) -> Statement:
        return Statement(self._at(file), "import", file[1:-1])

    def let(self, name: Token, *rest: Any) -> Statement:
        parameters = rest[0] if len(rest) == 3 else ()
        return Statement(self._at(name), "let", str(name), parameters, rest[-1])

    def save(self, name: Token, body: Expression) -> Statement:
        return Statement(self._at(name), "save", name[1:-1], body=body)

    def show(self, name: Token, body: Expression) -> Statement:
        return Statement(self._at(name), "print", name[1:-1], body=body)

    def parameters(self, *names: Token) -> tuple[str, ...]:
        return tuple(map(str, names))

    def infix(self, left: Expression, operator: Token, *rest: Any) -> Expression:
        extra = rest[0] if len(rest) == 2 else ()
        return Expression(self._at(operator), str(operator), (left, rest[-1], *extra))

    def prefix(self, operator: Token, operand: Expression) -> Expression:
        return Expression(self._at(operator), str(operator), (operand,))

    def call(self, name: Token, arguments: tuple[Expression, ...] = ()) -> Expression:
        return Expression(self._at(name), str(name), arguments)

    def actual(self, *arguments: Expression) -> tuple[Expression, ...]:
        return arguments

    extra = actual

    def number(self, token: Token) -> Expression:
        return Expression(self._at(token), value=float(token))

    def string(self, token: Token) -> Expression:
        return Expression(self._at(token), value=token[1:-1])

    def boolean(self, token: Token) -> Expression:
        return Expression(self._at(token), value=token == "true")


def parse(file: Path, text: str) -> list[Statement]:
    """Parse a file's text.

    Raises:
        InputError: If it does not follow the grammar; file, line and column are named.
    """
    try:
        return _Build(file).transform(_parser().parse(text))
    except UnexpectedCharacters as error:
        place = Place(file, error.line, error.column)
        if error.char == '"':
            raise InputError(
                place, "text in quotes is not expected here, or not closed", 'text in quotes, "like this"'
            ) from error
        raise InputError(place, f"unexpected {error.char!r}", "names, numbers, operators and text in quotes") from error
    except UnexpectedToken as error:
        wanted = _wanted(error.accepts or error.expected)
        if error.token.type == "$END":
            lines = text.rstrip().split("\n")
            place = Place(file, len(lines), len(lines[-1]) + 1)
            raise InputError(place, "the file ends in the middle of a statement", wanted) from error
        raise InputError(Place(file, error.line, error.column), f"unexpected {str(error.token)!r}", wanted) from error


def _wanted(terminals: Collection[str]) -> str:
    names = set(terminals)
    said = []
    if names >= _EXPRESSION:
        names -= _EXPRESSION
        said.append("an expression")
    if names & _STATEMENT:
        names -= _STATEMENT
        said.append("a statement: let, save, print, import or load")
    return " or ".join([*(_WORDS[name] for name in sorted(names) if name in _WORDS), *said]) or "nothing more"


def read_text(path: Path) -> str:
    """Read a text file.

    Raises:
        InputError: If there is none, it is too long, or no text.
    """
    expected = "a specification in ImgQL, UTF-8 text"
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError(path, "is too large", f"at most {MAX_BYTES:,} bytes")
        return path.read_bytes().decode("utf-8").replace("\r\n", "\n")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(path, "there is no such file", expected) from error
    except OSError as error:
        raise InputError(path, f"cannot be read: {error.strerror}", expected) from error
    except UnicodeDecodeError as error:
        raise InputError(path, "is not text", expected) from error


# ---------------------------------------------------------------------------------------------------------------------
# statements to formulas
# ---------------------------------------------------------------------------------------------------------------------


def read_specification(path: Path, atoms: Collection[str], hint: str = "") -> Specification:
    """Read a specification and resolve it against a model's atomic propositions.

    Args:
        path: The file.
        atoms: Names of the model's atomic propositions.
        hint: What else could become an atom, told when one is unknown.

    Raises:
        InputError: If it is wrong; file, line and column are named.
    """
    found = Specification()
    reader = _Reader(found, atoms, hint)
    try:
        for statement in parse(STDLIB, STDLIB.read_text(encoding="utf-8")):
            reader.take(statement)
        for statement in parse(path, read_text(path)):
            reader.take(statement)
    except RecursionError as error:
        raise InputError(path, "has an expression that is nested too deeply", "parts of it under names of their own") from error
    if not found.saves and not found.prints:
        raise InputError(path, "saves and prints nothing", 'a statement such as: save "name" ap("atom")')
    return found


@dataclass
class _Reader:
    """Takes statements one after the other."""

    found: Specification
    atoms: Collection[str]
    hint: str
    known: dict[str, Definition] = field(default_factory=dict)
    models: set[str] = field(default_factory=set)
    imported: set[Path] = field(default_factory=set)
    made: dict[tuple[Definition, tuple[int, ...]], int] = field(default_factory=dict)

    def take(self, statement: Statement) -> None:
        """Take one statement."""
        name, place = statement.name, statement.place
        if statement.keyword == "import":
            self._import(statement)
        elif statement.body is None:
            raise InputError(place, "has no expression")
        elif statement.keyword == "load":
            self.models.add(name)
            self.found.loads.append(str(statement.body.value))
        elif statement.keyword == "let":
            if len(set(statement.parameters)) < len(statement.parameters):
                raise InputError(place, f"{name} has a parameter twice", "distinct parameters")
            body = self._resolve(statement.body, statement.parameters)
            self.known[name] = Definition(name, statement.parameters, body, place)
            self.models.discard(name)
        else:
            formula = self._formula(self._resolve(statement.body, ()), (), ())
            if statement.keyword == "print":
                self.found.prints.append((name, formula))
                return
            kind = self.found.formulas.nodes[formula].kind
            if kind != "set":
                raise InputError(place, f"cannot save a {kind}", "a set of cells; print shows other values")
            if not name or name in self.found.saves:
                raise InputError(place, f"{name!r} is saved twice" if name else "is saved under no name", "a name of its own")
            self.found.saves[name] = formula

    def _import(self, statement: Statement) -> None:
        folder = statement.place.file.parent
        choices = [folder / statement.name, folder / f"{statement.name}.imgql"]
        path = next((p for p in choices if p.is_file()), None)
        if path is None and statement.name in ("stdlib", "stdlib.imgql"):
            return  # the one that every specification starts with
        if path is None:
            raise InputError(statement.place, f"there is no file {statement.name!r}", f"a file relative to {folder}")
        if path.resolve() in self.imported:
            return
        self.imported.add(path.resolve())
        for inner in parse(path, read_text(path)):
            if inner.keyword not in ("import", "let"):
                raise InputError(inner.place, f"{inner.keyword} stands in an imported file", "only let and import there")
            self.take(inner)

    def _resolve(self, body: Expression, parameters: Sequence[str]) -> Expression:
        """Find out what each name of an expression means."""
        if not body.name:
            return body
        arguments = tuple(self._resolve(a, parameters) for a in body.arguments)
        count = len(arguments)
        target: Definition | int | None
        if body.name in parameters:
            target, wanted = parameters.index(body.name), 0
        elif body.name in self.known:
            target = self.known[body.name]
            wanted = len(target.parameters)
        elif body.name in OPERATORS:
            target, wanted = None, len(OPERATORS[body.name].takes)
        elif body.name in self.models:
            raise InputError(body.place, f"{body.name} is a model, not a set of cells", 'ap("atom") for its atoms')
        else:
            near = difflib.get_close_matches(body.name, [*parameters, *self.known, *OPERATORS], 1)
            expected = f"perhaps {near[0]}" if near else "a name that is defined above, or a built-in operator"
            raise InputError(body.place, f"{body.name} is not defined", expected)
        if count != wanted:
            raise InputError(body.place, f"{body.name} got {_arguments(count)}", _arguments(wanted))
        return Expression(body.place, body.name, arguments, target=target)

    def _formula(self, body: Expression, actual: tuple[int, ...], stack: tuple[Expression, ...]) -> int:
        """Turn a resolved expression into a formula, its parameters being ``actual``."""
        formulas = self.found.formulas
        if not body.name:
            value = body.value
            return formulas.constant(value if value is not None else "")
        if isinstance(body.target, int):
            return actual[body.target]
        arguments = tuple(self._formula(a, actual, stack) for a in body.arguments)
        if body.target is None:
            # Errors inside the library are told at the call that led there.
            caller = next((c for c in (body, *reversed(stack)) if c.place.file != STDLIB), body)
            if body.name == "ap":
                self._check_atom(formulas.nodes[arguments[0]].value, caller.place)
            try:
                return formulas.make(body.name, *arguments)
            except InputError as error:
                raise InputError(caller.place, f"{body.name} {error.wrong}", error.expected) from error
        if (body.target, arguments) not in self.made:
            self.made[body.target, arguments] = self._formula(body.target.body, arguments, (*stack, body))
        return self.made[body.target, arguments]

    def _check_atom(self, name: Any, place: Place) -> None:
        if not isinstance(name, str) or name in self.atoms:
            return
        near = difflib.get_close_matches(name, self.atoms, 1)
        shown = ", ".join(sorted(self.atoms)[:20]) + (", ..." if len(self.atoms) > 20 else "")
        expected = f"perhaps {near[0]}" if near else f"one of {shown}" if self.atoms else "a model with atoms"
        raise InputError(place, f"the model has no atom {name!r}", expected + (f"; {self.hint}" if self.hint else ""))


def _arguments(count: int) -> str:
    return f"{count or 'no'} argument{'s' if count != 1 else ''}"


# ---------------------------------------------------------------------------------------------------------------------
# formulas to text
# ---------------------------------------------------------------------------------------------------------------------


def write_specification(formulas: Formulas, saves: Mapping[str, int]) -> str:
    """Write formulas as a specification; what is used more than once gets a name, so that it is written once.

    Example:
        >>> f = Formulas()
        >>> a = f.make("near", f.atom("a"))
        >>> print(write_specification(f, {"both": f.make("and", a, f.make("not", a))}))
        let f2 = near(ap("a"))
        save "both" and(f2,not(f2))
        <BLANKLINE>
    """
    needed = formulas.needed(saves.values())
    uses: dict[int, int] = {}
    for i in needed:
        for a in formulas.nodes[i].arguments:
            uses[a] = uses.get(a, 0) + 1
    written: dict[int, str] = {}

    def lines() -> Iterator[str]:
        for i in needed:
            node = formulas.nodes[i]
            if node.operator == "constant":
                written[i] = formulas.show(i)
                continue
            inner = ",".join(written[a] for a in node.arguments)
            written[i] = f"{node.operator}({inner})" if inner else node.operator
            # Long formulas get a name too, so that no line grows without end and none is nested too deeply.
            if inner and node.operator != "ap" and (uses.get(i, 0) > 1 or len(written[i]) > 100):
                yield f"let f{i} = {written[i]}"
                written[i] = f"f{i}"
        for name, formula in saves.items():
            yield f'save "{name}" {written[formula]}'

    return "\n".join(lines()) + "\n"
