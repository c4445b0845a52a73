"""Pictures encoded per second, and time of a training step: what foveate does against the plain form of the same work.

``python benchmarks/hashing.py [--pictures 300] [--out benchmarks/hashing.json]``

Encoding: JPEG files of 640 x 480 through the packaged backbone at 224 x 224 to 64 bits. ``plain`` reads, prepares and encodes
one picture after the other in float32. Training: a step of CIBHash's head on 64 pictures, two views of each, with pictures
augmented anew and seen by the frozen backbone, and with features of views that were made once. The loss: NT-Xent of 128 codes
of 64 bits as one matrix product, against the textbook form that compares all pairs of vectors.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from foveate.evidence import machine, versions
from foveate.parts.contrastive import nt_xent
from foveate.parts.inference import quick
from foveate.parts.weights import load
from foveate.readers.photo_index import _outcomes
from foveate.readers.pictures import read_picture
from foveate.samples.photographs import photograph
from foveate.systems.embedding.cibhash.data import Sample
from foveate.systems.embedding.cibhash.method import CIBHash, prepare
from foveate.systems.embedding.cibhash.run import SHIPPED
from foveate.systems.embedding.cibhash.train import Hasher


def write_pictures(folder: Path, count: int) -> list[Path]:
    """Write crops of photographs as JPEG."""
    rng, paths = np.random.default_rng(0), []
    large = Image.fromarray(photograph("motorcycle")).resize((1482, 1000))
    for i in range(count):
        left, top = int(rng.integers(842)), int(rng.integers(520))
        paths.append(folder / f"{i:04}.jpg")
        large.crop((left, top, left + 640, top + 480)).save(paths[-1], quality=90)
    return paths


def seconds(function: Callable[[], Any], repeats: int) -> float:
    """Return the median time of a call, the first one left out."""
    function()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def encoding(paths: list[Path]) -> dict[str, float]:
    """Measure pictures per second."""
    network = load(CIBHash, SHIPPED)
    plain = quick(network, "float32", channels_last=False)

    def one_by_one() -> None:
        for path in paths:
            plain(prepare(read_picture(path))[None])

    def pipeline(precision: Any) -> Callable[[], Any]:
        return lambda: list(_outcomes(paths, network, prepare, 32, precision))

    return {
        "plain: one at a time, float32": len(paths) / seconds(one_by_one, 2),
        "foveate run cibhash index (batches of 32, read ahead, float32)": len(paths) / seconds(pipeline("float32"), 2),
        "the same, bfloat16": len(paths) / seconds(pipeline("bfloat16"), 2),
    }


def training() -> dict[str, float]:
    """Measure milliseconds per step."""
    network = CIBHash("tf_efficientnet_lite0", "packaged", bits=64, side=160)
    module = Hasher(network.train())
    module.log = module.log_dict = lambda *_, **__: None
    optimiser = module.configure_optimizers()
    found = {}
    for name, views in (("fresh views through the frozen backbone, 160 x 160", 0), ("features of views made once", 2)):
        data = Sample(copies=4, views=views)
        data.setup("fit")
        batches = iter(data.train_dataloader())

        def step(batches: Any = batches) -> None:
            loss = module.training_step(next(batches), 0)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()

        found[name] = 1000 * seconds(step, 3 if views == 0 else 30)
    return found


def textbook(one: torch.Tensor, other: torch.Tensor, temperature: float) -> torch.Tensor:
    """Compute NT-Xent by comparing every pair of vectors."""
    both = torch.cat([one, other])
    scores = torch.cosine_similarity(both[:, None], both[None], dim=2) / temperature
    total = torch.zeros(())
    for i in range(len(both)):
        partner = (i + len(one)) % len(both)
        others = torch.cat([scores[i, :i], scores[i, i + 1 :]])
        total = total - scores[i, partner] + torch.logsumexp(others, 0)
    return total / len(both)


def losses() -> dict[str, float]:
    """Measure milliseconds of the loss and its gradient."""
    codes = torch.randn(2, 64, 64).sign().requires_grad_()
    assert torch.allclose(textbook(*codes, 0.3), nt_xent(*codes, 0.3), atol=1e-5)

    def run(loss: Callable[..., torch.Tensor]) -> Callable[[], None]:
        return lambda: loss(*codes, 0.3).backward()

    return {"textbook": 1000 * seconds(run(textbook), 10), "one matrix product": 1000 * seconds(run(nt_xent), 10)}


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pictures", type=int, default=300)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = {
            "pictures per second": encoding(write_pictures(Path(folder), options.pictures)),
            "ms per training step of 64 pictures": training(),
            "ms per loss of 128 codes": losses(),
        }
    for title, rows in found.items():
        print(title)
        print("\n".join(f"  {value:9.2f}  {name}" for name, value in rows.items()))
    options.out.write_text(json.dumps({**found, "machine": machine(), "versions": versions()}, indent=1) + "\n")


if __name__ == "__main__":
    main()
