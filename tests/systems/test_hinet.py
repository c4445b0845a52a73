"""What only HINet must do: the sharp checks of its sheet."""

import inspect
import math
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

import foveate
from foveate.cli import main
from foveate.errors import InputError
from foveate.parts import weights
from foveate.parts.counting import macs, parameters
from foveate.parts.degradations import signal_noise
from foveate.parts.quality import psnr
from foveate.parts.tiling import tiled
from foveate.readers.paired import draw_move
from foveate.readers.pictures import read_picture
from foveate.results import Picture
from foveate.samples.photographs import photograph
from foveate.systems.restoration.hinet.data import SIDD, Folders, GoPro, Rain13k, Sample
from foveate.systems.restoration.hinet.method import HINBlock, HINet, finish, prepare, psnr_loss, released, restore
from foveate.systems.restoration.hinet.run import SHIPPED
from foveate.systems.restoration.hinet.train import Restorer, learning_rate


def noisy(name="rocket", side=320, strength=0.1):
    clean = Picture(photograph(name)[:side, :side]).colour()
    return Picture.from_unit(signal_noise(clean, strength, np.random.default_rng(0))), clean


# --- the network -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "count", "gmacs"),
    [
        ({"width": 64}, 88_669_702, 157.60),
        ({"width": 64, "hin_left": 3}, 88_668_806, 157.60),
        ({"width": 64, "norm": "none"}, 88_665_734, 157.60),
        ({"width": 64, "csff": False}, 82_400_902, 138.27),
        ({"width": 64, "stages": 1}, 41_176_963, 67.60),
        ({"width": 32}, 22_176_518, 39.54),
        ({"width": 32, "stages": 1}, 10_298_307, 16.96),
        ({"width": 16}, 5_548_678, 9.956),
        ({"width": 8}, 1_389_446, 2.524),
        ({"width": 12, "stages": 1}, None, 2.411),
    ],
)
def test_parameters_and_macs_are_the_papers(arguments, count, gmacs):
    with torch.device("meta"):
        network = HINet(**arguments)
    assert count in (None, parameters(network))
    assert macs(network, (1, 3, 256, 256)) / 1e9 == pytest.approx(gmacs, abs=6e-3)


def test_macs_in_the_convention_that_charges_transposed_convolutions_at_their_output():
    with torch.device("meta"):
        assert macs(HINet(64), (1, 3, 256, 256), transposed="output") / 1e9 == pytest.approx(170.5, abs=0.05)
        assert macs(HINet(32), (1, 3, 256, 256), transposed="output") / 1e9 == pytest.approx(42.8, abs=0.05)


def released_state(width=4, depth=5, left=0, right=4):
    """Make random weights under the names and in the shapes of the released checkpoints, written down from the sheet."""
    generator = torch.Generator().manual_seed(0)
    state = {}

    def conv(name, ci, co, k, bias=True, transposed=False):
        shape = (ci, co, k, k) if transposed else (co, ci, k, k)
        state[f"{name}.weight"] = torch.randn(shape, generator=generator) / math.sqrt(ci * k * k)
        if bias:
            state[f"{name}.bias"] = 0.1 * torch.randn(co, generator=generator)

    def block(name, ci, co, normed=False, csff=False):
        conv(f"{name}.identity", ci, co, 1)
        conv(f"{name}.conv_1", ci, co, 3)
        conv(f"{name}.conv_2", co, co, 3)
        if csff:
            conv(f"{name}.csff_enc", co, co, 3)
            conv(f"{name}.csff_dec", co, co, 3)
        if normed:
            state[f"{name}.norm.weight"] = 1 + 0.1 * torch.randn(co // 2, generator=generator)
            state[f"{name}.norm.bias"] = 0.1 * torch.randn(co // 2, generator=generator)

    for stage in (1, 2):
        conv(f"conv_0{stage}", 3, width, 3)
        before = width
        for i in range(depth):
            c, down = width * 2**i, i + 1 < depth
            block(f"down_path_{stage}.{i}", before, c, left <= i <= right, stage == 2 and down)
            if down:
                conv(f"down_path_{stage}.{i}.downsample", c, c, 4, bias=False)
            before = c
        for j in range(depth - 1):
            c = width * 2 ** (depth - 2 - j)
            conv(f"up_path_{stage}.{j}.up", 2 * c, c, 2, transposed=True)
            block(f"up_path_{stage}.{j}.conv_block", 2 * c, c)
            conv(f"skip_conv_{stage}.{j}", c, c, 3)
    conv("sam12.conv1", width, width, 3)
    conv("sam12.conv2", width, 3, 3)
    conv("sam12.conv3", 3, width, 3)
    conv("cat12", 2 * width, width, 1)
    conv("last", width, 3, 3)
    return state


def slow_forward(s, image, depth=5):
    """Compute the network straight from the released names: one line for each sentence of the sheet."""

    def conv(name, x, pad=1, stride=1):
        return F.conv2d(x, s[f"{name}.weight"], s.get(f"{name}.bias"), stride=stride, padding=pad)

    def block(name, x, fused=None):
        h = conv(f"{name}.conv_1", x)
        if f"{name}.norm.weight" in s:
            first, second = h.chunk(2, 1)
            mean, var = first.mean((2, 3), keepdim=True), first.var((2, 3), unbiased=False, keepdim=True)
            scale, shift = (s[f"{name}.norm.{k}"].reshape(1, -1, 1, 1) for k in ("weight", "bias"))
            h = torch.cat([(first - mean) / (var + 1e-5).sqrt() * scale + shift, second], 1)
        h = F.leaky_relu(conv(f"{name}.conv_2", F.leaky_relu(h, 0.2)), 0.2) + conv(f"{name}.identity", x, pad=0)
        return h if fused is None else h + conv(f"{name}.csff_enc", fused[0]) + conv(f"{name}.csff_dec", fused[1])

    def unet(stage, x, earlier=None):
        skips = []
        for i in range(depth - 1):
            skips.append(block(f"down_path_{stage}.{i}", x, earlier and (earlier[0][i], earlier[1][-1 - i])))
            x = conv(f"down_path_{stage}.{i}.downsample", skips[-1], stride=2)
        x = block(f"down_path_{stage}.{depth - 1}", x)
        decoded = []
        for j in range(depth - 1):
            up = F.conv_transpose2d(x, s[f"up_path_{stage}.{j}.up.weight"], s[f"up_path_{stage}.{j}.up.bias"], stride=2)
            x = block(f"up_path_{stage}.{j}.conv_block", torch.cat([up, conv(f"skip_conv_{stage}.{j}", skips[-1 - j])], 1))
            decoded.append(x)
        return skips, decoded

    first = unet(1, conv("conv_01", image))
    x = first[1][-1]
    out_1 = conv("sam12.conv2", x) + image
    passed = conv("sam12.conv1", x) * torch.sigmoid(conv("sam12.conv3", out_1)) + x
    second = unet(2, conv("cat12", torch.cat([conv("conv_02", image), passed], 1), pad=0), first)
    return out_1, conv("last", second[1][-1]) + image


@pytest.mark.parametrize(("left", "right"), [(0, 4), (3, 4)])
def test_released_checkpoint_imports_and_computes_what_the_paper_says(tmp_path, capsys, left, right):
    state = released_state(left=left, right=right)
    path = tmp_path / "HINet-made-here.pth"
    torch.save({"params": {f"module.{k}": v for k, v in state.items()}}, path)
    assert main(["import", "hinet", str(path), "--out", str(tmp_path)]) == 0
    network = foveate.load("hinet", weights=capsys.readouterr().out.strip())
    assert (network.arguments["hin_left"], network.arguments["hin_right"]) == (left, right)
    image = torch.rand(2, 3, 48, 64)
    with torch.no_grad():
        for ours, theirs in zip(network.outputs(image), slow_forward(state, image), strict=True):
            torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("spoil", ["missing", "extra", "shape", "not a network"])
def test_import_is_strict(tmp_path, capsys, spoil):
    state = released_state()
    if spoil == "missing":
        del state["cat12.bias"]
    elif spoil == "extra":
        state["down_path_1.0.surprise.weight"] = torch.zeros(1)
    elif spoil == "shape":
        state["last.bias"] = torch.zeros(4)
    else:
        state = {"weight": torch.zeros(2)}
    torch.save({"params": state}, tmp_path / "w.pth")
    assert main(["import", "hinet", str(tmp_path / "w.pth"), "--out", str(tmp_path / "o")]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert not (tmp_path / "o").exists()


def test_half_of_the_channels_is_normalised_and_the_other_passes_bit_for_bit():
    block = HINBlock(3, 16)
    before = block.conv1(torch.rand(2, 3, 20, 30))
    after = block.norm(before)
    variance = before[:, :8].var((2, 3), unbiased=False)
    assert after[:, :8].mean((2, 3)).abs().max() < 1e-5
    torch.testing.assert_close(after[:, :8].var((2, 3), unbiased=False), variance / (variance + 1e-5), atol=1e-4, rtol=1e-4)
    assert torch.equal(after[:, 8:], before[:, 8:])


@settings(max_examples=12, deadline=None)
@given(height=st.integers(1, 70), width=st.integers(1, 70))
def test_any_size_comes_back_in_its_size(height, width):
    network = HINet(width=4).eval()
    with torch.no_grad():
        out = network(torch.rand(1, 3, height, width))
    assert out.shape == (1, 3, height, width)
    assert out.isfinite().all()


@pytest.mark.parametrize("norm", ["hin", "none", "in", "bn", "ln", "gn", "hin_bn"])
@pytest.mark.parametrize("switches", [{}, {"sam": False, "csff": False}, {"stages": 1, "hin_ratio": 0.25}])
def test_every_switch_trains(norm, switches):
    network = HINet(width=8, depth=3, norm=norm, **switches)
    outputs = network.outputs(torch.rand(2, 3, 32, 32))
    assert len(outputs) == switches.get("stages", 2)
    sum(psnr_loss(o, torch.rand(2, 3, 32, 32)) for o in outputs).backward()
    assert all(p.grad is not None for p in network.parameters())


def test_wrong_switches_are_refused():
    for arguments in ({"norm": "layer"}, {"stages": 3}, {"width": 7}):
        with pytest.raises(InputError):
            HINet(**arguments)


# --- loss and schedule -----------------------------------------------------------------------------------------------


def test_psnr_loss_is_minus_half_the_mean_psnr_of_the_pictures():
    clean = torch.rand(4, 3, 16, 16)
    restored = (clean + torch.tensor([0.01, 0.05, 0.1, 0.2]).reshape(4, 1, 1, 1) * torch.randn_like(clean)).clamp(0, 1)
    expected = -psnr(restored, clean, rounded=False).mean() / 2
    assert float(psnr_loss(restored, clean)) == pytest.approx(float(expected), abs=1e-4)
    assert float(psnr_loss(clean, clean)) == pytest.approx(-40, abs=1e-4)  # the floor


@pytest.mark.parametrize("deep", [True, False])
def test_training_loss_sums_over_the_stages(deep):
    module = Restorer(HINet(width=4, depth=3), deep_supervision=deep)
    batch = {"degraded": torch.rand(3, 3, 16, 16), "clean": torch.rand(3, 3, 16, 16)}
    module.log = lambda *_, **__: None
    outputs = module.network.outputs(batch["degraded"])
    counted = outputs if deep else outputs[-1:]
    expected = -sum(psnr(o.clamp(0, 1), batch["clean"], rounded=False).mean() for o in counted) / 2
    with torch.no_grad():
        module.network.outputs = lambda _: [o.clamp(0, 1) for o in outputs]
        assert float(module.training_step(batch, 0)) == pytest.approx(float(expected), abs=1e-4)


@pytest.mark.parametrize(
    ("recipe", "loss", "floor", "betas", "levels", "warmup", "rounded", "on_luma"),
    [
        ("sidd", "l1", 1e-6, [0.9, 0.999], (0, 4), 0, False, False),
        ("gopro", "psnr", 1e-7, [0.9, 0.99], (3, 4), 0, True, False),
        ("reds", "psnr", 1e-7, [0.9, 0.99], (3, 4), 0, True, False),
        ("rain13k", "psnr", 1e-7, [0.9, 0.99], (0, 4), 10_000, True, True),
    ],
)
def test_recipes_are_the_released_settings(recipe, loss, floor, betas, levels, warmup, rounded, on_luma):
    card = foveate.show("hinet")
    given = card.recipe[recipe]["model"]
    defaults = {k: p.default for k, p in inspect.signature(Restorer).parameters.items()}
    merged = {**defaults, **given}
    assert (merged["loss"], merged["floor"], list(merged["betas"])) == (loss, floor, betas)
    assert (merged["warmup"], merged["rounded"], merged["on_luma"]) == (warmup, rounded, on_luma)
    assert (merged["lr"], merged["clip"], merged["deep_supervision"]) == (2e-4, 0.01, True)
    assert (given["network"]["width"], given["network"]["hin_left"], given["network"]["hin_right"]) == (64, *levels)
    assert card.recipe[recipe]["trainer"]["max_steps"] == 400_000
    assert 8 * card.recipe[recipe]["data"]["batch_size"] == 64


@pytest.mark.parametrize(
    ("step", "floor", "warmup", "rate"),
    [
        (0, 1e-6, 0, 2e-4),
        (200_000, 1e-6, 0, 1.005e-4),
        (200_000, 1e-7, 0, 1.0005e-4),
        (400_000, 1e-7, 0, 1e-7),
        (0, 1e-7, 10_000, 0),
        (5_000, 1e-7, 10_000, 1e-4),
        (10_000, 1e-7, 10_000, 1.9969e-4),
    ],
)
def test_schedule_at_the_golden_steps(step, floor, warmup, rate):
    assert learning_rate(step, 400_000, 2e-4, floor, warmup) == pytest.approx(rate, rel=1e-4, abs=1e-12)


def test_optimiser_follows_the_schedule_and_the_gradient_is_clipped():
    from lightning.pytorch import Callback

    from foveate.parts.training import fit

    rates, norms = [], []

    class Watch(Callback):
        def on_before_optimizer_step(self, trainer, module, optimizer):
            rates.append(optimizer.param_groups[0]["lr"])

        def on_train_batch_end(self, trainer, module, *_):
            norms.append(float(torch.nn.utils.get_total_norm([p.grad for p in module.network.parameters()])))

    module = Restorer(HINet(width=4, depth=3), lr=1e-3, floor=1e-5, warmup=2)
    fit(module, Sample(crop=32, batch_size=2, epoch=8), 5, callbacks=(Watch(),), limit_val_batches=0)
    assert rates == pytest.approx([learning_rate(s, 5, 1e-3, 1e-5, 2) for s in range(5)])
    assert max(norms) <= 0.01 * (1 + 1e-4)


def test_half_of_the_sidd_crops_stay_as_they_are():
    rng = np.random.default_rng(0)
    moves = [draw_move("half", rng) for _ in range(4000)]
    assert np.mean(np.equal(moves, 0)) == pytest.approx(0.5, abs=0.03)
    assert set(moves) == set(range(8))


def test_fit_and_test_on_your_own_pairs_smaller_than_a_crop_and_cut_into_squares(tmp_path):
    from foveate.parts.training import fit

    for part in ("train", "test"):
        for i, size in enumerate((40, 90)):
            before, clean = noisy(side=size)
            for side, picture in (("input", before), ("target", Picture.from_unit(clean))):
                (tmp_path / part / side).mkdir(parents=True, exist_ok=True)
                picture.write(tmp_path / part / side / f"{i}.png")
    data = Folders(str(tmp_path), crop=64, batch_size=2, crops=str(tmp_path / "squares"))
    module = Restorer(HINet(width=4, depth=3), tile=32)
    trainer = fit(module, data, 2, limit_val_batches=0)
    assert len(list((tmp_path / "squares" / "clean").iterdir())) == 2
    (scores,) = trainer.test(module, data, verbose=False)
    assert 5 < scores["test_psnr"] < 50
    shutil.rmtree(tmp_path / "train")
    with pytest.raises(InputError, match="nothing to fit"):
        Folders(str(tmp_path)).setup("fit")


def test_held_out_scenes_share_no_sequence_and_no_clean_picture_with_training(tmp_path):
    for i in range(24):
        for side in ("input", "target"):
            folder = tmp_path / "train" / side
            folder.mkdir(parents=True, exist_ok=True)
            pixels = np.full((8, 8, 3), i // 2 if side == "target" else i, np.uint8)
            Picture(pixels).write(folder / f"GOPR{i // 2:02d}-{i:06d}.png")
    for source in (GoPro, Rain13k):
        parts = source(str(tmp_path)).parts()
        scenes = [{pair.clean.stem.partition("-")[0] for pair in parts[part]} for part in ("train", "val")]
        assert (len(scenes[0]), len(scenes[1])) == (10, 2)
        assert not scenes[0] & scenes[1]


def test_sidd_blocks_are_refused_if_their_key_is_not_the_files_stem(tmp_path):
    from scipy.io import savemat

    from foveate.systems.restoration.hinet.examples import layout

    layout("sidd", tmp_path)
    savemat(tmp_path / "ValidationGtBlocksSrgb.mat", {"other": np.zeros((1, 1, 256, 256, 3), np.uint8)})
    with pytest.raises(InputError, match="ValidationGtBlocksSrgb"):
        SIDD(str(tmp_path)).parts()


# --- whole photographs -----------------------------------------------------------------------------------------------


def test_one_window_is_the_plain_network():
    network = HINet(width=4).eval()
    picture = torch.rand(3, 256, 256)
    with torch.no_grad():
        assert torch.equal(tiled(network, picture), network(picture[None])[0])


def test_shipped_weights_help_and_tiles_leave_no_seam():
    network = weights.load(HINet, SHIPPED)
    before, clean = noisy("rocket", 320)
    ((tiles,),) = restore(network, [before], tile=128, overlap=32, precision="float32")
    ((whole,),) = restore(network, [before], tile=0, precision="float32")
    target = torch.from_numpy(np.array(clean)).permute(2, 0, 1)[None]
    start, in_tiles, at_once = (float(psnr(prepare(p)[None], target)) for p in (before, tiles, whole))
    assert in_tiles > start + 5
    # Window statistics differ from the whole picture's, so the outputs do: little, and both are good.
    assert float(psnr(prepare(tiles)[None], prepare(whole)[None])) > 30
    assert abs(in_tiles - at_once) < 1.5
    # A seam would show as a step across the lines where windows begin or end.
    residual = tiles.colour().mean(2) - whole.colour().mean(2)
    steps = np.abs(np.diff(residual, axis=1)).mean(0)
    borders = [96 - 1, 128 - 1, 192 - 1, 224 - 1]
    assert steps[borders].mean() < 1.5 * np.delete(steps, borders).mean()


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("kind", ["grey", "grey and alpha", "colour", "colour and alpha"])
def test_bit_depth_grey_alpha_and_profile_are_kept(bits, kind):
    rng = np.random.default_rng(0)
    channels = {"grey": (), "grey and alpha": (2,), "colour": (3,), "colour and alpha": (4,)}[kind]
    pixels = rng.integers(0, 2**bits, (40, 50, *channels)).astype(np.uint8 if bits == 8 else np.uint16)
    picture = Picture(pixels, b"a profile")
    ((restored,),) = restore(HINet(width=4).eval(), [picture], tile=32, overlap=8)
    assert (restored.pixels.shape, restored.pixels.dtype, restored.profile) == (pixels.shape, pixels.dtype, b"a profile")
    if "alpha" in kind:
        assert np.array_equal(restored.alpha, picture.alpha)
    assert np.array_equal(finish(prepare(picture), picture).pixels, pixels)  # nothing is lost on the way


def test_pictures_of_several_sizes_share_batches_and_come_back_in_order():
    network = HINet(width=4).eval()
    pictures = [noisy(side=s)[0] for s in (40, 70, 40, 33)]
    together = [r.pixels for (r,) in restore(network, pictures, tile=32, overlap=8, batch=5, precision="float32")]
    for picture, pixels in zip(pictures, together, strict=True):
        ((alone,),) = restore(network, [picture], tile=32, overlap=8, batch=1, precision="float32")
        assert np.abs(alone.pixels.astype(int) - pixels).max() <= 1


def test_ensemble_of_eight_views_does_not_care_how_the_photograph_is_turned():
    picture = noisy(side=32)[0]
    network = HINet(width=4).eval()
    turned = Picture(np.ascontiguousarray(np.rot90(picture.pixels)))
    ((one,),), ((other,),) = (restore(network, [p], tta=8, precision="float32") for p in (picture, turned))
    assert np.abs(np.rot90(one.pixels).astype(int) - other.pixels).max() <= 1


# --- as a user -------------------------------------------------------------------------------------------------------


def test_run_on_a_folder_reports_the_bad_file_and_restores_the_others(tmp_path, capsys):
    photos = tmp_path / "photos"
    (photos / "deep").mkdir(parents=True)
    noisy(side=64)[0].write(photos / "a.png")
    noisy(side=48)[0].write(photos / "deep" / "a.png")
    (photos / "b.jpg").write_text("a letter")
    Picture(np.full((64, 64, 3), 128, np.uint8)).write(photos / "clean.png")
    assert main(["run", "hinet", str(photos), "--out", str(tmp_path / "out"), "--stage1", "--compare"]) == 1
    printed = capsys.readouterr()
    assert "b.jpg: holds text" in printed.err
    assert "clean.png: looks clean already" in printed.err
    assert "demo weights" in printed.err
    assert read_picture(tmp_path / "out" / "a-png_restored.png").size == (64, 64)
    assert read_picture(tmp_path / "out" / "a-png-2_compare.png").size == (48, 96)
    assert len(list((tmp_path / "out").iterdir())) == 8


def test_reference_gives_psnr_and_ssim(tmp_path):
    before, clean = noisy(side=64)
    before.write(tmp_path / "n.png")
    Picture.from_unit(clean).write(tmp_path / "c.png")
    report = foveate.run("hinet", tmp_path / "n.png", reference=tmp_path / "c.png")["report"].values
    assert report["psnr_after"] > report["psnr_before"] + 3
    assert report["ssim_after"] > report["ssim_before"]


def test_exif_orientation_is_applied(tmp_path):
    from PIL import Image

    image = Image.fromarray(noisy(side=64)[0].pixels[:40])
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "turned.jpg", exif=exif)
    assert foveate.run("hinet", tmp_path / "turned.jpg")["restored"].size == (64, 40)


def test_tasks_without_shipped_weights_say_what_to_do(tmp_path, capsys):
    noisy(side=40)[0].write(tmp_path / "a.png")
    assert main(["run", "hinet", str(tmp_path / "a.png"), "--task", "derain", "--out", str(tmp_path / "o")]) == 2
    assert "foveate import hinet" in capsys.readouterr().err


def test_released_refuses_other_networks():
    with pytest.raises(InputError, match="conv_01"):
        released({"params": {"a": torch.zeros(1)}})


COMMAND = [
    *("train", "hinet", "--model.network.width", "4", "--model.network.depth", "3", "--data.crop", "32"),
    *("--data.batch_size", "2", "--data.epoch", "8", "--data.window", "32", "--trainer.max_steps", "14"),
    *("--checkpoint.every_n_train_steps", "1", "--trainer.enable_progress_bar", "false", "--trainer.accelerator", "cpu"),
]


def trained(folder):
    (path,) = folder.glob("runs/hinet/restorer/version_0/checkpoints/last.ckpt")
    return torch.load(path, weights_only=True)


def test_training_killed_and_resumed_ends_bit_for_bit_as_if_it_had_not_been(tmp_path):
    """Through the command line, as a user would: kill -9 as soon as there is a checkpoint to go on from."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    call = [sys.executable, "-m", "foveate.cli", *COMMAND]
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    subprocess.run(call, cwd=tmp_path / "whole", env=environment, check=True, capture_output=True)
    running = subprocess.Popen(
        call, cwd=tmp_path / "killed", env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    last = tmp_path / "killed/runs/hinet/restorer/version_0/checkpoints/last.ckpt"
    for _ in range(1200):
        if last.exists() or running.poll() is not None:
            break
        time.sleep(0.05)
    running.send_signal(signal.SIGKILL)
    running.wait()
    killed_at = torch.load(last, weights_only=True)["global_step"]
    assert 0 < killed_at < 14
    again = [*call, "--ckpt_path", str(last)]
    subprocess.run(again, cwd=tmp_path / "killed", env=environment, check=True, capture_output=True)
    (final,) = (tmp_path / "killed").glob("runs/hinet/restorer/version_1/checkpoints/last.ckpt")
    resumed, whole = torch.load(final, weights_only=True), trained(tmp_path / "whole")
    assert resumed["global_step"] == whole["global_step"] == 14
    assert all(torch.equal(v, resumed["state_dict"][k]) for k, v in whole["state_dict"].items())
