"""`foveate new`: the files of one more system, each of which says what goes where and refuses to work until it is written."""

from __future__ import annotations

import contextlib
import difflib
import keyword
import re
import shutil
from pathlib import Path
from string import Template

from foveate.catalogue import find
from foveate.errors import InputError
from foveate.results import staging, unwritable

# What a system takes and gives, wing by wing; the first line of a wing's package.
WINGS = {
    "fields": "Fields: photographs or a video in, a scene to be seen from anywhere out.",
    "synthesis": "Synthesis: pictures and surfaces that were not there before.",
    "restoration": "Restoration: a spoiled picture in, a better one out.",
    "inverse": "Inverse problems: measurements in, the picture that gave them out.",
    "detection": "Detection: where things are, in pictures and in point clouds.",
    "dense": "Dense prediction: a label or a value for every pixel.",
    "people": "People: faces and bodies.",
    "embedding": "Embeddings: what is alike, found again.",
    "language": "Language: pictures and videos, asked and told about in words.",
    "embodied": "Embodied agents: what to do next, by what is seen.",
    "documents": "Documents: text, tables, layouts and formulas, read.",
    "forensics": "Forensics: who made a file, and was it tampered with.",
    "efficiency": "Efficiency: a network in, a cheaper or better trained one out.",
    "clinic": "The clinic: volumes and cohorts in, calibrated outcomes out.",
    "structures": "Structures: what can be told of series, graphs and meshes.",
}
LONGEST = 32  # characters of a name, so that import lines stay short


def create(arxiv: str, slug: str, wing: str, root: Path) -> list[Path]:
    """Write the skeleton of a system: its folder, its test, and its wing's package if it is the first there.

    Args:
        arxiv: The paper's number.
        slug: The system's name.
        wing: One of the 15 wings.
        root: A source tree of foveate.

    Returns:
        The files. All are written, or none.

    Raises:
        InputError: If an argument is wrong, the name is taken, or the tree cannot be written.
    """
    if not re.fullmatch(r"\d{4}\.\d{4,5}|[a-z-]+(\.[A-Z]{2})?/\d{7}", arxiv):
        raise InputError(arxiv, "is no arXiv number", "the number without its version, as in 2105.01234 or cs/0501001")
    if not re.fullmatch(r"[a-z][a-z0-9_]*", slug) or keyword.iskeyword(slug) or len(slug) > LONGEST:
        raise InputError(slug, "cannot be a system's name", f"a lower-case Python identifier, {LONGEST} characters at most")
    if wing not in WINGS:
        near = difflib.get_close_matches(wing, WINGS, 1)
        raise InputError(wing, "there is no such wing", f"perhaps {near[0]}" if near else f"one of {', '.join(WINGS)}")
    systems, test = Path("src/foveate/systems"), Path("tests/systems", f"test_{slug}.py")
    if not (root / systems).is_dir():
        raise InputError(root, "is no source tree of foveate", "--root with the folder in which src/foveate/systems lies")
    taken = [str(path) for path in (*(root / systems).glob(f"*/{slug}"), root / test) if path.exists()]
    with contextlib.suppress(InputError):
        taken.append(str(find(slug).folder))
    if taken:
        raise InputError(slug, f"is taken: there is {taken[0]}", "a name that no system has yet")
    package, folder = systems / wing / "__init__.py", systems / wing / slug
    filled = {"arxiv": arxiv, "slug": slug, "wing": wing, "name": _class_name(slug)}
    files = {folder / name: Template(text.lstrip("\n")).substitute(filled) for name, text in FILES.items()}
    files[test] = Template(TEST.lstrip("\n")).substitute(filled)
    moves = [test, folder]
    if not (root / package).exists():
        files[package] = f'"""{WINGS[wing]}"""\n'
        moves.insert(0, package)
    _write(root, files, moves)
    return [root / path for path in files]


def _class_name(slug: str) -> str:
    """Name the network after the system, unless the skeleton uses that name already."""
    name = "".join(word.capitalize() for word in slug.split("_"))
    return f"{name}Network" if re.search(rf"\b{name}\b", "".join(FILES.values())) else name


def _write(root: Path, files: dict[Path, str], moves: list[Path]) -> None:
    """Write files to a temporary folder and rename them, or the folders that hold them, into place; undo that if it fails."""
    made: list[Path] = []
    try:
        with staging(root) as temporary:
            for path, text in files.items():
                (temporary / path).parent.mkdir(parents=True, exist_ok=True)
                (temporary / path).write_text(text, encoding="utf-8")
            for path in moves:
                for folder in reversed([p for p in (root / path).parents if not p.exists()]):
                    folder.mkdir()
                    made.append(folder)
                (temporary / path).rename(root / path)
                made.append(root / path)
    except OSError as error:
        for path in reversed(made):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        raise unwritable(root, error) from error


# ---------------------------------------------------------------------------------------------------------------------
# the files, in the order in which they are written; `foveate check` finds what still raises "is not written yet"
# ---------------------------------------------------------------------------------------------------------------------

CARD = """
# What the system is, readable without importing it. What is empty is to be filled in.
title = ""
arxiv = "$arxiv"
authors = []
venue = ""
code = ""  # the authors' repository
summary = ""  # what goes in, what comes out
learns = "gradient"  # or "fit": an estimator, data with arrays(part), no stages; or "no": no network, stages or train.py
network = "$name"  # class in method.py
forward = ["picture"]  # entries of a batch that it is called with
any_size = true

# Training stages in order, classes in train.py and data.py; and their arguments in the checks.
[stages.main]
module = "Training"
data = "Sample"
[stages.main.tiny]
module = {}
data = { batch_size = 2 }

# Arguments of the network by name; the checks take the tiny ones.
[preset.tiny]
width = 8

# Functions in run.py, the default one first.
[action.apply]
says = ""
[action.apply.inputs.photo]
kind = "picture"
formats = ["png", "jpg"]
[action.apply.outputs]
result = "picture"

# Layouts of the paper's data, classes in data.py.
[data.folders]
class = "Folders"
says = ""

[metric.score]
unit = ""
better = "higher"

# A claim of the paper, in our words; this one compares arms over seeds. Others: structural (experiment, metric, method, and
# equals or within), and absolute (the command that measures it on the paper's data).
[[claim]]
id = "C1"
says = ""
paper = ""  # the paper's own figure
kind = "relational"
experiment = "arms"  # function in reproduce.py
metric = "score"
method = "ours"
relation = "better than"  # or "no worse than", "equal to": these need a margin
baseline = ["plain"]
"""

PACKAGE = '''
"""The system of arXiv $arxiv; card.toml says what it takes and gives."""

from foveate.systems.$wing.$slug.method import $name

__all__ = ["$name"]
'''

METHOD = '''
"""prepare -> network -> finish: no files, no training loop. What another project imports.

Paper: arXiv $arxiv.
"""

from __future__ import annotations

from torch import Tensor, nn

from foveate.errors import InputError
from foveate.results import Picture


def prepare(picture: Picture) -> Tensor:
    """Turn a picture as it lies in a file into the network's input: data.py and run.py both call this.

    Returns:
        float32 ``(3, H, W)`` in [0, 1].
    """
    raise InputError("$slug/method.py", "is not written yet", "prepare, from file to network")


def finish(output: Tensor, like: Picture) -> Picture:
    """Turn the network's output into what the user gets, of the size and kind of what came in."""
    raise InputError("$slug/method.py", "is not written yet", "finish, from network to file")


class $name(nn.Module):
    """The paper's network.

    Args:
        width: A quantity of the paper by the field's name, the paper's value as default; each ablation is an argument too.

    Shape:
        ``(B, 3, H, W)`` to the same.
    """

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.arguments = {"width": width}  # all of them: they are stored beside the weights

    def forward(self, picture: Tensor) -> Tensor:
        """Run the network."""
        raise InputError("$slug/method.py", "is not written yet", "the network")
'''

DATA = '''
"""The paper's data sets in their own layouts, and the embedded sample."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from foveate.errors import InputError
from foveate.parts.training import Draw, train_loader


class Items(Dataset):
    """One part of a data set as tensors: cropped and moved at random if indexed with a `Draw`, whole if with a number."""

    def __init__(self, items: Sequence[Any]) -> None:
        self.items = items

    def __len__(self) -> int:
        """Count the items."""
        return len(self.items)

    def __getitem__(self, key: Draw | int) -> dict[str, Tensor]:
        """Return ``{"picture", "target"}``; files go through `prepare`, randomness comes from ``key.generator()``."""
        raise InputError("$slug/data.py", "is not written yet", "an item as tensors")


class Folders(LightningDataModule):
    """The paper's data set, in the layout in which its authors publish it.

    Args:
        root: Its folder.
        batch_size: Items per step and process.
        seed: Seed of order and augmentation.
        num_workers: Loader processes.
    """

    def __init__(self, root: str = "", batch_size: int = 8, seed: int = 0, num_workers: int = 0) -> None:
        super().__init__()
        self.root, self.batch_size, self.seed, self.num_workers = Path(root), batch_size, seed, num_workers

    def parts(self) -> dict[str, Sequence[Any]]:
        """List what each part holds: ``train``, ``val`` and test sets by name.

        Raises:
            InputError: If the folder is not laid out as expected.
        """
        raise InputError("$slug/data.py", "is not written yet", "the files of the paper's data set")

    def setup(self, stage: str) -> None:
        """Make the data sets."""
        self.sets = {name: Items(items) for name, items in self.parts().items()}

    def train_dataloader(self) -> DataLoader:
        """Training items in batches."""
        return train_loader(self, self.sets["train"], self.batch_size, self.seed, self.num_workers)

    def val_dataloader(self) -> DataLoader:
        """Whole items, one by one."""
        return DataLoader(self.sets["val"], 1, num_workers=self.num_workers)

    def test_dataloader(self) -> list[DataLoader]:
        """Whole items of each test set, one by one."""
        return [DataLoader(s, 1, num_workers=self.num_workers) for n, s in self.sets.items() if n not in ("train", "val")]


class Sample(Folders):
    """Embedded data, of foveate.samples: what the checks, the experiments and the shipped weights see."""

    def parts(self) -> dict[str, Sequence[Any]]:
        """List what each part holds; no scene is in two parts."""
        raise InputError("$slug/data.py", "is not written yet", "the embedded sample")
'''

TRAIN = '''
"""Training, as in the paper."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from foveate.errors import InputError
from foveate.systems.$wing.$slug.method import $name


class Training(LightningModule):
    """Train the network.

    Args:
        network: The network.
        lr: Learning rate.
    """

    def __init__(self, network: $name, lr: float = 1e-4) -> None:
        super().__init__()
        self.network, self.lr = network, lr

    def training_step(self, batch: dict[str, Tensor], _: int) -> Tensor:
        """One step: log the loss as ``train_loss`` and return it."""
        raise InputError("$slug/train.py", "is not written yet", "the paper's loss")

    def validation_step(self, batch: dict[str, Tensor], _: int) -> None:
        """Log the paper's metric as ``val_...``."""
        raise InputError("$slug/train.py", "is not written yet", "the paper's metric")

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The paper's optimiser, and its schedule if it has one."""
        raise InputError("$slug/train.py", "is not written yet", "the paper's optimiser")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what it takes to build the network again."""
        checkpoint["arguments"] = self.network.arguments
'''

RUN = '''
"""The system on one's own files, from the command line or from Python."""

from __future__ import annotations

from pathlib import Path

from foveate.errors import InputError
from foveate.results import Result


def apply(photo: Path, weights: Path | None = None, seed: int = 0) -> Result:
    """Say what it does: this text and the types are the command's help.

    Args:
        photo: An input has no default; it is a ``Path``, or a ``list[Path]`` of which each gives a result.
        weights: An option has a default. Without weights the shipped ones are used.
        seed: Seed of all that is drawn.

    Returns:
        The outputs that card.toml names; notes say what the user should know, such as that these are demo weights.

    Raises:
        InputError: If the file is not what the system takes: it names the file, what is wrong, and what would work.
    """
    raise InputError("$slug/run.py", "is not written yet", "read, prepare, run, finish")
'''

REPRODUCE = '''
"""The claims as experiments, which know nothing of the claims."""

from __future__ import annotations

from typing import Any, Literal

from foveate.errors import InputError

Budget = Literal["quick", "full"]


def arms(seed: int, budget: Budget) -> dict[str, dict[str, Any]]:
    """Train and measure all arms alike, one switch apart: same code, data, seed and budget.

    Returns:
        Arm to metric to a number, or to one per test item, paired over the arms; a `Curve` or `Picture` is only shown.
    """
    raise InputError("$slug/reproduce.py", "is not written yet", "an experiment")
'''

EXAMPLES = '''
"""What the contract feeds the system."""

from __future__ import annotations

from pathlib import Path

from foveate.errors import InputError


def example(action: str, name: str, suffix: str, folder: Path) -> Path:
    """Write a small file for an action's input ``name`` in a format, and return its path."""
    raise InputError("$slug/examples.py", "is not written yet", "an example of each input")


def layout(name: str, folder: Path) -> Path | None:
    """Write a data set in miniature, in its real layout.

    Returns:
        The file of the first validation item, or None if items are no files of their own.
    """
    raise InputError("$slug/examples.py", "is not written yet", "each data layout in miniature")
'''

FILES = {
    "card.toml": CARD,
    "__init__.py": PACKAGE,
    "method.py": METHOD,
    "data.py": DATA,
    "train.py": TRAIN,
    "run.py": RUN,
    "reproduce.py": REPRODUCE,
    "examples.py": EXAMPLES,
}

TEST = '''
"""What only $slug must do."""

import pytest


def test_against_a_slow_and_obviously_right_version():
    """Each sharp check of the paper's sheet has a test here; what all systems must do is in tests/contract."""
    pytest.fail("$slug has no tests of its own yet")
'''
