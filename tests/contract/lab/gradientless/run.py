"""Name colours."""

from collections.abc import Iterator
from pathlib import Path

from foveate.errors import InputError
from foveate.readers.pictures import read_picture
from foveate.results import Result, Table, Text
from lab.gradientless.data import Sample
from lab.gradientless.method import Nearest, prepare


def name(photos: list[Path], neighbours: int = 3) -> Iterator[Result | InputError]:
    """Name the colour of pictures.

    Args:
        photos: The pictures.
        neighbours: How many have a say.
    """
    known = Nearest(neighbours).fit(*Sample().arrays("train").values())
    for photo in photos:
        try:
            features = prepare(read_picture(photo))[None]
        except InputError as error:
            yield error
            continue
        distances = Table(known.classes_.tolist(), known.distances(features).tolist())
        yield Result({"name": Text(str(known.predict(features)[0])), "distances": distances}, ("demo colours",))
