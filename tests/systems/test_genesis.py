"""What only Genesis must do: the sharp checks of its sheet."""

import itertools
import json
import os

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
from foveate.parts.training import Draw, fit, steps_done
from foveate.systems.structures.genesis import examples, reproduce, views
from foveate.systems.structures.genesis.astronet import Astronet
from foveate.systems.structures.genesis.curves import read_curve
from foveate.systems.structures.genesis.data import Augmented, InMemory, Kepler, Own, Sample, TFRecords, scatter
from foveate.systems.structures.genesis.fourier import LongConvolution, PaddedConv1d
from foveate.systems.structures.genesis.mccv import Settings, evaluate
from foveate.systems.structures.genesis.method import Ensemble, Genesis, finish, log_probabilities, occlusion, prepare
from foveate.systems.structures.genesis.records import Views, crc32c, read_views
from foveate.systems.structures.genesis.run import SHIPPED
from foveate.systems.structures.genesis.search import search
from foveate.systems.structures.genesis.splits import fixed, monte_carlo
from foveate.systems.structures.genesis.synthetic import CADENCE, SHARES, Orbit, blocked, plan, simulate
from foveate.systems.structures.genesis.train import Vetter, probabilities, scores
from foveate.systems.structures.genesis.views import Ephemeris, LightCurve, binned, flatten, fold, global_view, local_view

TINY = {"bins": 65, "channels": 8, "taps": (10, 4), "pool": 8, "hidden": 16}


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    """Keep made views out of the user's cache, and let nothing that lies there decide a test."""
    before = os.environ.get("FOVEATE_CACHE")
    os.environ["FOVEATE_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    yield
    os.environ.pop("FOVEATE_CACHE")
    if before:
        os.environ["FOVEATE_CACHE"] = before


# --- the networks ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("network", "bins", "count", "work"),
    [
        (lambda: Genesis(), (2001,), 389_506, 422_385_280),
        (lambda: Genesis(501), (501,), 389_506, 105_764_992),
        (lambda: Genesis(4001), (4001,), 389_506, 844_578_432),
        (lambda: Genesis(padding="valid"), (2001,), 389_506, 400_241_152),
        (lambda: Genesis(output="sigmoid1"), (2001,), 389_249, None),
        (lambda: Astronet(), (2001, 201), 9_940_193, 126_308_896),
        (lambda: Astronet(4001, 401), (4001, 401), 19_016_929, None),
        (lambda: Astronet(501, 201), (501, 201), 3_779_809, None),
        (lambda: Astronet(local_bins=0), (2001,), 19_272_497, None),
    ],
)
def test_parameters_and_macs_are_exactly_the_sheets(network, bins, count, work):
    with torch.device("meta"):
        made = network()
    assert parameters(made) == count
    assert work in (None, macs(made, *((1, 1, n) for n in bins)))


def test_genesis_computes_what_its_table_of_layers_says():
    network = Genesis(501, members=2).eval()
    x = torch.randn(3, 1, 501)
    said = []
    for member in network.members:
        s = member.state_dict()

        def conv(h, name, s=s):
            left = (s[f"{name}.weight"].shape[-1] - 1) // 2
            padded = F.pad(h, (left, s[f"{name}.weight"].shape[-1] - 1 - left))
            return F.conv1d(padded, s[f"{name}.weight"], s[f"{name}.bias"]).relu()

        h = F.max_pool1d(conv(conv(x, "conv1"), "conv2"), 32)
        assert h.shape == (3, 64, 15)
        h = conv(conv(h, "conv3"), "conv4").mean(-1)
        for layer in (1, 3):
            h = F.linear(h, s[f"head.{layer}.weight"], s[f"head.{layer}.bias"]).relu()
        said.append(F.linear(h, s["head.5.weight"], s["head.5.bias"]).softmax(1))
    with torch.no_grad():
        torch.testing.assert_close(network(x).exp(), torch.stack(said).mean(0), atol=1e-5, rtol=1e-4)
        (verdict, *_) = finish(network.each(x))
    assert verdict.planet == pytest.approx(float(torch.stack(said).mean(0)[0, 1]), abs=1e-5)
    assert verdict.spread == pytest.approx(float(torch.stack(said)[:, 0, 1].std(unbiased=False)), abs=1e-5)


@pytest.mark.parametrize("bins", [120, 501])
def test_long_convolutions_give_the_numbers_and_gradients_of_plain_ones(bins):
    layer, x = PaddedConv1d(16, 24, 50), torch.randn(3, 16, bins, requires_grad=True)
    assert layer.pad == (24, 25)
    assert PaddedConv1d(16, 24, 12).pad == (5, 6)
    out, plain = layer(x), F.conv1d(F.pad(x, (24, 25)), layer.weight, layer.bias)
    assert "LongConvolution" in str(out.grad_fn.next_functions)
    torch.testing.assert_close(out, plain, atol=1e-4, rtol=1e-4)
    towards = torch.randn_like(out)
    ours, theirs = (torch.autograd.grad(y, (x, layer.weight, layer.bias), towards) for y in (out, plain))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, atol=1e-3, rtol=1e-3)
    small = [torch.randn(s, dtype=torch.float64, requires_grad=True) for s in ((2, 3, 70), (4, 3, 9))]
    assert torch.autograd.gradcheck(LongConvolution.apply, small)


SWITCHES = [{"padding": "valid", "bins": 834}, {"output": "sigmoid1"}, {"dropout": 0.0}, {"members": 3}]


@pytest.mark.parametrize("switches", SWITCHES)
def test_every_switch_trains(switches):
    network = Genesis(**{"bins": 100, "channels": 8, "hidden": 8, **switches})
    said = network(torch.randn(2, 1, network.arguments["bins"]))
    assert said.shape == (2, 2)
    torch.testing.assert_close(said.exp().sum(1), torch.ones(2))
    said[:, 1].sum().backward()
    assert all(p.grad is not None for p in network.parameters())


def test_wrong_switches_are_refused():
    for arguments in ({"bins": 833, "padding": "valid"}, {"bins": 31}, {"output": "sigmoid"}, {"members": 0}):
        with pytest.raises(InputError):
            Genesis(**arguments)
    with pytest.raises(InputError, match="at least 125 and 19"):
        Astronet(124)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), members=st.integers(2, 10))
def test_an_ensembles_log_loss_is_never_above_its_members_mean(seed, members):
    class Given(torch.nn.Module):
        def __init__(self, logits):
            super().__init__()
            self.logits = logits

        def forward(self, _):
            return self.logits

    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(members, 8, 2, generator=generator)
    label = torch.randint(0, 2, (8,), generator=generator)
    network = Ensemble([Given(each) for each in logits], {})
    alone = torch.stack([F.cross_entropy(each, label) for each in logits]).mean()
    assert F.nll_loss(network.together(torch.zeros(8, 1, 4)), label) <= alone + 1e-6


def test_occlusion_finds_what_a_verdict_rests_on():
    class DipFinder(torch.nn.Module):
        def forward(self, view):
            return -view[:, :, 50]

    view = torch.zeros(1, 101)
    view[0, 40:60] = -1
    fall = occlusion(Ensemble([DipFinder()], {}), view, steps=101)
    assert fall.shape == (101,)
    assert fall.argmax() in range(46, 55)
    assert abs(fall[10]) < 1e-6


# --- views -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("width", "low", "high", "expected"),
    [(2, -5, 5, [2.5, 4.5, 6.5, 8.5, 10.5]), (6, -7, 7, [3, 4.5, 6.5, 8.5, 10.5]), (1, -4.5, 4.5, [3, 5, 7, 9, 11])],
)
def test_golden_bins(width, low, high, expected):
    values, counts = binned(np.arange(-6, 7), np.arange(1, 14), 5, width, low, high)
    assert values.tolist() == expected
    assert counts.min() > 0


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), bins=st.integers(2, 60), points=st.integers(2, 200))
def test_bins_and_views_against_a_slow_version(seed, bins, points):
    rng = np.random.default_rng(seed)
    x, y = np.sort(rng.uniform(-1, 1, points)), rng.normal(1, 0.1, points)
    width = rng.uniform(0.05, 1.9)
    values, counts = binned(x, y, bins, width, -1, 1)
    step = (2 - width) / (bins - 1)
    for i in range(bins):
        inside = y[(x >= -1 + i * step) & (x < -1 + i * step + width)]
        assert counts[i] == len(inside)
        assert values[i] == (pytest.approx(np.median(inside)) if len(inside) else 0)
    made = views.view(x, y, bins, width, -1, 1)
    assert np.median(made) == pytest.approx(0, abs=1e-12)
    assert made.min() == pytest.approx(-1) or not made.any()
    filled = np.where(counts > 0, values, np.median(y))
    filled = filled - np.median(filled)
    assert not made.any() or np.allclose(made, filled / abs(filled.min()))


def slow_flatten(curve, spacings):
    """Fit with SciPy's splines and NumPy's medians, one line for each sentence of the sheet."""
    from scipy.interpolate import make_lsq_spline

    pieces = views.segments(curve)
    steps = np.concatenate([np.diff(f) for _, f in pieces])
    sigma = 1.48 * np.median(np.abs(steps)) / np.sqrt(2)
    best = None
    for spacing in spacings:
        trends, trend, ssr, count, free = [], None, 0.0, 0, 0
        for time, flux in pieces:
            kept = np.ones(len(time), bool)
            for turn in range(5):
                if turn:
                    residual = flux - trend
                    away = np.abs(residual - np.median(residual))
                    inner = residual[away <= 3 * 1.4826 * np.median(away)]
                    fresh = away <= 3 * np.std(inner) / (-0.15405 + 0.90723 * 3 - 0.23584 * 9 + 0.020142 * 27)
                    if (fresh == kept).all():
                        break
                    kept = fresh
                t = time[kept]
                intervals = max(int((t[-1] - t[0]) / spacing), 1)
                knots = t[0] + (t[-1] - t[0]) / intervals * np.arange(-3, intervals + 4)
                knots[intervals + 3] = max(knots[intervals + 3], t[-1])
                trend = make_lsq_spline(t, flux[kept], knots, k=3)(time, extrapolate=True)
            trends.append(trend)
            ssr += ((flux - trend)[kept] ** 2).sum()
            count += kept.sum()
            free += int((time[-1] - time[0]) / spacing) + 1 + 2
        criterion = count * np.log(2 * np.pi * sigma**2) + ssr / sigma**2 + free * np.log(count)
        if best is None or criterion < best[0]:
            best = (criterion, spacing, np.concatenate(trends))
    return best[1], curve.flux / best[2]


@pytest.mark.parametrize("star", [1, 3])
def test_splines_against_a_slow_version(star):
    curve, _ = simulate(star, ["PC"], seed=5, quarters=1)
    spacing, expected = slow_flatten(curve, views.SPACINGS)
    flat = flatten(curve)
    assert flat.spacing == pytest.approx(spacing)
    np.testing.assert_allclose(flat.flux, expected, rtol=0, atol=2e-9)


def test_segments_part_at_gaps_and_files():
    time = np.concatenate([np.arange(0, 10, 0.02), np.arange(10.7, 20, 0.02), np.arange(21, 30, 0.02)])
    curve = LightCurve(((time, np.ones(len(time))), (time + 30, np.ones(len(time)))))
    assert [round(t[0], 2) for t, _ in views.segments(curve)] == [0, 21, 30, 51]
    assert not (flatten(curve).flux != 1).any()


def written(folder, depth=500e-6, noise=100e-6, suffix="fits", period=7.3, hours=6.0, days=90.0, spots=2e-3):
    """Write a light curve with box-shaped transits and return it with its ephemeris."""
    rng = np.random.default_rng(0)
    time = 131.5 + np.arange(0, days, CADENCE)
    phase = fold(time, period, 133.0)
    flux = 1 - depth * (np.abs(phase) < hours / 48) + noise * rng.standard_normal(len(time))
    flux *= 8000 * (1 + spots * np.sin(2 * np.pi * time / 17))
    curve, path = LightCurve(((time, flux),)), folder / f"star.{suffix}"
    (examples.write_fits if suffix == "fits" else examples.write_csv)(curve, path)
    return path, Ephemeris(period, 133.0, hours / 24)


@pytest.mark.parametrize("suffix", ["fits", "csv"])
def test_an_injected_transit_ends_at_the_floor_of_the_view_and_a_flat_curve_in_zeros(tmp_path, suffix):
    path, ephemeris = written(tmp_path, suffix=suffix, days=360)
    for bins in (501, 2001):
        made = prepare(flatten(read_curve(path)), ephemeris, bins)
        assert made.shape == (1, bins)
        assert made.dtype == torch.float32
        x = (np.arange(bins) - bins // 2) / bins * ephemeris.period
        assert abs(float(made.median())) < 1e-6
        assert float(made.min()) == -1
        assert abs(x[int(made[0].argmin())]) < ephemeris.duration / 2 * 1.1
        assert float(made[0, bins // 2]) <= -0.7
    near = prepare(flatten(read_curve(path)), ephemeris, 201, local=True)[0]
    assert float(near.min()) == -1
    assert np.mean(near.numpy() < -0.5) == pytest.approx(1 / 8, abs=0.03)  # one duration of eight
    level, _ = written(tmp_path / "..", depth=0, noise=0, suffix=suffix, spots=0)
    assert not prepare(flatten(read_curve(level)), ephemeris, 501).any()


def test_masked_transits_keep_their_depth():
    time = 131.5 + np.arange(0, 90, CADENCE)
    ephemeris = Ephemeris(19.0, 140.0, 0.6)
    flux = 1 - 3e-4 * (np.abs(fold(time, 19.0, 140.0)) < 0.3) + 1e-4 * np.random.default_rng(0).standard_normal(len(time))
    curve = LightCurve(((time, flux),))
    depths = []
    for masked in (None, ephemeris):
        flat = flatten(curve, masked, spacings=[1.0])
        inside = np.abs(fold(flat.time, 19.0, 140.0)) < 0.25
        depths.append(1 - flat.flux[inside].mean())
    assert depths[0] < 2.2e-4
    assert depths[1] == pytest.approx(3e-4, rel=0.1)


def test_local_bins_overlap_and_are_clipped_to_the_period():
    time = np.arange(0, 50, 0.01)
    flat = views.Flat(time, 1 - 0.01 * (np.abs(fold(time, 2.0, 1.0)) < 0.25))
    wide = local_view(flat, Ephemeris(2.0, 1.0, 0.5), 201)  # four durations would be 2 days: clipped to 1
    assert np.mean(wide < -0.5) == pytest.approx(0.25, abs=0.02)
    assert len(global_view(flat, Ephemeris(2.0, 1.0, 0.5), 2001)) == 2001


# --- searching and simulating -----------------------------------------------------------------------------------------


def test_the_search_finds_an_injected_planet_and_says_when_there_is_none(tmp_path):
    path, _ = written(tmp_path, period=4.1, days=40)
    found = search(flatten(read_curve(path)), longest=10.0)
    assert found.ephemeris.period == pytest.approx(4.1, rel=2e-3)
    assert abs(fold(np.array([found.ephemeris.t0]), 4.1, 133.0)[0]) < 0.06
    assert found.ephemeris.duration == pytest.approx(0.25, abs=0.01)
    assert found.depth == pytest.approx(500e-6, rel=0.15)
    assert found.snr > 15
    empty, _ = written(tmp_path, depth=0, days=40, suffix="csv")
    assert search(flatten(read_curve(empty)), longest=10.0).snr < 8
    with pytest.raises(InputError, match="longer light curve"):
        search(views.Flat(np.arange(0, 0.9, 0.01), np.ones(90)))


@pytest.mark.parametrize(("ratio", "impact"), [(0.1, 0.3), (0.02, 0.8), (0.5, 0.9), (0.8, 1.5), (0.12, 0.0)])
def test_the_transit_agrees_with_batman(ratio, impact):
    batman = pytest.importorskip("batman")
    orbit = Orbit(3.0, ratio, impact, 9.0, (0.4, 0.25))
    given_ = batman.TransitParams()
    given_.t0, given_.per, given_.rp, given_.a, given_.ecc, given_.w = 0.0, 3.0, ratio, 9.0, 0.0, 90.0
    given_.inc, given_.u, given_.limb_dark = np.degrees(np.arccos(impact / 9.0)), [0.4, 0.25], "quadratic"
    time = np.linspace(-0.7, 0.7, 201) * orbit.duration
    exact = 1 - batman.TransitModel(given_, time).light_curve(given_)
    turn = 2 * np.pi * time / 3
    z = 9.0 * np.sqrt(np.sin(turn) ** 2 + (impact / 9.0 * np.cos(turn)) ** 2)
    np.testing.assert_allclose(blocked(z, ratio, (0.4, 0.25)), exact, rtol=0, atol=3e-6)
    assert (exact[np.abs(time) > 0.51 * orbit.duration] == 0).all()
    smeared = 1 - batman.TransitModel(given_, time, supersample_factor=501, exp_time=CADENCE).light_curve(given_)
    np.testing.assert_allclose(orbit.depth(time), smeared, rtol=0, atol=0.004 * exact.max())


def test_simulated_stars_have_their_shares_and_signal_and_depend_on_their_seed_alone():
    kinds = [kind for _, kind in plan(1500, 0)]
    assert {k: kinds.count(k) for k in SHARES} == {"PC": 345, "AFP": 915, "NTP": 240}
    stars = [star for star, _ in plan(1500, 0)]
    assert 20 < len(stars) - len(set(stars)) < 100
    for star in range(4):
        (curve, (event,)), (again, _) = (simulate(star, ["PC"], seed=3, quarters=2) for _ in range(2))
        assert np.array_equal(curve.flux, again.flux)
        assert 0.03 < event.ephemeris.duration < 0.4 * event.ephemeris.period
        assert 0.5 <= event.ephemeris.period <= 20
        flat = flatten(curve)
        inside = np.abs(fold(flat.time, event.ephemeris.period, event.ephemeris.t0)) < event.ephemeris.duration / 3
        noise = 1.4826 * np.median(np.abs(flat.flux - np.median(flat.flux)))
        assert (1 - flat.flux[inside].mean()) / noise * np.sqrt(inside.sum()) > 4


# --- reading ---------------------------------------------------------------------------------------------------------


def proto():
    """Describe tf.train.Example to the protobuf package, packed and unpacked."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    def build(packed):
        file = descriptor_pb2.FileDescriptorProto(name=f"example_{packed}.proto", package=f"p{int(packed)}", syntax="proto3")
        kinds = {"BytesList": 12, "FloatList": 2, "Int64List": 3}
        for name, kind in kinds.items():
            field = file.message_type.add(name=name).field.add(name="value", number=1, label=3, type=kind)
            if kind != 12:
                field.options.packed = packed
        feature = file.message_type.add(name="Feature")
        feature.oneof_decl.add(name="kind")
        for number, name in enumerate(kinds, 1):
            feature.field.add(
                name=name.lower().replace("list", "_list"),
                number=number,
                label=1,
                type=11,
                type_name=f".p{int(packed)}.{name}",
                oneof_index=0,
            )
        features = file.message_type.add(name="Features")
        entry = features.nested_type.add(name="FeatureEntry")
        entry.options.map_entry = True
        entry.field.add(name="key", number=1, label=1, type=9)
        entry.field.add(name="value", number=2, label=1, type=11, type_name=f".p{int(packed)}.Feature")
        features.field.add(name="feature", number=1, label=3, type=11, type_name=f".p{int(packed)}.Features.FeatureEntry")
        file.message_type.add(name="Example").field.add(
            name="features", number=1, label=1, type=11, type_name=f".p{int(packed)}.Features"
        )
        pool = descriptor_pool.DescriptorPool()
        pool.Add(file)
        return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"p{int(packed)}.Example"))

    return build


@pytest.mark.parametrize("packed", [True, False])
def test_tfrecords_of_an_independent_writer_are_read_bit_for_bit(tmp_path, packed):
    """Frames by tensorboard's writer, messages by the protobuf package: neither is ours."""
    from tensorboard.summary.writer.record_writer import RecordWriter

    kind = proto()(packed)
    rng = np.random.default_rng(0)
    view, local = rng.standard_normal((5, 2001)).astype(np.float32), rng.standard_normal((5, 201)).astype(np.float32)
    path = tmp_path / "test-00000-of-00001"
    with path.open("wb") as file:
        writer = RecordWriter(file)
        for i in range(5):
            message = kind()
            feature = message.features.feature
            feature["global_view"].float_list.value.extend(view[i].tolist())
            feature["local_view"].float_list.value.extend(local[i].tolist())
            feature["kepid"].int64_list.value.append(11_442_793)
            feature["tce_plnt_num"].int64_list.value.append(i + 1)
            feature["tce_period"].float_list.value.append(2.5)
            feature["spectral_offset"].int64_list.value.append(-3)
            feature["av_training_set"].bytes_list.value.append([b"PC", b"AFP", b"NTP", b"UNK", b"PC"][i])
            writer.write(message.SerializeToString())
        writer.flush()
    found = read_views(path)
    assert np.array_equal(found.view[:, 0], view)
    assert np.array_equal(found.local[:, 0], local)
    assert found.label.tolist() == [1, 0, 0, -1, 1]
    assert found.id[3] == "11442793-4"
    assert set(found.star) == {"11442793"}
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="record 3: is damaged"):
        read_views(path)
    assert crc32c(b"123456789") == 0xE3069283


def test_tfrecords_keep_the_parts_of_their_shards_and_drop_what_has_no_label(tmp_path):
    examples.layout("tfrecords", tmp_path)
    data = TFRecords(root=str(tmp_path))
    assert {part: len(events) for part, events in data.parts().items()} == {"train": 16, "val": 2, "test": 2}
    whole = data.views()
    again = data.views([data.events()[5], data.events()[2]])
    assert np.array_equal(again.view, whole.view[[5, 2]])


def test_views_of_an_archive(tmp_path):
    np.savez(tmp_path / "v.npz", view=np.ones((4, 9)), label=[0, 1, 0, 1], id=list("abcd"), star=list("xxyy"))
    found = read_views(tmp_path / "v.npz")
    assert (found.view.shape, found.local.shape, found.id, found.star) == ((4, 1, 9), (4, 1, 0), tuple("abcd"), tuple("xxyy"))
    for wrong in (
        {"view": np.full((2, 9), np.nan)},
        {"view": np.ones(9)},
        {"view": np.ones((2, 9)), "label": [0, 7]},
        {"x": [1]},
    ):
        np.savez(tmp_path / "w.npz", **wrong)
        with pytest.raises(InputError, match=r"w\.npz"):
            read_views(tmp_path / "w.npz")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("time,flux\n" + "".join(f"{i / 48},nan\n" for i in range(200)), "none of its 200 values of flux is a finite number"),
        ("time,flux\n" + "".join(f"{i / 48},{1e-4 * (i % 3 - 1)}\n" for i in range(200)), "no level to divide by"),
        ("time,mag\n" + "".join(f"{i / 48},11.2\n" for i in range(200)), "magnitudes"),
        ("time,flux\n" + "".join(f"{1800 * i},1.0\n" for i in range(200)), "times in days"),
        ("time,flux\n1.0,2.0\n1.5,two\n", "line 3, column 2: 'two' is no number"),
        ("when,flux\n1.0,2.0\n", "no column time"),
        ("time,flux\n1.0,2.0\n", "1 usable points"),
        ("time,flux\n", "no lines of numbers"),
    ],
)
def test_wrong_light_curves_are_refused_in_one_line(tmp_path, capsys, content, said):
    (tmp_path / "star.csv").write_text(content)
    assert main(["run", "genesis", str(tmp_path / "star.csv"), "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert "star.csv" in error
    assert len(error.strip().splitlines()) == 1
    assert not list((tmp_path / "out").iterdir()) if (tmp_path / "out").exists() else True


@pytest.mark.parametrize(
    ("period", "epoch", "duration", "said"),
    [
        (0.2, 133.0, 6, "as long as its period"),
        (7.3, 133.0, 0.2, "not in days"),
        (7.3, 2454966.0, 6, "outside of the data.*counts from 2454833"),
        (7.3, 120.0, 6, "outside of the data.*such as 134.6"),
        (-7.3, 133.0, 6, "a period of -7.3 days"),
        (7.3, 133.0, float("nan"), "a duration of nan hours"),
        (7.3, None, 6, "all three, or none"),
    ],
)
def test_wrong_ephemerides_are_refused(tmp_path, period, epoch, duration, said):
    path, _ = written(tmp_path)
    with pytest.raises(InputError, match=said):
        foveate.run("genesis", path, period=period, epoch=epoch, duration=duration)


def test_k2_and_tess_files_and_other_columns(tmp_path):
    from astropy.io import fits

    time = 1500 + np.arange(0, 27, 0.02)
    flux = np.random.default_rng(0).normal(1, 1e-4, len(time))
    columns = [fits.Column("TIME", "D", unit="BJD - 2457000, days", array=time), fits.Column("SAP_FLUX", "E", array=flux)]
    for name, values in (("KSPSAP_FLUX", 2 * flux), ("MAG", 11 + flux)):
        columns.append(fits.Column(name, "E", unit="mag" if name == "MAG" else "", array=values))
    table = fits.BinTableHDU.from_columns(columns)
    table.header["BJDREFI"] = 2457000
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(tmp_path / "tess.fits")
    curve = read_curve(tmp_path / "tess.fits")
    assert curve.reference == 2457000
    assert curve.flux.mean() == pytest.approx(1, abs=1e-3)
    assert read_curve(tmp_path / "tess.fits", "kspsap_flux").flux.mean() == pytest.approx(2, abs=1e-3)
    for column, said in (("MAG", "magnitudes"), ("FLUX_X", "has no column FLUX_X")):
        with pytest.raises(InputError, match=said):
            read_curve(tmp_path / "tess.fits", column)


def test_kepler_leaves_out_unknown_events_moves_early_epochs_and_misses_no_star(tmp_path):
    examples.layout("kepler", tmp_path)
    table = tmp_path / "q1_q17_dr24_tce.csv"
    rows = table.read_text().splitlines()
    data = Kepler(root=str(tmp_path))
    events = data.events()
    assert len(events) == 9
    assert sum(e.label for e in events) == 3
    assert events[0].ephemeris.duration < 1  # hours in the table, days here
    usual = data.views(events[:1])
    cells = rows[2].split(",")
    cells[4] = str(float(cells[4]) - 3 * float(cells[3]))
    table.write_text("\n".join([*rows[:2], ",".join(cells), *rows[3:]]))
    moved = Kepler(root=str(tmp_path))
    np.testing.assert_allclose(moved.views(moved.events()[:1]).view, usual.view, atol=1e-5)
    (first,) = (tmp_path / "0007" / "000757450").iterdir()
    first.unlink()
    with pytest.raises(InputError, match=r"000757450: holds no kplr.*1 stars"):
        Kepler(root=str(tmp_path)).events()
    assert len(Kepler(root=str(tmp_path), partial=True).events()) == 8


def test_views_are_kept_and_made_anew_when_a_file_changes(tmp_path):
    examples.layout("own", tmp_path)
    events = Own(root=str(tmp_path)).events()[:2]
    first = Own(root=str(tmp_path)).views(events).view
    curve, _ = examples.planet(7, days=45)
    examples.write_csv(curve, tmp_path / "star0.csv")
    second = Own(root=str(tmp_path)).views(events).view
    assert not np.array_equal(first[0], second[0])
    assert np.array_equal(first[1], second[1])


# --- splits, augmentation, training --------------------------------------------------------------------------------------


def test_the_fixed_split_is_the_released_one():
    parts = fixed(15_737)
    assert [len(p) for p in parts.values()] == [12_589, 1_574, 1_574]
    np.random.seed(123)  # noqa: NPY002 - what the released code does
    order = np.random.permutation(15_737)  # noqa: NPY002
    assert np.array_equal(np.concatenate(list(parts.values())), order)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), stars=st.integers(60, 200))
def test_random_splits_cover_all_keep_the_share_of_planets_and_never_part_a_star(seed, stars):
    rng = np.random.default_rng(seed)
    star = np.repeat(np.arange(stars), rng.integers(1, 4, stars))
    label = (rng.random(stars) < 0.25)[star].astype(int)
    for groups in ([str(i) for i in range(len(star))], [str(s) for s in star]):
        parts = monte_carlo(label, groups, seed)
        assert sorted(np.concatenate(list(parts.values()))) == list(range(len(star)))
        assert len(parts["test"]) == pytest.approx(0.1 * len(star), abs=6)
        assert label[parts["train"]].mean() == pytest.approx(label.mean(), abs=0.05)
    held = {part: set(star[chosen]) for part, chosen in parts.items()}
    assert not held["train"] & held["test"]
    assert not held["train"] & held["val"]
    assert not held["val"] & held["test"]
    assert not np.array_equal(monte_carlo(label, groups, seed + 1)["test"], parts["test"])


def labelled(count=60, bins=65, seed=0):
    """Make views that are easily told apart: planets have wide dips."""
    rng = np.random.default_rng(seed)
    label = (rng.random(count) < 0.4).astype(np.int64)
    x = np.abs(np.linspace(-1, 1, bins))
    view = rng.normal(0, 0.1, (count, 1, bins)) - (x < np.where(label, 0.4, 0.1)[:, None])[:, None]
    names = tuple(str(i) for i in range(count))
    return Views(view.astype(np.float32), np.zeros((count, 1, 33), np.float32), label, names, names)


def test_augmentation_is_a_reversal_and_four_noisy_copies():
    found = labelled(10)
    sets = {name: Augmented(found, name) for name in ("none", "flip", "flip+noise", "random flip")}
    assert [len(s) for s in sets.values()] == [10, 20, 60, 10]
    items = [sets["flip+noise"][Draw(10 * v + 3, 0, epoch)] for v in range(6) for epoch in (0, 1)]
    view = found.view[3]
    assert np.array_equal(items[0]["view"], view)
    assert np.array_equal(items[2]["view"], view[:, ::-1])
    noise = [item["view"].numpy() - view for item in items[4:]]
    assert np.array_equal(noise[0], noise[1])
    assert not np.array_equal(noise[0], noise[2])
    assert np.std(noise) == pytest.approx(scatter(view), rel=0.15)
    flipped = [np.array_equal(sets["random flip"][Draw(3, s, 0)]["view"], view[:, ::-1]) for s in range(200)]
    assert np.mean(flipped) == pytest.approx(0.5, abs=0.1)


def ensemble_run(data, steps=-1, callbacks=(), ckpt_path=None, **settings_):
    torch.manual_seed(0)
    module = Vetter(Genesis(**TINY, members=5), **{"epochs": 2, "lr": 3e-3, **settings_})
    fit(module, data(), steps, callbacks=callbacks, ckpt_path=ckpt_path, limit_val_batches=0)
    return module


# An epoch has 12 steps and a member 24; the third ends at 72.
@pytest.mark.parametrize("stop", [60, 72])
def test_an_ensemble_stopped_at_its_third_member_ends_as_if_it_had_not_been(tmp_path, stop):
    from lightning.pytorch import Callback

    class Stop(Callback):
        def on_train_batch_end(self, trainer, *_):
            if steps_done(trainer) == stop:
                trainer.save_checkpoint(tmp_path / "stopped.ckpt")
                trainer.should_stop = True

    found = labelled()
    chosen = monte_carlo(found.label, found.id, 0)

    def data():
        return InMemory(found, chosen, "flip", 8, 0)

    whole = ensemble_run(data)
    assert int(whole.done) == 5
    assert [step for step, *_ in whole.history] == list(range(12, 121, 12))
    stopped = ensemble_run(data, callbacks=(Stop(),))
    done = stop // 24
    assert int(stopped.done) == done
    kept = weights.load(Genesis, tmp_path / "stopped.ckpt")
    assert kept.arguments["members"] == done
    torch.testing.assert_close(kept.members[1].state_dict(), whole.network.members[1].state_dict())
    resumed = ensemble_run(data, ckpt_path=str(tmp_path / "stopped.ckpt"))
    assert len(resumed.history) == 10 - stop // 12
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, resumed.network.state_dict()[name]), name
    members = whole.network.members
    assert not any(torch.equal(a.conv1.weight, b.conv1.weight) for a, b in itertools.pairwise(members))


def test_a_member_stops_when_it_no_longer_improves_and_its_best_epoch_is_kept():
    found = labelled()
    chosen = monte_carlo(found.label, found.id, 0)
    torch.manual_seed(0)
    module = Vetter(Genesis(**TINY), epochs=40, patience=3, min_delta=1e-3, lr=0.05)
    fit(module, InMemory(found, chosen, "none", 8, 0), -1, limit_val_batches=0)
    losses = [loss for _, loss, _ in module.history]
    best = 0
    for i, loss in enumerate(losses):
        best = i if loss < losses[best] - 1e-3 else best
    assert len(losses) == best + 4 < 40
    val = found.take(chosen["val"])
    assert scores(val.label, probabilities(module.network, val))["log_loss"] == pytest.approx(losses[best], rel=1e-4)


def test_astronet_trains_on_both_views_and_is_read_back(tmp_path):
    found = labelled(40, bins=129)
    settings_ = Settings(epochs=2, batch_size=8, lr=1e-3, augment="random flip", network={"hidden": 8})
    outcome = evaluate("astronet", found, monte_carlo(found.label, found.id, 0), 0, settings_)
    assert ((outcome.planet > 0) & (outcome.planet < 1)).all()
    network = Astronet(129, 33, hidden=8).eval()
    weights.save(network, tmp_path / "a.safetensors")
    np.savez(tmp_path / "v.npz", view=found.view, local=found.local)
    rows = foveate.run("genesis", tmp_path / "v.npz", action="classify", weights=tmp_path / "a.safetensors", model="astronet")
    told = [row[5] for row in rows["verdicts"].rows]
    assert told == pytest.approx(probabilities(network, found).tolist(), rel=1e-5)
    with pytest.raises(InputError, match="no weights of astronet are shipped"):
        foveate.run("genesis", tmp_path / "v.npz", action="classify", model="astronet")


# --- actions -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by_star", [False, True])
def test_cross_validation_writes_a_row_for_each_split_with_its_events(tmp_path, by_star):
    found = labelled(40)
    view, local, label = found.view[:, 0], np.zeros((40, 33), np.float32), found.label
    content = [examples._record(examples._example(view[i], local[i], int(label[i]), i)) for i in range(40)]
    (tmp_path / "train-00000-of-00001").write_bytes(b"".join(content))
    options = {"action": "mccv", "splits": 3, "by_star": by_star, "model": "logistic", "fixed_too": False, "seed": 5}
    result = foveate.run("genesis", tmp_path, **options)
    rows = [dict(zip(result["splits"].columns, row, strict=True)) for row in result["splits"].rows]
    assert [row["seed"] for row in rows] == [5, 6, 7]
    ids = [f"{1000 + i}-1" for i in range(40)]
    for row in rows:
        groups = [str(1000 + i) for i in range(40)] if by_star else [str(i) for i in range(40)]
        expected = monte_carlo(label, groups, row["seed"])["test"]
        assert sorted(row["test_events"].split()) == sorted(ids[i] for i in expected)
        assert row["test"] == len(expected)
    values = [row["accuracy"] for row in rows]
    assert result["summary"].values["accuracy"]["mean"] == pytest.approx(np.mean(values))
    assert result["summary"].values["accuracy"]["sd"] == pytest.approx(np.std(values, ddof=1))


def test_vetting_a_star_writes_verdict_and_picture_and_names_demo_weights(tmp_path, capsys):
    path, _ = written(tmp_path)
    out = tmp_path / "out"
    call = ["run", "genesis", str(path), "--period", "7.3", "--epoch", "133", "--duration", "6", "--out", str(out)]
    assert main(call) == 0
    captured = capsys.readouterr()
    assert "demo weights" in captured.err
    verdict = json.loads((out / "star_verdict.json").read_text())
    assert 0 <= verdict["planet"] <= 1
    assert verdict["members"] == 3
    assert verdict["depth_ppm"] == pytest.approx(500, rel=0.1)
    assert verdict["events"] == 13
    again = foveate.run("genesis", path, period=7.3, epoch=133.0, duration=6.0)
    assert again["folded"].size == (640, 1100)
    assert len(again.notes) == 1
    halved = foveate.run("genesis", path, period=3.65, epoch=133.0, duration=6.0)
    assert "only 13 of 25 events show a dip" in " ".join(halved.notes)
    assert sorted(p.name for p in out.iterdir()) == ["star_folded.png", "star_verdict.json"]


def test_quarters_of_one_star_are_joined_and_others_left(tmp_path):
    for quarter, star in ((1, "000757450"), (2, "000757450"), (1, "000757451")):
        time = 130 + 91 * quarter + np.arange(0, 80, CADENCE)
        flux = 1000.0 * quarter * (1 - 1e-3 * (np.abs(fold(time, 9.0, 225.0)) < 0.1)) + np.sin(time)
        examples.write_fits(LightCurve(((time, flux),)), tmp_path / f"kplr{star}-200{quarter}_llc.fits")
    options = {"period": 9.0, "epoch": 225.0, "duration": 5.0}
    first = tmp_path / "kplr000757450-2001_llc.fits"
    alone = foveate.run("genesis", first, **options)["verdict"].values
    both = foveate.run("genesis", first, stitch=True, **options)["verdict"].values
    assert (len(alone["files"]), len(both["files"])) == (1, 2)
    assert both["events"] > alone["events"]
    assert both["depth_ppm"] == pytest.approx(1000, rel=0.1)


def test_a_table_with_one_bad_light_curve_judges_the_others(tmp_path):
    path = examples.example("classify", "views", "csv", tmp_path)
    (tmp_path / "star1.csv").write_text("time,flux\n1,2\n")
    result = foveate.run("genesis", path, action="classify")
    problems = [row[-1] for row in result["verdicts"].rows]
    assert [bool(p) for p in problems] == [False, True, False, False, False]
    assert "star1.csv" in problems[1]
    assert result["summary"].values["labelled"] == 4
    path.write_text(path.read_text().replace("train", "trian", 1))
    with pytest.raises(InputError, match=r"line 2: part is 'trian'"):
        foveate.run("genesis", path, action="classify")


def test_double_resolution_differs_in_its_bins_alone():
    once, twice = reproduce._views("quick"), reproduce._views("quick", double=True)
    assert (once.view.shape[2], twice.view.shape[2]) == (129, 257)
    assert (once.local.shape[2], twice.local.shape[2]) == (21, 41)
    assert once.id == twice.id
    assert np.array_equal(once.label, twice.label)


def test_the_shipped_ensemble_tells_planets_on_stars_that_it_has_not_seen():
    network = weights.load(Genesis, SHIPPED)
    assert len(network.members) == 3
    test = Sample(80, world=777, bins=network.arguments["bins"]).views()
    found = scores(test.label, probabilities(network, test))
    assert found["accuracy"] > max(test.label.mean(), 1 - test.label.mean()) + 0.03
    assert found["auc"] > 0.9
    single = torch.from_numpy(test.view[:5])
    torch.testing.assert_close(
        network(single), torch.stack([log_probabilities(m(single)) for m in network.members]).exp().mean(0).log()
    )
