"""HINet's claims as experiments."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from foveate.parts import degradations, weights
from foveate.parts.counting import macs, parameters
from foveate.parts.inference import device
from foveate.parts.quality import psnr
from foveate.parts.tiling import tiled
from foveate.parts.training import History, fit
from foveate.results import Picture
from foveate.samples.photographs import photographs
from foveate.systems.restoration.hinet.data import Sample
from foveate.systems.restoration.hinet.method import HINBlock, HINet, prepare, restore
from foveate.systems.restoration.hinet.train import Restorer

Budget = Literal["quick", "full"]
RIVAL_MACS = 573e9  # of the network that the paper compares its denoiser with, at 3 x 256 x 256 (its usual figure)


def sizes(seed: int, budget: Budget) -> dict[str, dict[str, float]]:
    """Count parameters and multiply-accumulates at 3 x 256 x 256 (claims C2 and C6)."""
    with torch.device("meta"):  # only shapes count
        variants = {
            "1x": HINet(64),
            "1x_hin_3_4": HINet(64, hin_left=3),
            "1x_no_hin": HINet(64, norm="none"),
            "0.5x": HINet(32),
            "w16": HINet(16),
            "w8": HINet(8),
            "one_stage_w64": HINet(64, stages=1),
            "no_csff": HINet(64, csff=False),
        }
    found = {}
    for name, network in variants.items():
        charged = macs(network, (1, 3, 256, 256), transposed="output")
        found[name] = {
            "parameters": parameters(network),
            "gmacs": round(macs(network, (1, 3, 256, 256)) / 1e9, 2),
            "gmacs_output": round(charged / 1e9, 1),
            "cost_share": charged / RIVAL_MACS,
        }
    return found


def half(seed: int, budget: Budget) -> dict[str, dict[str, float]]:
    """Look at the output of a HIN block's norm before its affine part (claim C7)."""
    torch.manual_seed(seed)
    block = HINBlock(3, 16).double().requires_grad_(False)
    before = block.conv1(torch.rand(2, 3, 40, 40, dtype=torch.float64))
    after = block.norm(before)
    variance = before[:, :8].var((2, 3), unbiased=False)
    return {
        "block": {
            "mean_error": float(after[:, :8].mean((2, 3)).abs().max()),
            "variance_error": float((after[:, :8].var((2, 3), unbiased=False) - variance / (variance + 1e-5)).abs().max()),
            "untouched_error": float((after[:, 8:] - before[:, 8:]).abs().max()),
        }
    }


# One switch apart from the first; the single stage is as wide as makes its multiply-accumulates equal (within 5 %).
ARMS: dict[str, dict[str, Any]] = {
    "hin": {},
    "none": {"norm": "none"},
    "in": {"norm": "in"},
    "bn": {"norm": "bn"},
    "one_stage": {"stages": 1, "width": 12},
    "no_sam": {"sam": False},
    "no_csff": {"csff": False},
}


def ablation(
    seed: int,
    budget: Budget,
    group: Literal["hin", "none", "in", "bn", "one_stage", "no_sam", "no_csff"],
) -> dict[str, dict[str, Any]]:
    """Train the network with one switch turned, and restore held-out photographs (claims C1 and W1, stages, SAM, CSFF).

    Denoising; 64 x 64 crops. Each network is tested on windows of the size that it was trained on, and on the same
    photographs at once. A GPU gets a wider network, larger crops and more steps.
    """
    large = device().type == "cuda" and budget == "full"
    width, crop, steps, batch = (32, 128, 6000, 8) if large else (8, 64, {"quick": 30, "full": 500}[budget], 4)
    if ARMS[group].get("stages") == 1 and large:
        width_of_one = {"width": 48}
    else:
        width_of_one = {}
    torch.manual_seed(seed)
    network = HINet(**{"width": width, **ARMS[group], **width_of_one})
    cost = macs(network, (1, 3, 256, 256)) / 1e9
    data = Sample("denoise", crop, batch, epoch=batch * steps, window={"quick": 128, "full": 0}[budget], seed=seed)
    history = History("val_psnr")
    module = Restorer(network, lr=5e-4, floor=1e-6, tile=crop)
    fit(module, data, steps, seed=seed, callbacks=(history,), val_check_interval=max(1, steps // 5))
    network.eval().to(device())
    tiles, whole = [], []
    for batch_of_one in data.test_dataloader()[0]:
        degraded, clean = (batch_of_one[k].to(device()) for k in ("degraded", "clean"))
        with torch.inference_mode():
            windows = tiled(network, degraded[0], crop, overlap=crop // 8, batch=16)[None]
            whole.append(float(psnr(network(degraded), clean)))
        tiles.append(float(psnr(windows, clean)))
    gap = [t - w for t, w in zip(tiles, whole, strict=True)]
    return {
        group: {
            "psnr": tiles,
            "psnr_whole": whole,
            "window_gap": gap,
            "gmacs": cost,
            "curve": history.curve("validation PSNR [dB]"),
        }
    }


def classical(seed: int, budget: Budget) -> dict[str, dict[str, Any]]:
    """Compare the shipped weights with scikit-image's denoisers on held-out photographs, noise alike (claim D1).

    The classical methods get every advantage: the true strength of the noise, its variance made constant, and the parameter
    that does best on the validation photograph at that strength.
    """
    side = {"quick": 128, "full": 256}[budget]
    strengths = (0.1,) if budget == "quick" else (0.05, 0.1, 0.2)
    network = weights.load(HINet, Path(__file__).with_name("weights.safetensors"))
    (validation,) = _windows("val", side)
    scores: dict[str, list[float]] = {}
    shown: dict[str, Picture] = {}
    for strength in strengths:
        rng = np.random.default_rng((seed, round(strength * 100)))
        noisy = degradations.signal_noise(validation, strength, rng)
        tuned = {}
        for name, (method, choices) in CLASSICAL.items():
            best = max(choices, key=lambda c: _score(_stabilised(method, noisy, strength, c), validation))
            tuned[name] = lambda x, m=method, s=strength, c=best: _stabilised(m, x, s, c)
        for name, clean in zip(photographs("test"), _windows("test", side), strict=True):
            noisy = degradations.signal_noise(clean, strength, rng)
            outputs = {"input": noisy, "hinet": _restored(network, noisy), **{n: m(noisy) for n, m in tuned.items()}}
            for arm, output in outputs.items():
                scores.setdefault(arm, []).append(_score(output, clean))
                if name == "coffee":
                    shown[arm] = Picture.from_unit(output)
    return {arm: {"psnr": values, "picture": shown[arm]} for arm, values in scores.items()}


def _windows(part: Literal["val", "test"], side: int) -> list[np.ndarray]:
    data = list(photographs(part).values())
    corners = [((p.shape[0] - side) // 2, (p.shape[1] - side) // 2) for p in data]
    return [Picture(p[t : t + side, s : s + side]).colour() for p, (t, s) in zip(data, corners, strict=True)]


def _score(output: np.ndarray, clean: np.ndarray) -> float:
    restored, target = (torch.from_numpy(np.array(x, dtype=np.float32)).permute(2, 0, 1)[None] for x in (output, clean))
    return float(psnr(restored, target))


def _restored(network: HINet, noisy: np.ndarray) -> np.ndarray:
    ((restored,),) = restore(network, [Picture.from_unit(noisy, bits=16)], precision="float32")
    return prepare(restored).permute(1, 2, 0).numpy()


def _stabilised(method: Callable[..., np.ndarray], noisy: np.ndarray, strength: float, choice: float) -> np.ndarray:
    """Denoise ``ln(0.3 + x)``, in which the noise ``strength * n * (0.3 + x)`` is about white with that deviation."""
    return np.exp(method(np.log(0.3 + noisy), strength, choice)) - 0.3


def _nlm(x: np.ndarray, sigma: float, choice: float) -> np.ndarray:
    from skimage.restoration import denoise_nl_means

    return denoise_nl_means(x, 5, 8, h=choice * sigma, sigma=sigma, fast_mode=True, channel_axis=2)


def _tv(x: np.ndarray, sigma: float, choice: float) -> np.ndarray:
    from skimage.restoration import denoise_tv_chambolle

    return denoise_tv_chambolle(x, weight=choice * sigma, channel_axis=2)


def _wavelet(x: np.ndarray, sigma: float, choice: float) -> np.ndarray:
    from skimage.restoration import denoise_wavelet

    # The transform wants values in [0, 1]; ours lie between ln 0.3 and ln 1.3.
    low, span = np.log(0.3), np.log(1.3 / 0.3)
    return denoise_wavelet((x - low) / span, sigma=choice * sigma / span, channel_axis=2, convert2ycbcr=True) * span + low


CLASSICAL: dict[str, tuple[Callable[..., np.ndarray], tuple[float, ...]]] = {
    "nl_means": (_nlm, (0.4, 0.6, 0.8, 1.0)),
    "tv": (_tv, (0.5, 1.0, 1.5, 2.0)),
    "wavelet": (_wavelet, (0.6, 0.8, 1.0, 1.3)),
}


def speed(seed: int, budget: Budget) -> dict[str, dict[str, float]]:
    """Time one forward pass of the two sizes and of a plain U-Net with the rival's multiply-accumulates (claim C8).

    The stand-in has the rival's cost and not its layers: this measures what the cost alone makes of the speed.
    """
    share, side = {"quick": (4, 64), "full": (1, 256)}[budget]  # quick: all widths and the picture a quarter
    networks: dict[str, nn.Module] = {
        "1x": HINet(64 // share),
        "0.5x": HINet(32 // share),
        "rival_cost": HINet(2 * (89 // share), stages=1, norm="none"),
    }
    x = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(seed)).to(device())
    return {name: {"ms": _milliseconds(network.eval().to(device()), x)} for name, network in networks.items()}


def _milliseconds(network: nn.Module, x: Tensor, repeats: int = 3) -> float:
    times = []
    with torch.inference_mode():
        for _ in range(repeats + 1):
            start = time.perf_counter()
            network(x).sum().item()  # waits for an accelerator
            times.append(1000 * (time.perf_counter() - start))
    return float(np.median(times[1:]))
