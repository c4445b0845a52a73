"""Networks to and from files: safetensors to exchange, one's own Lightning checkpoints to go on from."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_safetensors
from torch import Tensor, nn

from foveate.errors import InputError
from foveate.results import write_atomically

Network = TypeVar("Network", bound=nn.Module)


def save(network: nn.Module, path: Path, half: bool = False) -> None:
    """Write a network as safetensors, its constructor arguments (``network.arguments``) in the metadata.

    Args:
        network: An `nn.Module` that keeps its arguments under ``arguments``.
        path: Where to.
        half: Store 16-bit floats, which halves the file; `load` turns them back into 32-bit ones.
    """
    write(network.state_dict(), network.arguments, path, half)


def write(state: dict[str, Tensor], arguments: dict[str, Any], path: Path, half: bool = False) -> None:
    """Write a state dict and the arguments of the network that it fits; see `save`."""
    # Clones, since one weight may go by two names, which safetensors refuses.
    stored = {k: (v.half() if half and v.is_floating_point() else v).cpu().contiguous().clone() for k, v in state.items()}
    write_atomically(path, to_safetensors(stored, metadata={"arguments": json.dumps(arguments)}))


def load(kind: type[Network], path: Path) -> Network:
    """Build a network from a file, in evaluation mode and float32.

    Args:
        kind: The network's class.
        path: ``.safetensors`` written by `save`, or a Lightning ``.ckpt`` whose module keeps its network under ``network``
            and its arguments under ``arguments``.

    Raises:
        InputError: If the file is missing, broken, or does not fit the class.
    """
    state, arguments = read(path)
    try:
        network = kind(**arguments)
        network.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in state.items()})
    except (TypeError, RuntimeError, ValueError, AttributeError) as error:
        said = textwrap.shorten(str(error), 300)
        raise InputError(path, f"does not fit {kind.__name__}: {said}", "weights of this system") from error
    return network.eval()


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a state dict and the constructor arguments beside it; see `load` for the files."""
    path = Path(path)
    expected = "a .safetensors file or a .ckpt of foveate"
    if not path.is_file():
        raise InputError(path, "there is no such file", expected)
    with path.open("rb") as file:
        zipped = file.read(2) == b"PK"
    if zipped:  # as torch.save writes
        content = read_checkpoint(path)
        if "arguments" not in content or "state_dict" not in content:
            raise InputError(path, "says no constructor arguments", expected)
        prefix, state = "network.", content["state_dict"]
        if not isinstance(state, dict):
            raise InputError(path, f"holds a {type(state).__name__} for weights", expected)
        return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}, content["arguments"]
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            return {name: file.get_tensor(name) for name in file.keys()}, json.loads(metadata["arguments"])  # noqa: SIM118
    except KeyError as error:
        raise InputError(path, "says no constructor arguments", expected) from error
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(path, f"is not a safetensors file ({error})", expected) from error


def read_checkpoint(path: Path, map_location: Any = "cpu") -> dict[str, Any]:
    """Read a checkpoint that holds tensors and plain containers.

    Raises:
        InputError: If the file is missing, broken, or holds other objects.
    """
    expected = "a checkpoint with tensors and plain values (.ckpt or .pth)"
    if not path.is_file():
        raise InputError(path, "there is no such file", expected)
    try:
        content = torch.load(path, map_location=map_location, weights_only=True)
    except Exception as error:  # torch raises anything from RuntimeError to UnpicklingError here
        raise InputError(path, f"is not a checkpoint that is safe to read ({type(error).__name__})", expected) from error
    if not isinstance(content, dict):
        raise InputError(path, f"holds a {type(content).__name__}", expected)
    return content
