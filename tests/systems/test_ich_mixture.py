"""What only ich_mixture must do: the sharp checks of its sheet."""

import inspect
import json
import math

import nibabel
import numpy as np
import pydicom
import pytest
from scipy.special import logsumexp
from threadpoolctl import threadpool_limits

from foveate import run
from foveate.cli import main
from foveate.errors import InputError
from foveate.samples.head_ct import BLEEDS, cohort, head_ct
from foveate.systems.dense.ich_mixture import examples, reproduce
from foveate.systems.dense.ich_mixture.baselines import baselines
from foveate.systems.dense.ich_mixture.cavity import HIGH, LOW, correlation_volume, quantised
from foveate.systems.dense.ich_mixture.data import CTICH, phantom, read_layout
from foveate.systems.dense.ich_mixture.method import (
    BLOOD,
    BLOOD_SD,
    LEAST_AXIS,
    MOST_BLOOD,
    VARIANCES,
    Mixture,
    fit,
    healthy_mixture,
    iterate,
    posterior,
)
from foveate.systems.dense.ich_mixture.metrics import dice, regions, scores
from foveate.systems.dense.ich_mixture.search import Settings, bhattacharyya, search
from foveate.systems.dense.ich_mixture.segmentation import Found, decide, large_enough, make_ready, segment

WORLD = 40_000


def ready(case, *bleeds, world=WORLD):
    made = phantom(world, case, bleeds)
    return made, make_ready(made.values, made.spacing)


# --- EM ----------------------------------------------------------------------------------------------------------------


def slow_densities(points, mixture):
    """Return the logarithm of weight times density of every component at every point, noise last: the formula, spelled out."""
    rows = []
    for c in range(len(mixture.weight)):
        logs = math.log(mixture.weight[c]) - 0.5 * (
            (points.intensity - mixture.mean[c]) ** 2 / mixture.variance[c] + math.log(2 * math.pi * mixture.variance[c])
        )
        if mixture.spatial[c]:
            d = points.position - mixture.centre[c]
            q = np.einsum("ni,ij,nj->n", d, np.linalg.inv(mixture.scatter[c]), d)
            logs = logs - 0.5 * (q + math.log((2 * math.pi) ** 3 * np.linalg.det(mixture.scatter[c])))
        else:
            logs = logs - math.log(mixture.volume)
        rows.append(logs)
    if mixture.noise:
        rows.append(np.full(len(points), math.log(mixture.noise / (HIGH - LOW) / mixture.volume)))
    return np.array(rows)


def slow_iterate(points, mixture):
    """Do one iteration of EM as the textbook does: every component at every voxel."""
    logs = slow_densities(points, mixture)
    likelihood = logsumexp(logs, axis=0)
    share = np.exp(logs - likelihood)
    values = {k: np.array(v) for k, v in mixture.record().items()}
    count = len(mixture.weight)
    for c in range(count):
        r = share[c]
        total = r.sum()
        mean = r @ points.intensity / total
        if c >= mixture.healthy:
            old = mixture.variance[c]
            mean = (r @ points.intensity / old + BLOOD / BLOOD_SD**2) / (total / old + 1 / BLOOD_SD**2)
            mean = min(max(mean, mixture.floor), MOST_BLOOD)
        values["weight"][c], values["mean"][c] = total / len(points), mean
        values["variance"][c] = np.clip(r @ (points.intensity - mean) ** 2 / total, *VARIANCES)
        if mixture.spatial[c]:
            centre = r @ points.position / total
            d = points.position - centre
            found, turn = np.linalg.eigh((r[:, None] * d).T @ d / total)
            values["centre"][c] = centre
            values["scatter"][c] = turn @ np.diag(np.maximum(found, LEAST_AXIS**2)) @ turn.T
    if mixture.noise:
        values["noise"] = share[-1].sum() / len(points)
    order = np.argsort(values["mean"][: mixture.healthy])
    for name in ("weight", "mean", "variance", "centre", "scatter"):
        values[name][: mixture.healthy] = values[name][order]
    return Mixture.from_record({k: v.tolist() for k, v in values.items()}), float(likelihood.sum())


@pytest.mark.parametrize("form", ["uniform_position", "gaussian_position"])
@pytest.mark.parametrize("noise", [True, False])
def test_em_does_what_the_textbook_does(form, noise):
    points, truth = reproduce.drawn(np.random.default_rng(0), 2, 3000)
    mixture = healthy_mixture(points, form, noise)
    for k in (3, 4):
        mixture = mixture.with_cluster(0.02, 60.0, 64.0, truth.centre[k] + 5, 36 * np.eye(3))
    mixture = Mixture.from_record({**mixture.record(), "floor": 45.0})
    other = mixture
    for _ in range(5):
        mixture, fast = iterate(points, mixture, box=0)
        other, slow = slow_iterate(points, other)
        assert fast == pytest.approx(slow, rel=1e-10)
        for name in ("weight", "mean", "variance", "centre", "scatter", "noise"):
            assert np.allclose(getattr(mixture, name), getattr(other, name), rtol=1e-7, atol=1e-9), name
    logs = slow_densities(points, mixture)
    blood = np.exp(logsumexp(logs[3:5], axis=0) - logsumexp(logs, axis=0))
    share, which = posterior(points.position, points.level, mixture, box=0)
    assert np.allclose(share, blood, atol=1e-9)
    seen = blood > 1e-6
    assert (which[seen] == 1 + logs[3:5].argmax(axis=0)[seen]).all()


def test_boxes_change_next_to_nothing():
    points, truth = reproduce.drawn(np.random.default_rng(3), 3)
    _, exact = iterate(points, truth, box=0)
    boxed, near = iterate(points, truth)
    assert near == pytest.approx(exact, rel=1e-5)
    assert np.allclose(boxed.centre[3:], iterate(points, truth, box=0)[0].centre[3:], atol=0.05)


def test_the_objective_never_falls():
    assert reproduce.falls(np.random.default_rng(0), starts=20, iterations=30, count=4000) == 0


def test_the_number_of_clusters_is_found_on_data_from_the_model():
    rng = np.random.default_rng(1)
    for clusters in range(5):
        found = [search(reproduce.drawn(rng, clusters)[0]).fit.mixture.clusters for _ in range(10)]
        assert found.count(clusters) >= 9, (clusters, found)


def test_parameters_are_recovered():
    centres, means = reproduce.recovered(np.random.default_rng(2), draws=1)
    assert centres < 4
    assert means < 1


def test_without_space_a_mixture_is_one_of_intensities():
    points, _ = reproduce.drawn(np.random.default_rng(4), 2)
    found = search(points, Settings(spatial=False)).fit.mixture
    assert found.clusters >= 1
    assert not found.spatial.any()
    share, _ = posterior(points.position, points.level, found)
    assert len(np.unique(share)) <= len(np.unique(points.level))
    joint = search(points, Settings(spatial=False, healthy_form="gaussian_position", clusters=1)).fit.mixture
    logs = slow_densities(points, joint)
    expected = np.exp(logs[3] - logsumexp(logs, axis=0))
    assert np.allclose(posterior(points.position, points.level, joint, box=0)[0], expected, atol=1e-9)


def test_clusters_are_told_apart_merged_and_dropped():
    points, truth = reproduce.drawn(np.random.default_rng(5), 1)
    assert bhattacharyya(truth.with_cluster(0.01, *_like(truth)), 0, 1) == pytest.approx(0, abs=1e-9)
    assert truth.without(0).weight.sum() + truth.without(0).noise == pytest.approx(1)
    fixed = search(points, Settings(clusters=3)).fit.mixture
    assert fixed.clusters == 3
    assert search(points, Settings(most=0)).fit.mixture.clusters == 0


def _like(mixture):
    return mixture.mean[3], mixture.variance[3], mixture.centre[3], mixture.scatter[3]


def test_correlated_noise_is_worth_fewer_points():
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(0)
    white = rng.normal(size=(60, 60, 20))
    mask = np.ones(white.shape, bool)
    cell = (2.0, 2.0, 5.0)
    assert correlation_volume(white, mask, cell) == pytest.approx(1, abs=0.05)
    # In each of two axes a Gaussian filter of s voxels makes the sum of the autocorrelation 2 sqrt(pi) s.
    smooth = gaussian_filter(white, (0.65, 0.65, 0))
    # The local mean takes some of it away.
    assert 0.65 < correlation_volume(smooth, mask, cell) / (4 * math.pi * 0.65**2) < 1.05
    # A bleed is no noise.
    with_bleed = smooth.copy()
    with_bleed[20:35, 20:35, 5:12] += 10 * smooth.std()
    assert correlation_volume(with_bleed, mask, cell) == pytest.approx(correlation_volume(smooth, mask, cell), rel=0.1)


# --- heads -------------------------------------------------------------------------------------------------------------


def test_healthy_heads_stay_clean():
    found = [segment(ready(case)[1]) for case in range(10)]
    assert all(f.mask.sum() * f.ready.voxel_ml < 1 for f in found)
    assert sum(f.found.fit.mixture.clusters == 0 for f in found) >= 8


def test_bleeds_are_found_and_counted():
    made, scan = ready(20, "intraparenchymal", "epidural")
    found = segment(scan)
    assert dice(found.mask > 0, made.labels > 0) > 0.8
    assert regions(found.mask > 0, scan.voxel_ml) == regions(made.labels > 0, scan.voxel_ml)
    assert ((found.labels > 0) == (found.mask > 0)).all()
    assert found.probability.min() >= 0
    assert found.probability.max() <= 1


def test_a_calcification_or_a_shift_changes_little():
    made, scan = ready(21, "intraparenchymal")
    before = segment(scan)
    away = (made.labels == 0) & scan.cavity.core
    x, y, z = np.argwhere(away)[np.argmax(np.linalg.norm(np.argwhere(away) - np.argwhere(made.labels)[0], axis=1) < 20)]
    values = made.values.copy()
    values[x : x + 2, y, z] = 150
    after = segment(make_ready(values, made.spacing))
    assert np.count_nonzero(after.mask != before.mask) * scan.voxel_ml < 0.1
    shifted = segment(make_ready(made.values + 3, made.spacing))
    truth = made.labels > 0
    assert abs(dice(shifted.mask > 0, truth) - dice(before.mask > 0, truth)) < 0.02


def test_a_fitted_state_survives_json_and_threads_change_nothing():
    _, scan = ready(22, "subdural")
    with threadpool_limits(1):
        one = segment(scan)
    with threadpool_limits(2):
        two = segment(scan)
    assert one.found.fit.mixture.record() == two.found.fit.mixture.record()
    assert (one.probability == two.probability).all()
    again = Mixture.from_record(json.loads(json.dumps(one.found.fit.mixture.record())))
    loaded = decide(scan, Found(type(one.found.fit)(again, 0.0, 0), one.found.healthy))
    assert (loaded.mask == one.mask).all()
    assert (loaded.probability == one.probability).all()


def test_finer_voxels_are_joined_and_give_about_the_same():
    made, scan = ready(23, "intraparenchymal")
    fine = np.repeat(np.repeat(made.values, 2, 0), 2, 1)
    found = segment(make_ready(fine, (1.0, 1.0, 5.0)))
    assert len(found.ready.points) == pytest.approx(len(scan.points), rel=0.05)
    coarse = segment(scan).mask > 0
    assert dice(found.mask[::2, ::2] > 0, coarse) > 0.9


def test_baselines_find_a_large_bleed_and_a_network_learns():
    made, scan = ready(24, "epidural")
    for name, method in baselines().items():
        if name != "gmm_joint":  # seconds; the experiments run it
            assert dice(method(scan), made.labels > 0) > 0.5, name
    _, losses = reproduce.unet.train([(scan, made.labels > 0)], 30)
    assert losses[-1][1] < losses[0][1]


def test_made_up_heads_are_what_they_say():
    made = head_ct([WORLD, 30], BLEEDS[2:4])
    assert made.bleeds == BLEEDS[2:4]
    again = head_ct([WORLD, 30], BLEEDS[2:4])
    assert (made.values == again.values).all()
    assert 55 < made.values[made.labels == 3].mean() < 90
    listed = cohort(40)
    assert sum(not kinds for kinds in listed) == 10
    assert {kind for kinds in listed for kind in kinds} == set(BLEEDS)


def test_metrics_on_a_known_case():
    truth, mask = np.zeros((10, 10, 10), bool), np.zeros((10, 10, 10), bool)
    truth[2:6, 2:6, 2:6], mask[3:7, 2:6, 2:6] = True, True
    found = scores(mask, truth, (5.0, 5.0, 5.0))
    assert found["dice"] == pytest.approx(0.75)
    assert found["iou"] == pytest.approx(0.6)
    assert (found["volume_error_ml"], found["false_positive_ml"]) == (0, 2)
    assert found["hd95_mm"] == pytest.approx(5)
    assert math.isnan(scores(mask, np.zeros_like(mask), (5.0, 5.0, 5.0))["dice"])
    mask[9, 9, 9] = True
    assert large_enough(mask, 0.125, 0.5).sum() == 64
    assert quantised(np.array([-500.0, 500.0])).tolist() == [0, 559]


# --- files -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def head(tmp_path):
    path = tmp_path / "head.nii.gz"
    examples.nifti(phantom(2, 0, ("intraparenchymal",))).write(path)
    return path


def test_a_scan_from_the_command_line(tmp_path, capsys, head):
    # Stored with other axes, as many scanners do.
    image = nibabel.load(head)
    turned = image.as_reoriented(nibabel.orientations.axcodes2ornt("SLP"))
    turned.to_filename(tmp_path / "turned.nii.gz")
    found = {}
    for name in ("head", "turned"):
        out = tmp_path / name
        assert main(["run", "ich_mixture", str(tmp_path / f"{name}.nii.gz"), "--out", str(out)]) == 0
        (mask,) = out.glob("*_mask.nii.gz")
        written, source = nibabel.load(mask), nibabel.load(tmp_path / f"{name}.nii.gz")
        assert written.shape == source.shape
        assert (written.affine == source.affine).all()
        found[name] = np.asarray(nibabel.as_closest_canonical(written).dataobj)
        (report,) = out.glob("*_report.json")
        told = json.loads(report.read_text())
        assert told["haemorrhage_ml"] == pytest.approx(found[name].sum() * 0.02)
        assert sum(c["ml"] for c in told["clusters"]) == pytest.approx(told["haemorrhage_ml"])
    assert found["head"].any()
    assert (found["head"] == found["turned"]).all()
    assert "not a medical device" in capsys.readouterr().err


def test_a_series_gives_what_its_nifti_gives(tmp_path, head):
    made = phantom(2, 0, ("intraparenchymal",))
    folder = tmp_path / "series"
    folder.mkdir()
    examples.write_dicom(made, folder)
    ours, theirs = run("ich_mixture", folder, action="series"), run("ich_mixture", head)
    assert (ours["mask"].values == theirs["mask"].values).all()
    (folder / "014.dcm").unlink()
    with pytest.raises(InputError, match="1 slice missing between"):
        run("ich_mixture", folder, action="series")
    for file in folder.iterdir():
        header = pydicom.dcmread(file)
        header.Modality = "MR"
        header.save_as(file)
    with pytest.raises(InputError, match="series"):
        run("ich_mixture", folder, action="series")


def test_what_is_no_head_ct_is_refused_in_one_line(tmp_path, capsys):
    made = phantom(2, 0, ("intraparenchymal",))
    wrong = {
        "zeros.nii.gz": (np.zeros_like(made.values), "every voxel is 0"),
        "window.nii.gz": (np.clip(made.values, 0, 80), "not in HU"),
        "grey.nii.gz": (np.clip(made.values + 20, 0, 255), "not in HU"),
        "ball.nii.gz": (np.where(made.values > 300, 40, made.values) + (np.arange(96) == 48)[:, None, None] * 500, "no"),
    }
    for name, (values, words) in wrong.items():
        path = tmp_path / name
        examples.nifti(type(made)(values.astype(np.int16), made.labels)).write(path)
        assert main(["run", "ich_mixture", str(path), "--out", str(tmp_path / "out")]) == 2
        said = capsys.readouterr().err
        assert words in said
        assert name in said
        assert said.count("\n") == 1
    (tmp_path / "slice.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (tmp_path / "cut.nii.gz").write_bytes((tmp_path / "ball.nii.gz").read_bytes()[:20000])
    for name, words in (("slice.png", "is a picture"), ("cut.nii.gz", "cut off")):
        assert main(["run", "ich_mixture", str(tmp_path / name), "--out", str(tmp_path / "out")]) == 2
        assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_prior_is_learnt_from_unlabelled_scans_and_used(tmp_path, head):
    (tmp_path / "bad.nii").write_bytes(b"x" * 400)
    outcome = run("ich_mixture", tmp_path, action="fit_prior")
    learnt = outcome["prior"].values
    tissue = run("ich_mixture", head)["report"].values["tissue"]
    for mean, alone in zip(learnt["means"], tissue.values(), strict=True):
        assert mean == pytest.approx(alone["mean_hu"], abs=3)
    assert sum(learnt["weights"]) == pytest.approx(1)
    assert any("bad.nii" in note for note in outcome.notes)
    (path,) = outcome.save(tmp_path / "prior")
    assert run("ich_mixture", head, prior=path)["mask"].values.any()
    path.write_text('{"means": [1]}')
    with pytest.raises(InputError, match="no prior"):
        run("ich_mixture", head, prior=path)


def test_data_sets_are_read_and_measured(tmp_path):
    for name in ("ctich", "instance", "pairs"):
        folder = tmp_path / name
        folder.mkdir()
        examples.layout(name, folder)
        cases = read_layout(folder).parts()["test"]
        assert [case.name for case in cases] == ["049", "050"]
        assert cases[0].read()[1].sum() == (phantom(2, 0, ("intraparenchymal",)).labels > 0).sum()
    assert read_layout(tmp_path / "ctich").cases[0].kinds == ("intraparenchymal",)
    outcome = run("ich_mixture", tmp_path / "ctich", action="evaluate")
    summary = outcome["summary"].values
    assert summary["intraparenchymal"]["dice"]["mean"] > 0.8
    assert summary["all"]["dice"]["scans"] == 1
    assert summary["without_bleeds"] == {"scans": 1, "false_positive_ml": 0}
    (tmp_path / "old" / "Patients_CT").mkdir(parents=True)
    with pytest.raises(InputError, match=r"1\.3\.1"):
        CTICH(str(tmp_path / "old"))
    with pytest.raises(InputError, match="no layout"):
        read_layout(tmp_path / "old" / "Patients_CT")


def test_no_label_is_read_and_none_can_be_given():
    assert reproduce.labels_read() == 0
    for function in (search, segment, make_ready, fit):
        assert not {"mask", "truth", "label", "labels"} & set(inspect.signature(function).parameters)
