"""`foveate train`: LightningCLI over a system's stages, with checkpoints that resume exactly."""

from __future__ import annotations

import inspect
import logging
import textwrap
import warnings
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentError
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import LightningDataModule, LightningModule
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI

from foveate.catalogue import Card
from foveate.errors import InputError
from foveate.parts.training import ExactResume

VERBS = ("fit", "validate", "test", "predict")


class TrainCLI(LightningCLI):
    """LightningCLI whose parser errors end in one line, and whose runs resume exactly."""

    def init_parser(self, **kwargs: Any) -> LightningArgumentParser:
        """Let errors surface instead of printing the usage."""
        return super().init_parser(**{**kwargs, "exit_on_error": False})

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse what `foveate train` was given; Lightning warns of any arguments but the interpreter's own."""
        try:
            self.config = parser.parse_args(args)
        except ArgumentError as error:
            raise InputError(parser.prog, str(error), f"{parser.prog} --help tells more") from error

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add checkpoints and exact resume as callbacks with options of their own."""
        parser.add_lightning_class_args(ModelCheckpoint, "checkpoint")
        parser.set_defaults({"checkpoint.save_last": True, "checkpoint.every_n_train_steps": 500})
        parser.add_lightning_class_args(ExactResume, "resume")
        parser.link_arguments("seed_everything", "resume.seed")

    def before_instantiate_classes(self) -> None:
        """Let the loggers share a folder that no earlier run has written to, also if a saved configuration names one."""
        loggers = self.config[self.subcommand].trainer.logger
        for logger in loggers if isinstance(loggers, list) else []:
            settings = logger.get("init_args")
            if settings is None or any(name not in settings for name in ("save_dir", "name", "version")):
                continue
            folder = Path(settings["save_dir"]) / settings["name"]
            taken = [int(p.name.removeprefix("version_")) for p in folder.glob("version_*") if p.name[8:].isdigit()]
            if settings["version"] is None or settings["version"] in taken:
                settings["version"] = max(taken, default=-1) + 1

    def _parse_ckpt_path(self) -> None:
        """Leave the checkpoint to `AtomicCheckpointIO`: Lightning would read hyper-parameters off it, unguarded."""

    def before_fit(self) -> None:
        """Say how to get something to look at."""
        print(f"checkpoints go to {self.trainer.log_dir}; Ctrl-C stops after the step and can be resumed", flush=True)


def train(card: Card, arguments: list[str]) -> None:
    """Run one stage of a system's training.

    Args:
        card: The system.
        arguments: LightningCLI's own grammar; before it ``--stage NAME`` (the first by default) and ``--recipe NAME``.
            Without one of its verbs, ``fit`` is meant.

    Raises:
        InputError: If the system does not learn, or an argument or configuration file is wrong.
    """
    if not card.stages:
        raise InputError(card.slug, "has nothing to train by gradient", "a system with training stages")
    stage_name = _option(arguments, "--stage", list(card.stages)) or next(iter(card.stages))
    recipe = _option(arguments, "--recipe", list(card.recipe))
    stage = card.stages[stage_name]
    module, data = getattr(card.module("train"), stage["module"]), getattr(card.module("data"), stage["data"])
    verb = arguments.pop(0) if arguments and arguments[0] in VERBS else "fit"
    arguments = _own_data(card, arguments)
    settings = _settings(card, verb, module, data, recipe)
    # Not for the user to act on: Lightning 2.6 uses torch's tree specs and jsonargparse's instantiators in the old way.
    warnings.filterwarnings("ignore", message=".*LeafSpec.* is deprecated")
    warnings.filterwarnings("ignore", category=DeprecationWarning, module="lightning")
    warnings.filterwarnings("ignore", message=".*in eval mode at the start of training.*")  # a frozen backbone is meant to be
    warnings.filterwarnings("ignore", message=".*smaller than the logging interval.*")
    folder = Path("runs") / card.slug
    if {"-h", "--help"} & set(arguments):
        _print_head(card)
    # Lightning's remarks about the machine, and its advertisements.
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    where = f"foveate train {card.slug}"
    try:
        TrainCLI(
            module,
            LightningDataModule,
            subclass_mode_data=True,
            seed_everything_default=0,
            save_config_kwargs={"overwrite": True},
            trainer_defaults={
                "num_sanity_val_steps": 0,
                "log_every_n_steps": 10,
                "logger": [
                    {
                        "class_path": f"lightning.pytorch.loggers.{kind}",
                        "init_args": {"save_dir": str(folder), "name": stage_name},
                    }
                    for kind in ("CSVLogger", "TensorBoardLogger")
                ],
                "plugins": [{"class_path": "foveate.parts.training.AtomicCheckpointIO"}],
            },
            parser_kwargs={
                "prog": where,
                **{v: {"default_env": False} for v in VERBS},
            },
            args=[verb, "--config", yaml.safe_dump(settings), *arguments],
        )
    except MisconfigurationException as error:
        raise InputError(where, textwrap.shorten(str(error), 300), f"{where} --help tells more") from error
    except RuntimeError as error:
        if "state_dict" not in str(error):
            raise
        fitting = "a checkpoint of a network with the same --model arguments"
        raise InputError(where, textwrap.shorten(str(error), 300), fitting) from error
    except SystemExit as stop:
        # Lightning turns Ctrl-C into an exit with status 1.
        if isinstance(stop.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from stop
        raise
    except ValueError as error:
        raise _innermost(error) from error


def _own_data(card: Card, arguments: list[str]) -> list[str]:
    """Spell out a data class of the system's by its import path: another system may have one of the same name."""
    source, spelt = card.module("data"), list(arguments)
    for i, argument in enumerate(arguments):
        flag = "--data=" if argument.startswith("--data=") else ""
        name = argument.removeprefix("--data=")
        if (flag or arguments[:i][-1:] == ["--data"]) and name.isidentifier() and hasattr(source, name):
            spelt[i] = f"{flag}{source.__name__}.{name}"
    return spelt


def _innermost(error: BaseException) -> BaseException:
    """Return the `InputError` that a constructor raised, which jsonargparse wraps, or the error itself."""
    inner: BaseException | None = error
    while inner is not None and not isinstance(inner, InputError):
        inner = inner.__cause__ or inner.__context__
    return inner or error


def _print_head(card: Card) -> None:
    """Say what `foveate train` adds to LightningCLI's own grammar, whose help follows."""
    print(f"foveate train {card.slug} [--stage NAME] [--recipe NAME] [{'|'.join(VERBS)}] ...")
    print("\n".join(f"  --stage {name}" for name in card.stages))
    print("\n".join(f"  --recipe {name:<10} {recipe['says']}" for name, recipe in card.recipe.items()))
    print("\n".join(f"  --data {layout['class']:<12} {layout['says']}" for layout in card.data.values()), "\n")


def _option(arguments: list[str], name: str, choices: list[str]) -> str | None:
    """Take ``name VALUE`` or ``name=VALUE`` out of the arguments."""
    for i, argument in enumerate(arguments):
        if argument == name or argument.startswith(name + "="):
            value = argument.partition("=")[2] if "=" in argument else (arguments[i + 1 : i + 2] or [""])[0]
            del arguments[i : i + 1 + ("=" not in argument)]
            if value not in choices:
                raise InputError(
                    name, f"there is no {value!r}", f"one of {', '.join(choices)}" if choices else "none are named"
                )
            return value
    return None


def _settings(
    card: Card, verb: str, module: type[LightningModule], data: type[LightningDataModule], recipe: str | None
) -> dict[str, Any]:
    """Turn a recipe into a configuration: what the user gives comes after it and wins."""
    chosen = card.recipe[recipe] if recipe else {}
    model = dict(chosen.get("model", {}))
    if "network" in inspect.signature(module).parameters and card.network:
        kind = f"{card.package}.method.{card.network}"
        model["network"] = {"class_path": kind, "init_args": dict(model.get("network", {}))}
    source = dict(chosen.get("data", {}))
    name = source.pop("class", data.__name__)
    trainer = dict(chosen.get("trainer", {}))
    if isinstance(trainer.get("val_check_interval"), int):
        trainer["check_val_every_n_epoch"] = None  # count steps across epochs
    return {
        **({"model": model} if model else {}),
        "data": {"class_path": f"{card.package}.data.{name}", "init_args": source},
        "trainer": trainer,
        **({"checkpoint": dict(chosen["checkpoint"])} if "checkpoint" in chosen and verb == "fit" else {}),
    }
