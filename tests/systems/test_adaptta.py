"""What only AdapTTA must do: the sharp checks of its sheet."""

import csv
import json
import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import nn

import foveate
from foveate.cli import main
from foveate.errors import InputError
from foveate.parts import classifiers, weights
from foveate.parts.classifiers import Classifier
from foveate.readers.pictures import write_as
from foveate.results import Picture
from foveate.samples.shapes import CLASSES, shapes
from foveate.systems.efficiency.adaptta import AdapTTA, Policy, calibrate, read_policy
from foveate.systems.efficiency.adaptta.confidence import confidence, running, softmax
from foveate.systems.efficiency.adaptta.data import Sample
from foveate.systems.efficiency.adaptta.method import prepare
from foveate.systems.efficiency.adaptta.policy import (
    NEVER,
    answers,
    best_order,
    best_temperature,
    mcnemar,
    oracle,
    random_stop,
    stops,
    sweep,
)
from foveate.systems.efficiency.adaptta.ready import SHIPPED, SHIPPED_POLICY
from foveate.systems.efficiency.adaptta.run import compare
from foveate.systems.efficiency.adaptta.transforms import SETS, Views
from foveate.systems.efficiency.adaptta.video import frames, write_video

CRITERIA = ("margin", "maxprob", "entropy", "agreement")
AGGREGATES = ("mean_prob", "mean_logit", "vote")


@pytest.fixture(scope="module")
def shifted():
    """Pictures that neither the shipped weights nor their policy have seen."""
    return shapes(200, 77, None)


@pytest.fixture(scope="module")
def network():
    return weights.load(Classifier, SHIPPED)


@pytest.fixture(scope="module")
def all_passes(network, shifted):
    return AdapTTA(network, read_policy(SHIPPED_POLICY)).all_passes(iter(shifted.pictures))


@pytest.fixture
def photos(tmp_path, shifted):
    """A folder with a sub-folder for each class."""
    for i, (pixels, label) in enumerate(zip(shifted.pictures[:40], shifted.labels, strict=False)):
        place = tmp_path / "photos" / CLASSES[label]
        place.mkdir(parents=True, exist_ok=True)
        write_as(Picture(pixels), place / f"{i:03}.png")
    return tmp_path / "photos"


def run(*arguments, status=0):
    assert main(["run", "adaptta", *map(str, arguments)]) == status


def refused(capfd, *arguments):
    """Run what must fail, and return the one line that it says."""
    run(*arguments, status=2)
    lines = capfd.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def cached(seed=0, count=200, views=6, classes=4, sharp=2.0):
    """Make logits of passes that are right more often than not, and agree more often than not."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=count)
    clear = rng.gamma(1.0, sharp, count)
    logits = rng.standard_normal((count, views, classes)) * 1.5 + clear[:, None, None] * np.eye(classes)[labels][:, None]
    return np.float32(logits), labels


# ---------------------------------------------------------------------------------------------------------------------
# views
# ---------------------------------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(st.integers(9, 70), st.integers(9, 70), st.sampled_from([8, 16, 32]), st.sampled_from([0.8, 0.875, 1.0]))
def test_the_first_view_is_the_usual_one_to_the_bit(height, width, side, crop):
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    views = Views(Picture(pixels), SETS["field"] + SETS["crop10"][1:5], side, crop)
    assert torch.equal(prepare(Picture(pixels), side, crop), classifiers.prepare(Picture(pixels), side, crop))
    for view in views:
        assert view.shape == (3, side, side)
        assert 0 <= float(view.min()) <= float(view.max()) <= 1


def test_corners_lie_two_pixels_off_and_the_others_do_what_their_names_say():
    column, row = np.meshgrid(np.arange(40, dtype=np.uint8), np.arange(40, dtype=np.uint8))
    picture = Picture(np.stack([4 * column, 4 * row, 0 * row], axis=2))
    views = dict(zip(SETS["crop10"], Views(picture, SETS["crop10"], 32, 0.8), strict=True))
    middle = (views["centre"] * 255 / 4).round()
    for name, (down, right) in {"top left": (-2, -2), "bottom right": (2, 2), "top right": (-2, 2)}.items():
        view = (views[name] * 255 / 4).round()
        assert torch.equal(view[0], middle[0] + right)
        assert torch.equal(view[1], middle[1] + down)
        assert torch.equal(views[f"{name}, mirrored"], views[name].flip(2))
    assert torch.equal(views["mirrored"], views["centre"].flip(2))
    field = dict(zip(SETS["field"], Views(picture, SETS["field"], 32, 0.8), strict=True))
    assert torch.allclose(field["brightness 0.8"], 0.8 * views["centre"])
    assert torch.allclose(field["gamma 1.25"], views["centre"] ** 1.25)
    slope = {name: float(field[name][0, 16, 20] - field[name][0, 16, 10]) for name in ("centre", "zoom 0.9", "zoom 1.1")}
    assert slope["zoom 0.9"] == pytest.approx(slope["centre"] / 0.9, rel=0.02)
    assert slope["zoom 1.1"] == pytest.approx(slope["centre"] / 1.1, rel=0.02)
    # Turned by an angle, a ramp to the right rises downwards or upwards with the angle's tangent, each way.
    for name, sign in (("turned +10", 1), ("turned -10", -1)):
        ramp = field[name][0]
        tilt = float((ramp[20, 16] - ramp[12, 16]) / (ramp[16, 20] - ramp[16, 12]))
        assert abs(tilt) == pytest.approx(math.tan(math.radians(10)), rel=0.05)
        assert np.sign(tilt) == -sign or np.sign(tilt) == sign
    assert torch.allclose(field["turned +10"][0].flip(0), field["turned -10"][0], atol=2e-2)


def test_only_what_is_looked_at_is_made(network, shifted):
    made = 0

    class Counting(Views):
        def __getitem__(self, k):
            nonlocal made
            made += 1
            return super().__getitem__(k)

    policy = read_policy(SHIPPED_POLICY)
    tta, passes = AdapTTA(network, policy), []
    for pixels in shifted.pictures[:40]:
        answer = tta(Counting(Picture(pixels), policy.transforms, policy.side, policy.crop))
        assert answer.made == answer.passes
        passes.append(answer.passes)
    assert made == sum(passes)
    assert 1 in passes
    assert max(passes) > 1


# ---------------------------------------------------------------------------------------------------------------------
# passes
# ---------------------------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=2, max_size=9).filter(lambda v: sum(v) > 1e-3), st.sampled_from(CRITERIA))
def test_confidence_is_what_it_is_called(values, criterion):
    p = np.float32(np.array(values) / sum(values))
    first, second, *_ = sorted(p.tolist(), reverse=True)
    entropy = -sum(v * math.log(v) for v in p.tolist() if v > 0)
    expected = {"margin": first - second, "maxprob": first, "entropy": 1 - entropy / math.log(len(p)), "agreement": 0.25}
    found = float(confidence(p, criterion, 0.25))
    assert 0 <= found <= 1
    assert found == pytest.approx(expected[criterion], abs=2e-6)


def slowly(logits, policy, static=False):
    """The sheet's algorithm box, for the mean of probabilities and the margin."""
    total = 0.0
    for k in range(1, policy.n_max + 1):
        total = total + np.exp(logits[k - 1].astype(float)) / np.exp(logits[k - 1].astype(float)).sum()
        p = total / k
        first, second = sorted(p)[-1], sorted(p)[-2]
        if not static and first - second >= policy.tau - 1e-6:  # which may be the confidence of a picture, rounded
            break
    return p, k


def test_one_by_one_in_batches_and_slowly_it_says_the_same(network, shifted, all_passes):
    policy = read_policy(SHIPPED_POLICY)
    tta, pictures = AdapTTA(network, policy), shifted.pictures[:50]
    alone, together = [tta(p) for p in pictures], tta.batch(pictures)
    streamed = list(tta.stream(iter(pictures), 7))
    for i, answer in enumerate(alone):
        p, k = slowly(all_passes[i], policy)
        assert (answer.passes, answer.index) == (k, int(p.argmax()))
        np.testing.assert_allclose(answer.p, p, atol=1e-5)
        for other in (together[i], streamed[i]):
            assert (other.passes, other.index, other.winners, other.made) == (k, answer.index, answer.winners, k)
            np.testing.assert_allclose(other.p, answer.p, atol=1e-5)
            np.testing.assert_allclose(other.confidences, answer.confidences, atol=1e-5)
    static = tta.batch(pictures, "static")
    assert {a.passes for a in static} == {10}
    assert {a.passes for a in tta.batch(pictures, "single")} == {1}
    np.testing.assert_allclose(static[3].p, slowly(all_passes[3], policy, static=True)[0], atol=1e-5)
    assert tta.batch([]) == []


@pytest.mark.parametrize("criterion", CRITERIA)
@pytest.mark.parametrize("aggregate", AGGREGATES)
def test_both_ends_of_the_threshold_are_exact(criterion, aggregate, network, shifted):
    """C4: never reached, it is static, to the bit; at 0 it is the least number of passes."""
    tta = AdapTTA(network, read_policy(SHIPPED_POLICY)).with_policy(criterion=criterion, aggregate=aggregate)
    least = 2 if criterion == "agreement" else 1
    few = tta.with_policy(transforms=tta.policy.transforms[:least])
    for pixels in shifted.pictures[:3]:
        never, once = tta.with_policy(tau=NEVER)(pixels), tta.with_policy(tau=0.0)(pixels)
        assert np.array_equal(never.p, tta(pixels, "static").p)
        assert np.array_equal(once.p, few(pixels, "static").p)
        assert (never.passes, once.passes) == (10, least)
        if least == 1:
            assert np.array_equal(once.p, tta(pixels, "single").p)


def test_cached_passes_give_the_bits_of_the_loop(network, shifted):
    """What the experiments read off kept logits is what a run does."""
    policy = read_policy(SHIPPED_POLICY)
    tta = AdapTTA(network, policy)
    for criterion, aggregate in zip(CRITERIA, (*AGGREGATES, "mean_prob"), strict=True):
        asked = tta.with_policy(criterion=criterion, aggregate=aggregate, tau=NEVER)
        logits = asked.all_passes(iter(shifted.pictures[:4]), batch=1)
        p, sure = running(logits, criterion, aggregate, policy.temperature)
        for i, pixels in enumerate(shifted.pictures[:4]):
            answer = asked(pixels)
            np.testing.assert_allclose(p[i, -1], answer.p, atol=2e-6)
            np.testing.assert_allclose(sure[i], answer.confidences, atol=2e-6)


def test_votes_are_counted_and_ties_go_to_the_likelier():
    logits = np.log(np.float32([[[0.6, 0.4, 1e-9], [0.1, 0.9, 1e-9]]]))
    p, _ = running(logits, "maxprob", "vote")
    assert p[0, 1].argmax() == 1
    np.testing.assert_allclose(p[0, 1], [0.5, 0.5, 0], atol=2e-3)


def test_the_margin_may_fall_when_passes_disagree():
    logits = np.log(np.float32([[[0.9, 0.1], [0.1, 0.9]]]))
    _, sure = running(logits)
    np.testing.assert_allclose(sure, [[0.8, 0.0]], atol=1e-6)


class Flat(nn.Module):
    """A classifier without a convolution."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3 * 16 * 16, 5)

    def forward(self, x):
        return self.layer(x.flatten(1))


@pytest.mark.parametrize("classifier", [Flat(), lambda x: x.mean((2, 3)).numpy() * 9], ids=["no convolution", "a function"])
def test_any_classifier_can_be_wrapped(classifier, shifted):
    tta = AdapTTA(classifier, Policy(SETS["field"], 0.9, side=16))
    found = [tta(p) for p in shifted.pictures[:5]]
    assert all(1 <= a.passes <= 10 for a in found)
    assert [a.index for a in tta.batch(shifted.pictures[:5])] == [a.index for a in found]


@pytest.mark.parametrize("answer", [torch.zeros(1), torch.full((1, 3), torch.nan), torch.zeros(1, 1)])
def test_a_classifier_that_gives_no_logits_is_told_so(answer, shifted):
    with pytest.raises(InputError, match="the classifier"):
        AdapTTA(lambda x: answer, Policy(("centre", "mirrored"), 0.5, side=16))(shifted.pictures[0])


# ---------------------------------------------------------------------------------------------------------------------
# calibration
# ---------------------------------------------------------------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(CRITERIA))
def test_passes_never_fall_as_the_threshold_grows(seed, criterion):
    logits, labels = cached(seed, count=60)
    p, sure = running(logits, criterion)
    curve = sweep(p, sure, labels, 2 if criterion == "agreement" else 1)
    assert np.all(np.diff(curve.tau) > 0)
    assert np.all(np.diff(curve.passes) >= 0)
    assert curve.passes[0] == (2 if criterion == "agreement" else 1)
    assert curve.passes[-1] == logits.shape[1]


def test_the_policy_has_the_fewest_passes_of_all_that_are_as_accurate_as_static():
    logits, labels = cached(count=120)
    names = SETS["crop10"][:6]
    policy, curve = calibrate(logits, labels, names)
    assert len({tuple(row) for row in zip(*curve, strict=True)}) >= 50
    chosen = [names.index(n) for n in policy.transforms]
    found = []
    for tau in curve.tau:
        pairs = [slowly(row[chosen], Policy(policy.transforms, float(tau))) for row in logits]
        right = np.mean([p.argmax() == label for (p, _), label in zip(pairs, labels, strict=True)])
        found.append((np.mean([k for _, k in pairs]), right))
    static = found[-1][1]
    fewest = min(k for k, right in found if right >= static - 1e-12)
    assert policy.calibration["mean_passes"] == pytest.approx(fewest)
    assert policy.calibration["accuracy_static"] == pytest.approx(static)
    assert fewest < 6
    loose, _ = calibrate(logits, labels, names, epsilon=0.02)
    assert loose.calibration["mean_passes"] <= fewest


def test_greedy_order_takes_the_best_transform_at_each_step():
    logits, labels = cached(3, count=300, views=4)
    logits[:, 2] += 4 * np.eye(4)[labels]  # one that is nearly always right, and is listed third
    order = best_order(logits, labels)
    assert order[:2] == [0, 2]
    assert sorted(order) == [0, 1, 2, 3]
    p = softmax(logits)
    accuracy = {k: ((p[:, 0] + p[:, 2] + p[:, k]).argmax(1) == labels).mean() for k in (1, 3)}
    assert accuracy[order[2]] == max(accuracy.values())
    assert best_order(logits, labels, "listed") == [0, 1, 2, 3]


def test_temperature_undoes_overconfidence():
    rng = np.random.default_rng(0)
    logits = rng.standard_normal((4000, 5)) * 2
    labels = np.array(
        [rng.choice(5, p=p) for p in np.float64(softmax(logits)) / np.float64(softmax(logits)).sum(1, keepdims=True)]
    )
    assert best_temperature(3 * logits, labels) == pytest.approx(3, rel=0.1)
    policy, _ = calibrate(3 * np.float32(logits)[:, None].repeat(2, 1), labels, ("centre", "mirrored"), temperature=None)
    assert policy.temperature == pytest.approx(3, rel=0.1)


def test_mcnemar_random_stop_and_oracle():
    one, other = np.array([True] * 8 + [False] * 2 + [True] * 5), np.array([False] * 8 + [True] * 2 + [True] * 5)
    assert mcnemar(one, other) == pytest.approx(2 * sum(math.comb(10, k) for k in range(3)) / 2**10)
    k = np.arange(100) % 7
    assert sorted(random_stop(k, np.random.default_rng(0))) == sorted(k)
    logits, labels = cached(1)
    p, sure = running(logits)
    best = (answers(p, oracle(p, labels)) == labels).mean()
    assert best >= max((answers(p, stops(sure, tau)) == labels).mean() for tau in (0, 0.3, 0.6, NEVER))


def test_passes_go_where_they_are_needed(all_passes, shifted):
    """Adaptive beats the same passes handed out by chance, and hard pictures get more (C6), on pictures of a fresh draw."""
    policy = read_policy(SHIPPED_POLICY)
    p, sure = running(all_passes)
    k = stops(sure, policy.tau)
    right = (answers(p, k) == shifted.labels).mean()
    chance = [(answers(p, random_stop(k, np.random.default_rng(s))) == shifted.labels).mean() for s in range(20)]
    assert right > np.mean(chance)
    by_severity = [k[shifted.severities == s].mean() for s in range(5)]
    assert by_severity[4] > by_severity[0] + 1
    assert abs(right - (p[:, -1].argmax(1) == shifted.labels).mean()) < 0.03
    assert 10 / k.mean() > 1.3


# ---------------------------------------------------------------------------------------------------------------------
# policies and files
# ---------------------------------------------------------------------------------------------------------------------


def test_calibrate_then_classify_from_the_command_line(photos, tmp_path, capfd):
    run("calibrate", photos, "--model", SHIPPED, "--out", tmp_path)
    policy = read_policy(tmp_path / "photos_policy.json")
    assert policy.model["digest"] == read_policy(SHIPPED_POLICY).model["digest"]
    with (tmp_path / "photos_curve.csv").open() as file:
        assert len(list(csv.DictReader(file))) >= 50
    capfd.readouterr()
    picture = next(photos.rglob("*.png"))
    run(picture, "--policy", tmp_path / "photos_policy.json", "--out", tmp_path)
    said = capfd.readouterr().err
    answer = json.loads((tmp_path / f"{picture.stem}_answer.json").read_text())
    assert f"{picture.name}: {answer['label']} (" in said
    assert f", {answer['passes']} of 10 passes, " in said
    assert " ms" in said
    assert len(answer["margin"]) == answer["passes"] == answer["views_made"]


def test_a_policy_is_refused_for_another_network(photos, tmp_path, capfd):
    other = Classifier("resnet8_cifar", 10, labels=CLASSES, crop=0.875)
    weights.save(other, tmp_path / "other.safetensors")
    more = Classifier("resnet8_cifar", 12)
    weights.save(more, tmp_path / "more.safetensors")
    picture = next(photos.rglob("*.png"))
    line = refused(capfd, picture, "--policy", SHIPPED_POLICY, "--model", tmp_path / "other.safetensors")
    assert "other weights" in line
    line = refused(capfd, picture, "--policy", SHIPPED_POLICY, "--model", tmp_path / "more.safetensors")
    assert "10 classes" in line and "12" in line
    line = refused(capfd, picture, "--model", tmp_path / "other.safetensors")
    assert "no policy" in line


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"transforms": ["centre", "upside down"]}, "upside down"), ({"transforms": ["mirrored", "centre"]}, "centre first"),
        ({"criterion": "luck"}, "luck"), ({"tau": "0.5"}, "tau"), ({"side": -3}, "cannot|no number|can be used"),
        ({"what": 1}, "what"), ({"crop": 7}, "share"), ({"temperature": 0}, "no number"),
    ],
)  # fmt: skip
def test_a_policy_that_cannot_be_is_refused(change, says, tmp_path):
    path = tmp_path / "policy.json"
    path.write_text(json.dumps({**json.loads(SHIPPED_POLICY.read_text()), **change}))
    with pytest.raises(InputError, match=says) as error:
        read_policy(path)
    assert str(path) in str(error.value)


def test_the_wrong_things_that_users_bring_get_one_line_each(photos, tmp_path, capfd):
    picture = next(photos.rglob("*.png"))
    assert "mobilenetv9" in refused(capfd, "calibrate", photos, "--model", "mobilenetv9")
    assert "random weights" in refused(capfd, "calibrate", photos, "--model", "test_resnet", "--classes", "10")
    (tmp_path / "broken.pth").write_bytes(b"PK" + bytes(100))
    assert "broken.pth" in refused(capfd, "calibrate", photos, "--model", "test_resnet", "--weights", tmp_path / "broken.pth")
    (tmp_path / "broken.safetensors").write_bytes(SHIPPED.read_bytes()[:5000])
    assert "broken.safetensors" in refused(capfd, picture, "--model", tmp_path / "broken.safetensors", "--tau", "0.5")
    (tmp_path / "broken.onnx").write_bytes(b"no network")
    assert "broken.onnx" in refused(capfd, picture, "--model", tmp_path / "broken.onnx", "--tau", "0.5")
    (tmp_path / "broken.torchscript").write_bytes(b"no network")
    assert "broken.torchscript" in refused(capfd, picture, "--model", tmp_path / "broken.torchscript", "--tau", "0.5")
    (tmp_path / "empty").mkdir()
    assert "empty: has no pictures" in refused(capfd, "folder", tmp_path / "empty")
    assert "empty: has no pictures" in refused(capfd, "calibrate", tmp_path / "empty")
    place = tmp_path / "one" / "disc"
    place.mkdir(parents=True)
    write_as(Picture(np.zeros((40, 40, 3), np.uint8)), place / "a.png")
    assert "one class" in refused(capfd, "calibrate", tmp_path / "one")
    (tmp_path / "photos" / "whale").mkdir()
    write_as(Picture(np.zeros((40, 40, 3), np.uint8)), tmp_path / "photos" / "whale" / "a.png")
    assert "whale" in refused(capfd, "calibrate", photos)


def test_a_damaged_picture_stops_calibration_and_not_the_others(photos, tmp_path, capfd):
    bad = photos / "disc" / "aaa.png"
    bad.write_bytes(b"\x89PNG nothing")
    assert "aaa.png" in refused(capfd, "calibrate", photos)
    run("folder", photos, "--out", tmp_path)
    with (tmp_path / "photos_answers.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 41
    assert [row["file"] for row in rows if row["problem"]] == ["disc/aaa.png"]
    run(photos, "--out", tmp_path / "each", status=1)
    assert len(list((tmp_path / "each").iterdir())) == 40


def test_grey_alpha_sixteen_bits_and_turned_pictures_are_the_same_picture(tmp_path, shifted):
    pixels = np.ascontiguousarray(np.broadcast_to(shifted.pictures[0].mean(2, keepdims=True).astype(np.uint8), (40, 40, 3)))
    Image.fromarray(pixels).save(tmp_path / "colour.png")
    Image.fromarray(pixels[..., 0]).save(tmp_path / "grey.png")
    Image.fromarray(np.concatenate([pixels, np.full((40, 40, 1), 9, np.uint8)], 2)).save(tmp_path / "alpha.png")
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(np.ascontiguousarray(np.rot90(pixels))).save(tmp_path / "turned.png", exif=exif)
    Picture(pixels.astype(np.uint16) * 257).write(tmp_path / "deep.png")
    names = ["colour", "grey", "alpha", "turned", "deep"]
    results = foveate.run("adaptta", [tmp_path / f"{name}.png" for name in names])
    found = [{k: v for k, v in r["answer"].values.items() if k != "file"} for r in results]
    assert all(f == found[0] for f in found[1:])


def test_comparison_measures_what_it_says(photos, capfd, tmp_path):
    result = compare(photos, repeats=1)
    table = {row[0]: dict(zip(result["modes"].columns, row, strict=True)) for row in result["modes"].rows}
    assert table["single"]["mean_passes"] == 1
    assert table["static"]["mean_passes"] == 10
    assert table["random_stop"]["mean_passes"] == pytest.approx(table["adaptive"]["mean_passes"])
    assert table["oracle"]["accuracy"] >= max(row["accuracy"] for row in table.values())
    assert table["static"]["mcnemar_p"] == 1
    assert any("times as fast as static" in note for note in result.notes)
    run("compare", photos, "--repeats", "0", "--limit", "20", "--out", tmp_path)
    assert "times as fast" not in capfd.readouterr().err


def test_frames_come_one_by_one_and_the_rates_are_told(tmp_path, shifted, capfd):
    path = write_video(shifted.pictures[:12], tmp_path / "clip.mp4")
    run("video", path, "--compare", "--out", tmp_path)
    said = capfd.readouterr().err
    assert all(f"{mode}: " in said and "frames per second" in said for mode in ("single", "static", "adaptive"))
    with (tmp_path / "clip_answers.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 12
    long = write_video(shifted.pictures[:160], tmp_path / "long.avi")
    long.write_bytes(long.read_bytes()[: long.stat().st_size // 2])
    assert next(frames(long)).pixels.shape == (40, 40, 3)  # of a file whose end nobody could have read


# ---------------------------------------------------------------------------------------------------------------------
# other networks
# ---------------------------------------------------------------------------------------------------------------------


def test_integers_and_floats_in_onnx_are_calibrated_and_run(photos, tmp_path, capfd, network, shifted):
    picture = next(photos.rglob("*.png"))
    right = {}
    for precision in ("fp32", "int8"):
        run("quantise", photos, "--precision", precision, "--out", tmp_path / precision)
        file = tmp_path / precision / "photos_network.onnx"
        run("calibrate", photos, "--model", file, "--out", tmp_path / precision)
        run(picture, "--policy", tmp_path / precision / "photos_policy.json", "--out", tmp_path / precision)
        policy = read_policy(tmp_path / precision / "photos_policy.json")
        assert (policy.labels, policy.side, policy.crop) == (CLASSES, 32, 0.875)
        right[precision] = policy.calibration["accuracy_static"]
        capfd.readouterr()
        assert "other weights" in refused(capfd, picture, "--policy", SHIPPED_POLICY, "--model", file)
    assert right["int8"] == pytest.approx(right["fp32"], abs=0.05)
    report = json.loads((tmp_path / "int8" / "photos_report.json").read_text())
    assert report["pictures"] == 40
    sizes = [(tmp_path / p / "photos_network.onnx").stat().st_size for p in ("fp32", "int8")]
    assert sizes[1] < 0.6 * sizes[0]
    from foveate.systems.efficiency.adaptta.models import open_model

    opened = open_model(str(tmp_path / "fp32" / "photos_network.onnx"))
    views = torch.stack([network.prepare(Picture(p)) for p in shifted.pictures[:5]])
    with torch.inference_mode():
        np.testing.assert_allclose(opened.logits(views), network(views).numpy(), atol=1e-3)


@pytest.mark.parametrize("name", ["test_vit", "torchvision/squeezenet1_1"])
def test_networks_of_timm_and_torchvision_with_weights_in_a_file(name, photos, tmp_path, capfd):
    """The first has no convolution but the one that cuts the picture into patches."""
    torch.manual_seed(0)
    made = Classifier(name, 10)
    torch.save(made.network.state_dict(), tmp_path / "weights.pth")
    run("calibrate", photos, "--model", name, "--weights", tmp_path / "weights.pth", "--limit", "20", "--n_max", "3",
        "--transforms", "flip2", "--out", tmp_path)  # fmt: skip
    run(next(photos.rglob("*.png")), "--policy", tmp_path / "photos_policy.json", "--out", tmp_path)
    assert read_policy(tmp_path / "photos_policy.json").side == made.side


def test_torchscript_runs(photos, tmp_path, network):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch advises against TorchScript for new programs
        torch.jit.trace(network, torch.rand(1, 3, 32, 32)).save(str(tmp_path / "net.torchscript"))
    run("calibrate", photos, "--model", tmp_path / "net.torchscript", "--side", "32", "--limit", "30", "--out", tmp_path)
    picture = next(photos.rglob("*.png"))
    run(picture, "--policy", tmp_path / "photos_policy.json", "--out", tmp_path)
    assert json.loads((tmp_path / f"{picture.stem}_answer.json").read_text())["label"] in CLASSES


def test_shifted_parts_are_other_pictures_than_those_trained_on():
    parts = Sample(count=32, held_out=32).parts()
    seen = [{p.tobytes() for p in np.asarray(part.items)} for part in parts.values()]
    assert len(set.union(*seen)) == sum(map(len, seen)) == 96
