"""Mix, index, search."""

import json
from pathlib import Path

import torch

from foveate.errors import InputError
from foveate.readers.pictures import find_pictures, read_picture
from foveate.results import Record, Result, Table
from lab.awkward.method import Mixer, finish, prepare


def _mixer(seed: int) -> Mixer:
    torch.manual_seed(seed)
    return Mixer(4).eval()


def mix(content: Path, style: Path, seed: int = 0) -> Result:
    """Give a picture the style of another.

    Args:
        content: What is to be seen.
        style: How.
        seed: Seed of the network, which is not trained.
    """
    before = read_picture(content)
    made = _mixer(seed)(prepare(before)[None], prepare(read_picture(style))[None])
    report = Record({"code": made["code"][0].tolist()})
    return Result({"mixed": finish(made["mixed"][0], before), "report": report}, ("an untrained network",))


def index(photos: Path, seed: int = 0) -> Result:
    """Note the styles of a folder of pictures.

    Args:
        photos: The folder.
        seed: Seed of the network.
    """
    if not photos.is_dir():
        raise InputError(photos, "is no folder", "a folder of pictures")
    files = find_pictures(photos)
    if not files:
        raise InputError(photos, "has no pictures", "a folder of pictures")
    return Result({"index": Record({"seed": seed, "codes": {path.name: _code(path, seed) for path in files}})})


def search(index: Path, query: Path, top: int = 2) -> Result:
    """Find the pictures whose style is most like that of another.

    Args:
        index: What the action `index` wrote.
        query: A picture.
        top: How many to tell.
    """
    try:
        known = json.loads(index.read_text(encoding="utf-8"))
        seed, codes = known["seed"], torch.tensor(list(known["codes"].values()))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(index, f"is no index: {type(error).__name__}", "what the action index wrote") from error
    apart = (codes - torch.tensor(_code(query, seed))).norm(dim=1)
    rows = sorted(zip(apart.tolist(), known["codes"], strict=True))[:top]
    return Result({"found": Table(["distance", "picture"], rows)})


def _code(path: Path, seed: int) -> list[float]:
    return _mixer(seed).stylist(prepare(read_picture(path))[None])[0].tolist()
