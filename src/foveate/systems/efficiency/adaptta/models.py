"""Classifiers from wherever they come: timm, torchvision, files of weights, ONNX (float or int8) and TorchScript."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
import textwrap
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor, nn

from foveate.errors import InputError, MissingExtra
from foveate.parts.classifiers import Classifier, open_classifier
from foveate.systems.efficiency.adaptta.transforms import CROP

Normalisation = Literal["none", "imagenet", "symmetric"]
NOTE = "foveate"  # entry of an ONNX file's metadata that says what it is


@dataclass(frozen=True)
class Model:
    """A classifier that is ready to be asked, and what must be known of it.

    Attributes:
        logits: float32 ``(B, 3, side, side)`` in [0, 1] to logits ``(B, classes)``.
        name: What reports call it.
        digest: Of its weights and structure: a policy belongs to one.
        classes: Number of classes.
        side: Side of what it sees.
        crop: Share of the short side that its standard view shows.
        labels: Names of the classes, or none.
        network: The module, if it is a `Classifier`.
        source: What opens it again: arguments of `open_model`.
    """

    logits: Callable[[Tensor], Any]
    name: str
    digest: str
    classes: int
    side: int
    crop: float = CROP
    labels: tuple[str, ...] = ()
    network: Classifier | None = None
    source: Mapping[str, Any] = field(default_factory=dict)

    def about(self) -> dict[str, Any]:
        """Return what a policy notes of it."""
        return {"name": self.name, "digest": self.digest, "classes": self.classes, "source": dict(self.source)}


def open_model(
    model: str,
    weights: str = "",
    classes: int = 0,
    side: int = 0,
    normalise: Normalisation = "none",
    threads: int = 0,
) -> Model:
    """Open a classifier.

    Args:
        model: A name of timm's, ``torchvision/NAME`` or one of ours, a file of weights that foveate wrote, or an ``.onnx`` or
            TorchScript (``.torchscript``, ``.ts``) file. TorchScript is a program: open none that you do not trust.
        weights: A state dict for a bare name, or ``hub`` to fetch the library's.
        classes: Number of classes, where the weights do not say.
        side: Side of what it sees, where the file does not say.
        normalise: What an ONNX or TorchScript file wants its pictures, in [0, 1] otherwise, to be: ``imagenet`` takes off
            ImageNet's mean and divides by its deviation, ``symmetric`` makes them -1 to 1.
        threads: Of ONNX Runtime; 0 leaves it to it.

    Raises:
        InputError: If there is no such network or file, or it is damaged.
    """
    path = Path(model)
    if not model:
        raise InputError("model", "names no network", "a name, or a file of weights")
    if path.suffix.lower() == ".onnx":
        found = _session(path, side, normalise, threads)
    elif path.suffix.lower() in (".torchscript", ".ts"):
        found = _script(path, classes, side, normalise)
    else:
        found = of(open_classifier(model, weights, classes, side))
        if not weights and not path.is_file():
            raise InputError(model, "has random weights and knows nothing", "--weights FILE, or --weights hub to fetch them")
    whole = {name: str(Path(given).resolve()) if Path(given).is_file() else given for name, given in
             (("model", model), ("weights", weights))}  # fmt: skip
    return replace(found, source={**whole, "classes": classes, "side": side, "normalise": normalise})


def of(classifier: Classifier) -> Model:
    """Describe a network that is open already."""
    classifier.eval()
    return Model(
        classifier, classifier.model, digest_of(classifier), classifier.classes, classifier.side, classifier.crop,
        tuple(classifier.labels), classifier,
    )  # fmt: skip


def digest_of(network: nn.Module) -> str:
    """Hash a network's weights with their names, and how it normalises."""
    digest = hashlib.sha256()
    named = {**network.state_dict(), **dict(network.named_buffers())}
    for name in sorted(named):
        value = named[name].detach().cpu().contiguous()
        digest.update(f"{name}{tuple(value.shape)}{value.dtype}".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes() if value.numel() else b"")
    return digest.hexdigest()[:16]


def _normalised(pictures: Tensor, how: Normalisation) -> Tensor:
    if how == "none":
        return pictures
    mean, std = (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD) if how == "imagenet" else ((0.5,) * 3, (0.5,) * 3)
    return (pictures - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)


def _bytes(path: Path, expected: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        wrong = f"cannot be read: {error.strerror}" if path.exists() else "there is no such file"
        raise InputError(path, wrong, expected) from error


# ---------------------------------------------------------------------------------------------------------------------
# ONNX
# ---------------------------------------------------------------------------------------------------------------------


def _session(path: Path, side: int, normalise: Normalisation, threads: int) -> Model:
    expected = "an ONNX file of a classifier: pictures (B, 3, H, W) in, logits (B, classes) out"
    content = _bytes(path, expected)
    runtime = _runtime()
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    if threads:
        options.intra_op_num_threads = threads
    try:
        session = runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime has a class of errors for each of its states
        raise InputError(path, f"cannot be opened: {textwrap.shorten(str(error), 160)}", expected) from error
    (given, *more), (answer, *_) = session.get_inputs(), session.get_outputs()
    shape = given.shape
    if more or len(shape) != 4 or shape[1] != 3:
        raise InputError(path, f"takes {[i.shape for i in (given, *more)]}", expected)
    fixed = shape[-1] if isinstance(shape[-1], int) else 0
    noted = json.loads(session.get_modelmeta().custom_metadata_map.get(NOTE, "{}"))
    side = fixed or side or noted.get("side", 0)
    if not side:
        raise InputError(path, "takes pictures of any size", "to be calibrated with --side N, the size that it was trained on")
    one_by_one = shape[0] == 1

    def logits(pictures: Tensor) -> np.ndarray:
        rows = _normalised(pictures, normalise).contiguous().numpy()
        if one_by_one and len(rows) > 1:
            return np.concatenate([session.run([answer.name], {given.name: row[None]})[0] for row in rows])
        return session.run([answer.name], {given.name: rows})[0]

    try:
        found = np.asarray(logits(torch.full((1, 3, side, side), 0.5)))
    except Exception as error:
        raise InputError(path, f"does not run: {textwrap.shorten(str(error), 160)}", expected) from error
    if found.ndim != 2:
        raise InputError(path, f"returns {found.shape} for one picture", expected)
    digest = hashlib.sha256(content + normalise.encode()).hexdigest()[:16]
    labels = tuple(noted.get("labels", ()))
    return Model(logits, path.name, digest, found.shape[1], side, noted.get("crop", CROP), labels)


def _runtime() -> Any:
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise MissingExtra("onnxruntime", "onnx") from error
    return onnxruntime


@dataclass(frozen=True)
class Network:
    """A network as an ONNX file holds it."""

    content: bytes
    suffix: ClassVar[str] = ".onnx"
    kind: ClassVar[str] = "network"

    def write(self, path: Path) -> None:
        """Write the file."""
        path.write_bytes(self.content)


def exported(classifier: Classifier, views: Iterable[np.ndarray] | None = None) -> Network:
    """Turn a classifier, with its normalisation, into ONNX.

    Args:
        classifier: The classifier.
        views: Pictures float32 ``(1, 3, side, side)`` of its kind: then weights and activations become 8-bit integers, whose
            ranges are what these pictures make of the activations (post-training static quantisation). None leaves floats.

    Raises:
        InputError: If the network cannot be exported.
        MissingExtra: If the packages for ONNX are not installed.
    """
    try:
        import onnx
        import onnxscript  # noqa: F401 - what torch.onnx exports with
    except ModuleNotFoundError as error:
        raise MissingExtra(error.name or "onnx", "onnx") from error
    batch = torch.export.Dim("batch", min=1, max=1024)
    with warnings.catch_warnings(), _hushed():
        warnings.simplefilter("ignore")
        try:
            # A batch of two, since PyTorch takes a size of one for fixed.
            program = torch.export.export(
                classifier.cpu().eval(), (classifier.example().repeat(2, 1, 1, 1),), dynamic_shapes=({0: batch},)
            )
            proto = torch.onnx.export(program, dynamo=True, verbose=False).model_proto
        except Exception as error:  # the exporter has many
            said = textwrap.shorten(str(error), 160)
            raise InputError(classifier.model, f"cannot be exported: {said}", "a feed-forward network") from error
        if views is not None:
            proto = _quantised(proto, views)
    for node in (*proto.graph.node, *proto.graph.value_info, *proto.graph.initializer):
        del node.metadata_props[:]  # where in the source each stems from
    seen = {"side": classifier.side, "crop": classifier.crop, "labels": list(classifier.labels), "model": classifier.model}
    onnx.helper.set_model_props(proto, {NOTE: json.dumps(seen)})
    return Network(proto.SerializeToString(deterministic=True))


def _quantised(proto: Any, views: Iterable[np.ndarray]) -> Any:
    import onnx
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    name, waiting = proto.graph.input[0].name, iter(views)

    class Reader(quantization.CalibrationDataReader):
        """Hands out the views."""

        def get_next(self) -> dict[str, np.ndarray] | None:
            """Return the next one."""
            view = next(waiting, None)
            return None if view is None else {name: view}

    with tempfile.TemporaryDirectory(prefix="foveate-") as folder:
        paths = [os.path.join(folder, f"{step}.onnx") for step in ("float", "ready", "int8")]  # noqa: PTH118
        onnx.save(proto, paths[0])
        quant_pre_process(paths[0], paths[1], skip_symbolic_shape=True)
        quantization.quantize_static(
            paths[1], paths[2], Reader(), per_channel=True,
            activation_type=quantization.QuantType.QUInt8, weight_type=quantization.QuantType.QInt8,
        )  # fmt: skip
        return onnx.load(paths[2])


class _hushed:
    """Keep the remarks of the exporter and the quantiser, which go to the root logger, from the user."""

    def __enter__(self) -> None:
        self.before = logging.root.manager.disable
        logging.disable(logging.ERROR)

    def __exit__(self, *_: object) -> None:
        logging.disable(self.before)


# ---------------------------------------------------------------------------------------------------------------------
# TorchScript
# ---------------------------------------------------------------------------------------------------------------------


def _script(path: Path, classes: int, side: int, normalise: Normalisation) -> Model:
    expected = "a TorchScript file of a classifier"
    content = _bytes(path, expected)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch advises against TorchScript for new programs
        try:
            network = torch.jit.load(str(path), map_location="cpu").eval()
        except (RuntimeError, ValueError) as error:
            said = textwrap.shorten(str(error), 160)
            raise InputError(path, f"is not a TorchScript file: {said}", expected) from error
    if not side:
        raise InputError(path, "does not say what size it takes", "to be calibrated with --side N, as it was trained")

    def logits(pictures: Tensor) -> Tensor:
        return network(_normalised(pictures, normalise))

    with torch.inference_mode():
        try:
            found = logits(torch.full((1, 3, side, side), 0.5))
        except RuntimeError as error:
            said = textwrap.shorten(str(error).strip().splitlines()[-1], 160)
            raise InputError(path, f"does not run on {side} x {side} pixels: {said}", expected) from error
    if not isinstance(found, Tensor) or found.ndim != 2 or (classes and found.shape[1] != classes):
        raise InputError(path, f"returns {getattr(found, 'shape', type(found))} for one picture", "logits (1, classes)")
    digest = hashlib.sha256(content + normalise.encode()).hexdigest()[:16]
    return Model(logits, path.name, digest, found.shape[1], side)
