"""The contract that every system keeps, driven by what its card declares: `foveate check`, and tests/contract over all cards.

Each check is a function of a card that raises `Broken` with a message for the system's author. The system's examples.py says
what to feed it: ``example(action, name, format, folder)`` writes one input file and returns its path, ``layout(name, folder)``
writes a small data set in the paper's real format and returns the file of its first validation item (or None if items are not
files of their own).
"""

from __future__ import annotations

import ast
import inspect
import re
import tempfile
import textwrap
import typing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from foveate import actions, evidence
from foveate.catalogue import Card, cards
from foveate.errors import InputError, MissingExtra
from foveate.results import Result

STEPS = 6  # of the short trainings that are stopped and resumed
UNWRITTEN = "is not written yet"  # what the functions that `foveate new` wrote raise until they are


class Broken(Exception):
    """A system does not keep the contract; the message says how and what to do."""


@dataclass(frozen=True)
class Finding:
    """Outcome of one check.

    Attributes:
        point: Number of the contract's point, 1 to 6.
        name: What was checked.
        ok: Whether it is kept, or is a known failure that the card declares.
        message: What is wrong, or why nothing was to be checked.
    """

    point: int
    name: str
    ok: bool
    message: str = ""

    def __str__(self) -> str:
        """One line."""
        return f"{'ok  ' if self.ok else 'FAIL'} {self.point} {self.name}" + (f": {self.message}" if self.message else "")


def check(card: Card, full: bool = False) -> Iterator[Finding]:
    """Check a system.

    Args:
        card: The system.
        full: Run the slow checks too: all experiments at the quick budget, and the ONNX export.

    Yields:
        A finding for each check, in the contract's order.
    """
    declared = dict(card.known_failure)
    for point, name, test in _checks(card, full):
        known = declared.pop(name, None)
        try:
            remark = test(card) or ""
        except Broken as error:
            yield Finding(point, name, known is not None, f"known failure: {known} ({error})" if known else str(error))
        except Exception as error:
            said = textwrap.shorten(f"{type(error).__name__}: {error}", 500)  # PyTorch's go over many lines
            yield Finding(point, name, known is not None, f"known failure: {known} ({said})" if known else said)
        else:
            if known:
                yield Finding(point, name, False, f"passes, but the card declares it a known failure ({known}); take that out")
            else:
                yield Finding(point, name, True, remark)
    for name in declared:
        yield Finding(1, name, False, "the card declares a known failure of a check that does not exist")


Check = Callable[[Card], str | None]


def _checks(card: Card, full: bool) -> Iterator[tuple[int, str, Check]]:
    yield 1, "card", _card_is_whole
    yield 1, "written", _is_written
    for name in dict.fromkeys(c.experiment for c in card.claim if c.experiment):
        yield 1, f"experiment {name}", partial(_experiment_fits, name=name, full=full)
    for name, action in card.action.items():
        for argument, declared in action.get("inputs", {}).items():
            for suffix in declared.get("formats", []):
                yield 2, f"{name} {argument}.{suffix}", partial(_action_works, name=name, argument=argument, suffix=suffix)
        if not action.get("inputs"):
            yield 2, name, partial(_action_works, name=name)
    for name, action in card.action.items():
        for argument in action.get("inputs", {}):
            yield 3, f"{name} {argument}", partial(_refuses, name=name, argument=argument)
    if card.learns == "gradient":
        for stage in card.stages:
            yield 4, f"{stage} learns", partial(_learns, stage=stage)
            yield 4, f"{stage} resumes", partial(_resumes, stage=stage)
    elif card.learns == "fit":
        yield 4, "fit learns", _fit_learns
    for name in card.data:
        yield 5, f"data {name}", partial(_reads_layout, name=name)
    for name in card.action:
        yield 6, f"{name} repeats", partial(_repeats, name=name)
    if card.learns == "gradient":
        for stage in card.stages:
            yield 6, f"{stage} is seeded", partial(_is_seeded, stage=stage)
    if card.network and card.learns == "gradient":
        yield 6, "batch", _batch_agrees
        yield 6, "saved", _saved_agrees
        yield 6, "moved", _moved_works
        if card.exports:
            yield 6, "exported", partial(_exports, onnx=full)
    elif card.learns == "fit":
        yield 6, "batch", _predicts_alike


def _require(condition: object, message: str) -> None:
    if not condition:
        raise Broken(message)


# ---------------------------------------------------------------------------------------------------------------------
# 1: the card
# ---------------------------------------------------------------------------------------------------------------------


def _card_is_whole(card: Card) -> None:
    """The card is valid, and its actions match run.py's signatures."""
    wanted = ("title", "summary") if card.rivals else ("title", "summary", "authors")
    problems = [f"{name} is empty" for name in wanted if not getattr(card, name)]
    if not card.rivals and not re.fullmatch(r"\d{4}\.\d{4,5}|[a-z-]+(\.[A-Z]{2})?/\d{7}", card.arxiv):
        problems.append(f"arxiv {card.arxiv!r} is no arXiv number")
    if not card.rivals and card.learns not in ("gradient", "fit", "no"):
        problems.append(f"learns {card.learns!r} is none of gradient, fit, no")
    if card.learns == "gradient" and not card.stages:
        problems.append("learns by gradient but names no [stages]")
    if card.learns == "gradient" and card.network and "tiny" not in card.preset:
        problems.append("has no [preset.tiny] for the checks")
    if not card.claim:
        problems.append("has no claims")
    if not card.action and not card.rivals:
        problems.append("has no [action]")
    problems += [f"compares {slug!r}, which is no system" for slug in card.rivals if slug not in {c.slug for c in cards()}]
    problems += [f"claim {claim.id}: says nothing" for claim in card.claim if not claim.says]
    problems += [f"claim {claim.id}: {p}" for claim in card.claim for p in claim.problems()]
    problems += [
        f"claim {claim.id}: metric {claim.metric!r} has no [metric.{claim.metric}] with unit and better"
        for claim in card.claim
        if claim.metric and not {"unit", "better"} <= card.metric.get(claim.metric, {}).keys()
    ]
    repeated = {c.id for c in card.claim if sum(c.id == d.id for d in card.claim) > 1}
    problems += [f"claim {i} stands twice" for i in sorted(repeated)]
    for name, action in card.action.items():
        problems += [f"action {name}: {p}" for p in _action_problems(card, name, action)]
    problems += [f"data {name}: says nothing" for name, layout in card.data.items() if not layout.get("says")]
    problems += [f"known failure {name}: gives no reason" for name, reason in card.known_failure.items() if not reason]
    for name in ("reproduce",) if card.rivals else ("run", "reproduce", "examples"):
        if not (card.folder / f"{name}.py").is_file():
            problems.append(f"there is no {name}.py")
    _require(not problems, "; ".join(problems))


def _action_problems(card: Card, name: str, action: Any) -> Iterator[str]:
    """Compare an action's table with its typed function."""
    try:
        _, function = actions.find_action(card, name)
    except MissingExtra:
        raise
    except InputError as error:
        yield str(error)
        return
    parameters = inspect.signature(function).parameters.values()
    hints = typing.get_type_hints(function)
    if not inspect.getdoc(function):
        yield "has no docstring"
    for p in parameters:
        if p.kind in (p.VAR_KEYWORD, p.VAR_POSITIONAL):
            yield f"*{p.name} hides what it takes"
        elif p.name not in hints:
            yield f"parameter {p.name} has no type"
        elif p.default is p.empty and hints[p.name] not in (Path, list[Path]):
            yield f"parameter {p.name} has no default: only inputs may have none, and those are typed Path or list[Path]"
    inputs, declared = list(actions.input_names(function)), list(action.get("inputs", {}))
    if inputs != declared:
        yield f"the card's inputs are {declared}, the function's {inputs}"
    for argument, entry in action.get("inputs", {}).items():
        if not {"kind", "formats"} <= entry.keys():
            yield f"input {argument} needs a kind and formats"
    if not action.get("outputs"):
        yield "declares no outputs"
    if not action.get("says"):
        yield "says nothing"


def _is_written(card: Card) -> None:
    """No function is left as `foveate new` wrote it."""
    left: dict[str, list[str]] = {}
    for path in sorted(card.folder.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), path)):
            said = [a.value for a in node.args if isinstance(a, ast.Constant)] if isinstance(node, ast.Call) else []
            if UNWRITTEN in said:
                left.setdefault(path.name, []).append(said[-1])
    _require(not left, "; ".join(f"{name} {UNWRITTEN}: {', '.join(what)}" for name, what in left.items()))


def _experiment_fits(card: Card, name: str, full: bool) -> str | None:
    """An experiment exists and returns the arms and metrics that the claims mention.

    What it returns is seen in evidence of the same code if there is any, else in a run at the quick budget.
    """
    function = evidence.experiment(card, name)
    missing = [p for p in ("seed", "budget") if p not in inspect.signature(function).parameters]
    _require(not missing, f"experiment {name} lacks the parameters {missing}")
    known = card.evidence
    fresh = known is not None and known.get("code") == evidence.fingerprint(card) and name in known["experiments"]
    if fresh and not full:
        arms = {arm: set(metrics) for arm, metrics in known["experiments"][name]["arms"].items()}
    else:
        arms = {}
        for group in evidence.groups(function) or [None]:
            outcome = function(0, "quick", **({"group": group} if group else {}))
            arms |= {arm: set(entries) for arm, entries in outcome.items()}
    for claim in card.claim:
        if claim.experiment == name:
            for arm in (claim.method, *claim.baseline):
                _require(arm in arms, f"claim {claim.id} names the arm {arm!r}; {name} returns {', '.join(sorted(arms))}")
                has = ", ".join(sorted(arms[arm]))
                _require(claim.metric in arms[arm], f"claim {claim.id} names {claim.metric!r}; arm {arm} of {name} has {has}")
    return None if fresh else "run at the quick budget"


# ---------------------------------------------------------------------------------------------------------------------
# 2 and 3: actions on right and on wrong input
# ---------------------------------------------------------------------------------------------------------------------


def _inputs(card: Card, name: str, folder: Path, chosen: str = "", suffix: str = "") -> dict[str, Path]:
    """Write an example of each input of an action: of the chosen one in a format, of the others in their first one."""
    example = card.module("examples").example
    declared = card.action[name].get("inputs", {})
    paths = {}
    for argument, entry in declared.items():
        place = folder / argument
        place.mkdir()
        paths[argument] = example(name, argument, suffix if argument == chosen else entry["formats"][0], place)
    return paths


def _result(card: Card, name: str, paths: dict[str, Path]) -> Result:
    """Run an action on files that it should take."""
    (outcome,) = actions.run(card, list(paths.values()), name)
    if isinstance(outcome, InputError):
        raise Broken(f"refuses the example: {outcome}")
    _require(isinstance(outcome, Result), f"returns a {type(outcome).__name__}, not a Result")
    return outcome


def _action_works(card: Card, name: str, argument: str = "", suffix: str = "") -> None:
    """An action works on the embedded sample in one format, and writes what it says it writes."""
    with _workplace() as folder:
        outcome = _result(card, name, _inputs(card, name, folder, argument, suffix))
        for output, kind in card.action[name]["outputs"].items():
            _require(output in outcome, f"the card promises {output!r}; the result has {', '.join(outcome)}")
            part = outcome[output]
            _require(part.kind == kind, f"{output} is a {part.kind}, the card says {kind}")
        for path in outcome.save(folder / "out"):
            _require(path.is_file() and path.stat().st_size, f"wrote nothing to {path.name}")


def _repeats(card: Card, name: str) -> None:
    """Run twice, an action writes the same, byte for byte."""
    with _workplace() as folder:
        paths = _inputs(card, name, folder)
        first, second = (_result(card, name, paths).save(folder / run) for run in ("one", "two"))
        apart = [one.name for one, two in zip(first, second, strict=True) if one.read_bytes() != two.read_bytes()]
    _require(not apart, f"run twice it writes another {', '.join(apart)}: give it a seed, and keep times out of results")


def _refuses(card: Card, name: str, argument: str) -> str:
    """Wrong input ends in one line that names the file, whatever is wrong with it."""
    declared = card.action[name]["inputs"][argument]
    seen = []
    with _workplace() as folder:
        paths = _inputs(card, name, folder)
        for label, wrong in _wrong(paths[argument], declared["kind"], folder):
            before = sorted(folder.rglob("*"))
            given = [wrong if a == argument else p for a, p in paths.items()]
            try:
                (outcome,) = actions.run(card, given, name)
            except InputError as error:
                outcome = error
            except Exception as error:
                raise Broken(f"{label}: raises {type(error).__name__}: {error}; it should be an InputError") from error
            _require(isinstance(outcome, InputError), f"{label}: is accepted; it should be an InputError")
            _require(wrong.name in str(outcome), f"{label}: the message does not name {wrong.name}: {outcome}")
            _require(outcome.wrong and outcome.expected, f"{label}: the message says no cause or no remedy: {outcome}")
            left = sorted(set(folder.rglob("*")) - set(before))
            _require(not left, f"{label}: leaves {', '.join(p.name for p in left)} behind")
            seen.append(label)
    return ", ".join(seen)


def _wrong(example: Path, kind: str, folder: Path) -> Iterator[tuple[str, Path]]:
    """Write wrong inputs of the kind of an example."""
    yield "missing", folder / f"missing{example.suffix}"
    (folder / "nothing").mkdir()
    yield "empty folder", folder / "nothing"
    if kind == "folder":
        (folder / "a_file").write_bytes(b"")
        yield "file", folder / "a_file"
        return
    content = example.read_bytes()
    wrong = {
        "empty": b"",
        "truncated": content[: len(content) // 2],
        "text": b"This is a letter, and nothing else.\n" * 20,
        "noise": np.random.default_rng(0).bytes(4096),
    }
    if kind == "picture":
        wrong["absurd size"] = _absurd_png()
    if kind in ("text", "table"):
        del wrong["truncated"]  # half of it is one, too
    if kind == "text":
        del wrong["text"]
    for label, data in wrong.items():
        path = folder / f"{label.replace(' ', '_')}{example.suffix}"
        path.write_bytes(data)
        yield label, path


def _absurd_png() -> bytes:
    """Write the header of a PNG that promises 100,000 x 100,000 pixels."""
    from foveate.results import png_chunk

    header = png_chunk(b"IHDR", (100_000).to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0]))
    return b"\x89PNG\r\n\x1a\n" + header + png_chunk(b"IDAT", b"\x78\x9c\x03\x00") + png_chunk(b"IEND", b"")


@contextmanager
def _workplace() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="foveate-check-") as name:
        yield Path(name)


# ---------------------------------------------------------------------------------------------------------------------
# 4: learning
# ---------------------------------------------------------------------------------------------------------------------


def _stage(card: Card, stage: str) -> tuple[Any, Any]:
    """Build a stage's module and data, small: the tiny preset, and the arguments under [stages.NAME.tiny]."""
    import torch

    entry = card.stages[stage]
    tiny = entry.get("tiny", {})
    module = getattr(card.module("train"), entry["module"])
    torch.manual_seed(0)
    arguments = dict(tiny.get("module", {}))
    if "network" in inspect.signature(module).parameters:
        arguments["network"] = _tiny(card)
    return module(**arguments), getattr(card.module("data"), entry["data"])(**tiny.get("data", {}))


def _tiny(card: Card) -> Any:
    import torch

    torch.manual_seed(0)
    return getattr(card.module("method"), card.network)(**card.preset.get("tiny", {}))


def _weights(module: Any) -> dict[str, Any]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def _differ(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    import torch

    return [name for name, value in one.items() if not torch.equal(value, other[name])]


def _learns(card: Card, stage: str) -> str:
    """Training lowers the loss, taken at the start and at the end on the same data."""
    from lightning.pytorch import Callback

    from foveate.parts.training import fit

    class Losses(Callback):
        """Notes the training loss of every step."""

        def __init__(self) -> None:
            self.values: list[float] = []

        def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
            if "train_loss" in trainer.callback_metrics:
                self.values.append(float(trainer.callback_metrics["train_loss"]))

    losses = Losses()
    module, data = _stage(card, stage)
    fit(module, data, 40, callbacks=(losses,), limit_val_batches=0)
    _require(losses.values, "logs no 'train_loss'")
    first, last = np.mean(losses.values[:10]), np.mean(losses.values[-10:])
    _require(np.isfinite(last), f"the loss became {last}")
    _require(last < first, f"the loss went from {first:.4g} to {last:.4g} in 40 steps")
    return f"loss {first:.4g} to {last:.4g}"


def _resumes(card: Card, stage: str) -> None:
    """Stopped and resumed it reaches the weights of a run not stopped, bit for bit."""
    from lightning.pytorch import Callback

    from foveate.parts.training import fit, steps_done

    class Stop(Callback):
        """Saves and stops after some steps, as an interruption would."""

        def __init__(self, after: int, path: str) -> None:
            self.after, self.path = after, path

        def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
            if steps_done(trainer) == self.after:
                trainer.save_checkpoint(self.path)
                trainer.should_stop = True

    unbroken, data = _stage(card, stage)
    batches = steps_done(fit(unbroken, data, STEPS, limit_val_batches=0))  # fewer than steps with several optimisers
    for stop in sorted({1, batches // 2 + 1}):
        with _workplace() as folder:
            path = str(folder / "stopped.ckpt")
            module, data = _stage(card, stage)
            fit(module, data, STEPS, callbacks=(Stop(stop, path),), limit_val_batches=0)
            module, data = _stage(card, stage)
            fit(module, data, STEPS, ckpt_path=path, limit_val_batches=0)
            apart = _differ(_weights(unbroken), _weights(module))
            _require(
                not apart,
                f"stopped after batch {stop} and resumed, {len(apart)} weights differ ({', '.join(apart[:3])}): draw from "
                "Draw.generator() in data sets, and from the global generators in training steps",
            )


def _is_seeded(card: Card, stage: str) -> None:
    """Same seed, same weights, with a validation after each step."""
    from foveate.parts.training import fit

    runs = []
    for _ in range(2):
        module, data = _stage(card, stage)
        fit(module, data, 3, limit_val_batches=1, val_check_interval=1)
        runs.append(_weights(module))
    apart = _differ(*runs)
    _require(not apart, f"two runs with one seed differ in {', '.join(apart[:3])}")


def _arrays(card: Card, part: str) -> list[np.ndarray]:
    found = card.module("data").Sample().arrays(part)
    return [found[name] for name in card.forward]


def _fit_learns(card: Card) -> str:
    """An estimator, cloned and fitted on the sample, is the same twice, and scores better than one that ignores its input."""
    from sklearn.base import clone
    from sklearn.dummy import DummyClassifier, DummyRegressor

    estimator = _tiny(card)
    first, second = (clone(estimator).fit(*_arrays(card, "train")) for _ in range(2))
    held_out = _arrays(card, "test")
    same = np.array_equal(first.predict(held_out[0]), second.predict(held_out[0]))
    _require(same, "fitted twice on the same data it predicts differently: take a random_state")
    dummy = DummyClassifier() if hasattr(first, "classes_") else DummyRegressor()
    score, chance = first.score(*held_out), dummy.fit(*_arrays(card, "train")).score(*held_out)
    _require(score > chance, f"scores {score:.3g} on held-out data, a constant answer {chance:.3g}")
    return f"score {score:.3g}, constant answer {chance:.3g}"


# ---------------------------------------------------------------------------------------------------------------------
# 5: the paper's data
# ---------------------------------------------------------------------------------------------------------------------


def _reads_layout(card: Card, name: str) -> str | None:
    """data.py reads a fixture in the paper's real format, and sees of a file what run.py's path sees of it."""
    method, source = card.module("method"), getattr(card.module("data"), card.data[name]["class"])
    with _workplace() as folder, _workplace() as elsewhere:
        file = card.module("examples").layout(name, folder)
        data = source(root=str(folder))
        counts = {part: len(items) for part, items in data.parts().items()}
        _require(counts and all(counts.values()), f"finds {counts} in the fixture")
        if file is None or not card.forward:
            return f"{counts}; its items are no files of their own"
        _require(hasattr(method, "prepare"), "method.py has no prepare: data.py and run.py need one home for it")
        given = _first_validated(card, data)
        action, argument = _taker(card, file)
        paths = {**_inputs(card, action, elsewhere), argument: file}
        with _watching(card) as seen:
            _result(card, action, paths)
        _require(seen, f"{action} in run.py does not call method.prepare")
        _require(
            any(s.shape == given.shape and np.array_equal(s, given) for s in seen),
            f"of {file.name}, data.py makes another tensor {given.shape} than run.py {seen[0].shape}: both must call prepare",
        )
    return None


def _first_validated(card: Card, data: Any) -> np.ndarray:
    """Return what the network is called with for the first validation item, without its batch dimension."""
    if card.learns == "fit":
        return np.asarray(data.arrays("val")[card.forward[0]][0])
    data.setup("fit")
    return np.asarray(next(iter(data.val_dataloader()))[card.forward[0]][0])


def _taker(card: Card, file: Path) -> tuple[str, str]:
    """Find the action, and its input, that takes a file: the first of its format."""
    inputs = [
        (file.suffix.lower()[1:] not in entry["formats"], name, argument)
        for name, action in card.action.items()
        for argument, entry in action.get("inputs", {}).items()
        if entry["kind"] != "folder"
    ]
    _require(inputs, f"no action takes a file such as {file.name}")
    return min(inputs, key=lambda found: found[0])[1:]


@contextmanager
def _watching(card: Card) -> Iterator[list[np.ndarray]]:
    """Note what `prepare` gives, wherever the system calls it."""
    method = card.module("method")
    original, seen = method.prepare, []

    def watched(*arguments: Any, **named: Any) -> Any:
        made = original(*arguments, **named)
        seen.append(np.asarray(made))
        return made

    modules = [m for m in (method, card.module("run")) if getattr(m, "prepare", None) is original]
    try:
        for module in modules:
            module.prepare = watched
        yield seen
    finally:
        for module in modules:
            module.prepare = original


# ---------------------------------------------------------------------------------------------------------------------
# 6: the network
# ---------------------------------------------------------------------------------------------------------------------


def _batch(card: Card, items: int = 3) -> list[Any]:
    """Take a batch of the first stage's sample: what the network is called with."""
    stage = next(iter(card.stages))
    _, data = _stage(card, stage)
    data.setup("fit")
    batches = iter(data.train_dataloader())
    import torch

    gathered: dict[str, list[Any]] = {}
    while len(gathered.get(card.forward[0], [])) < items:
        batch = next(batches)
        for name in card.forward:
            gathered.setdefault(name, []).extend(batch[name])
    return [torch.stack(gathered[name][:items]) for name in card.forward]


def _first(output: Any) -> Any:
    """Reduce what a network returns to its first tensor."""
    if isinstance(output, dict):
        output = list(output.values())
    return _first(output[0]) if isinstance(output, (list, tuple)) else output


def _run(network: Any, inputs: list[Any]) -> Any:
    import torch

    with torch.no_grad():
        return _first(network(*inputs))


def _apart(one: Any, other: Any) -> float:
    return float((one.double() - other.double()).abs().max())


def _batch_agrees(card: Card) -> str:
    """A batch of one and of several agree."""
    network, inputs = _tiny(card).eval(), _batch(card)
    together, alone = _run(network, inputs), _run(network, [x[:1] for x in inputs])
    apart = _apart(together[:1], alone)
    _require(apart < 1e-4, f"the first item comes out {apart:.3g} apart, alone and in a batch of {len(inputs[0])}")
    return f"{apart:.1g} apart"


def _saved_agrees(card: Card) -> None:
    """Saved and loaded, it says the same; its arguments are kept."""
    from foveate.parts import weights

    network, inputs = _tiny(card).eval(), _batch(card, 1)
    _require(hasattr(network, "arguments"), f"{card.network} keeps no .arguments, which its file needs")
    with _workplace() as folder:
        weights.save(network, folder / "w.safetensors")
        again = weights.load(type(network), folder / "w.safetensors")
    _require(_apart(_run(network, inputs), _run(again, inputs)) == 0, "saved and loaded, it says something else")


def _moved_works(card: Card) -> str:
    """In other dtypes, and on the accelerator if there is one, it runs and says about the same."""
    import torch

    from foveate.parts.inference import device

    network, inputs = _tiny(card).eval(), _batch(card, 1)
    expected = _run(network, inputs)
    places = [("cpu", torch.float64, 1e-4), ("cpu", torch.bfloat16, 0.2), (device().type, torch.float32, 1e-2)]
    for place, dtype, tolerance in places:
        moved = _tiny(card).eval().to(place, dtype)
        given = [x.to(place, dtype if x.is_floating_point() else None) for x in inputs]
        apart = _apart(_run(moved, given).cpu(), expected)
        _require(apart < tolerance * max(1.0, float(expected.abs().max())), f"as {dtype} on {place} it is {apart:.3g} off")
    return ", ".join(f"{place} {dtype}" for place, dtype, _ in places)


def _exports(card: Card, onnx: bool) -> str:
    """Exported, with any batch (and any size if the card says so), it agrees to 1e-4."""
    import torch

    network, inputs = _tiny(card).eval(), _batch(card, 2)
    batch = torch.export.Dim("batch", min=1, max=64)
    shapes = []
    for x in inputs:
        # Inputs of one size now are of one size always; of two sizes, they are independent.
        sizes = {d: n for d, n in enumerate(x.shape) if d > 1 and card.any_size and x.ndim == 4}
        shapes.append({0: batch, **{d: torch.export.Dim(f"size{d}_{n}", min=min(n, 32), max=4096) for d, n in sizes.items()}})
    program = torch.export.export(network, tuple(inputs), dynamic_shapes=tuple(shapes))
    others = [torch.nn.functional.pad(x[:1], (0, 7, 0, 3)) if card.any_size and x.ndim == 4 else x[:1] for x in inputs]
    apart = _apart(_run(program.module(), others), _run(network, others))
    _require(apart < 1e-4, f"exported, it is {apart:.3g} off")
    if not onnx:
        return f"torch.export {apart:.1g} apart"
    return f"torch.export {apart:.1g}, ONNX {_onnx_apart(program, network, others):.1g} apart"


def _onnx_apart(program: Any, network: Any, inputs: list[Any]) -> float:
    import torch

    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise MissingExtra("onnxruntime", "onnx") from error
    with _workplace() as folder:
        path = folder / "network.onnx"
        torch.onnx.export(program, dynamo=True, verbose=False).save(str(path))
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        names = [i.name for i in session.get_inputs()]
        answer = session.run(None, {n: x.numpy() for n, x in zip(names, inputs, strict=True)})[0]
    apart = _apart(torch.from_numpy(answer), _run(network, inputs))
    _require(apart < 1e-4, f"as ONNX it is {apart:.3g} off")
    return apart


def _predicts_alike(card: Card) -> None:
    """An estimator says of one item alone what it says of it among others."""
    estimator = _tiny(card).fit(*_arrays(card, "train"))
    items = _arrays(card, "test")[0]
    _require(
        np.array_equal(estimator.predict(items)[:1], estimator.predict(items[:1])), "one item alone is predicted otherwise"
    )
