"""Training a hash network: what is alike whatever the loss. Retrieval is measured, the network's arguments are kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from foveate.parts import weights as files
from foveate.parts.hash_network import HashNetwork
from foveate.parts.hashing import pack
from foveate.parts.retrieval import mean_average_precision, precision_at, precision_within


class HashModule(LightningModule):
    """A hash network that tells how well its codes retrieve.

    Batches that are evaluated are ``{"image", "label", "role"}``, role 0 for queries and 1 for the database; see
    `foveate.readers.retrieval_data`. Their labels are for measuring only.

    Args:
        network: The network.
        cut: k of MAP@k; 0 counts the whole database.
        weights: Start from these weights, of whatever size they are, in place of ``network``.
    """

    def __init__(self, network: HashNetwork, cut: int = 1000, weights: str | None = None) -> None:
        super().__init__()
        self.network = files.load(type(network), Path(weights)).train() if weights else network
        self.cut = cut
        self._seen: list[tuple[Tensor, Tensor, Tensor]] = []

    def forward(self, pictures: Tensor) -> Tensor:
        """Give logits."""
        return self.network(pictures)

    def validation_step(self, batch: dict[str, Tensor], _: int) -> None:
        """Note the codes."""
        self._seen.append((self.network(batch["image"]) >= 0, batch["label"], batch["role"]))

    test_step = validation_step

    def on_validation_epoch_end(self) -> None:
        """Log MAP@k of the validation queries."""
        self.log_dict(self._measured("val"), prog_bar=True)

    def on_test_epoch_end(self) -> None:
        """Log MAP@k, precision at k and precision within radius 2 of the queries."""
        self.log_dict(self._measured("test"))

    def _measured(self, stage: str) -> dict[str, float]:
        """Measure what was noted by all processes."""
        seen, self._seen = self._seen, []
        if not seen:
            return {}
        codes, labels, roles = (
            self.all_gather(torch.cat(column)).flatten(0, int(self.trainer.world_size > 1)).cpu().numpy()
            for column in zip(*seen, strict=True)
        )
        packed, query = pack(codes), roles == 0
        found = {f"{stage}_ones_sd": float(np.std(codes.mean(axis=0)))}
        if not query.any() or query.all() or np.all(labels[query] == -1):
            return found
        given = packed[query], packed[~query], labels[query], labels[~query]
        k = min(self.cut or sum(~query), sum(~query))
        found[f"{stage}_map"] = mean_average_precision(*given, k=k)
        if stage == "test":
            found["test_precision"] = float(precision_at(*given, k=k).mean())
            found["test_precision_radius_2"] = float(precision_within(*given, radius=2).mean())
        return found

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what it takes to build the network again."""
        checkpoint["arguments"] = self.network.arguments
