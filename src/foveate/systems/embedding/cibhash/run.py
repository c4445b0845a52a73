"""Index a folder of photographs, search it, and judge the index, from the command line or from Python."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from foveate.errors import InputError
from foveate.parts import weights as files
from foveate.parts.inference import Precision
from foveate.readers import photo_index
from foveate.results import Picture, Result
from foveate.systems.embedding.cibhash import method

SHIPPED = Path(__file__).with_name("weights.safetensors")
DEMO = "demo weights: 64 bits, learned on drawn things; train on your own pictures for codes that fit them"


def index(photos: Path, weights: Path | None = None, batch: int = 32, precision: Precision = "float32") -> Result:
    """Turn a folder of photographs into binary codes that can be searched.

    Interrupted, it goes on where it was; run again on a folder that has grown, it encodes what is new.

    Args:
        photos: Folder with PNG, JPEG, WebP, TIFF or BMP pictures, at any depth.
        weights: What `foveate train cibhash` wrote, in place of the shipped weights.
        batch: Pictures per forward pass.
        precision: Arithmetic; use the same to search.

    Returns:
        The codes with the files' names, the same as a faiss index, and a report.
    """
    network, notes = _network(weights)
    made = photo_index.index_photos(photos, network, _prepare(network), batch, precision)
    return replace(made, notes=(*made.notes, *notes))


def search(
    queries: list[Path],
    index: Path | None = None,
    weights: Path | None = None,
    nearest: int = 12,
    batch: int = 32,
    precision: Precision = "float32",
) -> Iterator[Result | InputError]:
    """Find the pictures of an index that are nearest to each query.

    Args:
        queries: Pictures to look for.
        index: The codes that `index` wrote (..._codes.npz); without, the pictures in the query's own folder are searched.
        weights: The weights that made the index, if not the shipped ones.
        nearest: Pictures to find.
        batch: Pictures per forward pass.
        precision: Arithmetic; the one that made the index.

    Returns:
        For each query a table and a record of the nearest pictures, and a contact sheet.
    """
    network, notes = _network(weights)
    for outcome in photo_index.search_photos(queries, index, network, _prepare(network), nearest, batch, precision):
        yield outcome if isinstance(outcome, InputError) else replace(outcome, notes=(*outcome.notes, *notes))


def evaluate(index: Path, labels: Path, k: int = 1000) -> Result:
    """Tell how well an index retrieves, if labels are known.

    Args:
        index: The codes that `index` wrote (..._codes.npz).
        labels: CSV with the columns file and label (several separated by |), and perhaps role (query or database); without
            roles each picture searches all others.
        k: Of MAP@k and precision at k.

    Returns:
        The scores, and precision and recall at each Hamming radius, as a table and drawn.
    """
    return photo_index.evaluate_codes(index, labels, k)


def _network(weights: Path | None) -> tuple[method.CIBHash, tuple[str, ...]]:
    network = files.load(method.CIBHash, weights or SHIPPED)
    if not network.arguments["backbone"]:
        raise InputError(weights, "takes features, and no pictures", "weights of a network with a backbone")
    return network, () if weights else (DEMO,)


def _prepare(network: method.CIBHash) -> photo_index.Prepare:
    def prepare(picture: Picture) -> Tensor:
        return method.prepare(picture, network.side)

    return prepare
