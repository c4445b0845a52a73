"""What only CIBHash must do: the sharp checks of its sheet."""

import csv
import json
import shutil

import numpy as np
import pytest
import timm
import torch

import foveate
from foveate.cli import main
from foveate.errors import InputError
from foveate.parts import weights
from foveate.parts.contrastive import nt_xent
from foveate.parts.hashing import Codes
from foveate.parts.training import fit
from foveate.readers.pictures import write_as
from foveate.results import Picture
from foveate.samples.glyphs import collection
from foveate.systems.embedding.cibhash.data import Features, Folder, Sample, augmentation
from foveate.systems.embedding.cibhash.method import (
    CIBHash,
    binarise,
    contrastive_information_bottleneck,
    information_loss,
    prepare,
)
from foveate.systems.embedding.cibhash.train import Hasher

ONE = [[0.9, 0.2, 0.6, 0.4], [0.1, 0.8, 0.7, 0.3]]
OTHER = [[0.8, 0.3, 0.4, 0.4], [0.2, 0.6, 0.9, 0.1]]


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("FOVEATE_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def vgg_small(monkeypatch):
    """A VGG whose fully connected layers are small."""
    create = timm.create_model

    def made(name, **options):
        return create("vgg11", mlp_ratio=1 / 128, **options) if name == "vgg_small" else create(name, **options)

    monkeypatch.setattr(timm, "create_model", made)


@pytest.fixture
def photos(tmp_path):
    """A folder with twelve pictures, one of them twice."""
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for i, pixels in enumerate(collection("query", 1, 0.25).pixels[:12]):
        write_as(Picture(pixels), folder / ("more" if i % 2 else "") / f"{i:02}.{'png' if i % 3 else 'jpg'}")
    shutil.copy(folder / "00.jpg", folder / "more" / "again.jpg")
    return folder


def run(*arguments, status=0):
    assert main(["run", "cibhash", *map(str, arguments)]) == status


# ---------------------------------------------------------------------------------------------------------------------
# the method
# ---------------------------------------------------------------------------------------------------------------------


def test_losses_and_gradient_of_a_small_example():
    """Figures of the sheet, computed there in float64."""
    one, other = (torch.tensor(p, dtype=torch.float64).logit().requires_grad_() for p in (ONE, OTHER))
    contrast, information = contrastive_information_bottleneck(one, other, "deterministic")
    assert float(contrast.detach()) == pytest.approx(0.1181112, abs=1e-7)
    assert float(information.detach()) == pytest.approx(0.001 * 0.2786021, abs=1e-10)
    (contrast + information).backward()
    expected = [[-0.009601, 0.017079, 0.042738, -0.008612], [0.003567, -0.006334, 0.006554, -0.010033]]
    torch.testing.assert_close(one.grad, torch.tensor(expected, dtype=torch.float64), atol=1e-6, rtol=0)


def test_contrastive_loss_is_that_of_a_slow_loop():
    one, other = torch.randn(2, 7, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    both, total = [*one, *other], 0.0
    for a, x in enumerate(both):
        scores = [torch.exp(torch.cosine_similarity(x, y, 0) / 0.3) for b, y in enumerate(both) if b != a]
        total -= float(torch.log(torch.exp(torch.cosine_similarity(x, both[(a + 7) % 14], 0) / 0.3) / sum(scores)))
    assert float(nt_xent(one, other, 0.3)) == pytest.approx(total / 14, rel=1e-12)


def test_similarity_of_codes_is_hamming_distance():
    """The loss sees 1 - 2 h / K, which it would not on codes of 0 and 1."""
    codes = torch.where(torch.rand(2, 64, generator=torch.Generator().manual_seed(0)) < 0.5, 1.0, -1.0)
    apart = int((codes[0] != codes[1]).sum())
    assert float(torch.cosine_similarity(*codes, 0)) == pytest.approx(1 - 2 * apart / 64)


def test_bits_are_drawn_with_their_probabilities_and_used_without_chance():
    torch.manual_seed(0)
    p = torch.linspace(0.02, 0.98, 16)
    drawn = binarise(p.logit().expand(10_000, -1))
    assert set(drawn.unique().tolist()) == {-1.0, 1.0}
    sigma = (p * (1 - p) / 10_000).sqrt()
    assert torch.all(((drawn + 1).mean(0) / 2 - p).abs() < 4.5 * sigma)
    network, pictures = foveate.load("cibhash", preset="tiny"), torch.rand(4, 3, 48, 48)
    assert torch.equal(network(pictures), network(pictures))
    assert float(binarise(torch.zeros(1, 1), "deterministic")) == 1  # sign(0) would be neither


def test_information_loss_moves_only_the_first_argument_and_sums_over_bits():
    one, other = (torch.tensor(p, dtype=torch.float64, requires_grad=True) for p in (ONE, OTHER))
    loss = information_loss(one, other)
    (slope,) = torch.autograd.grad(loss, other, retain_graph=True)
    # Only its own direction: d/dq of KL(q || p) / 2 over the batch.
    expected = ((other / one).log() - ((1 - other) / (1 - one)).log()) / 2 / len(one)
    torch.testing.assert_close(slope, expected.detach(), atol=1e-6, rtol=0)
    twice = information_loss(torch.cat([one, one], 1), torch.cat([other, other], 1))
    assert float(twice.detach()) == pytest.approx(2 * float(loss.detach()))


@pytest.mark.parametrize("noisy", [False, True])
def test_the_frozen_backbone_never_moves(noisy, vgg_small):
    """VGG's dropout is off while the head trains, unless asked for; its weights stay bit for bit."""
    network = CIBHash("vgg_small", bits=16, hidden=8, side=32, noisy=noisy)
    before = {k: v.clone() for k, v in network.backbone.state_dict().items()}
    data = Sample(copies=1, side=32, batch_size=4)
    fit(Hasher(network, lr=0.1), data, 3, limit_val_batches=0)
    assert all(torch.equal(v, network.backbone.state_dict()[k]) for k, v in before.items())
    network.train()
    pictures = torch.rand(2, 3, 32, 32)
    assert torch.equal(network.features(pictures), network.features(pictures)) != noisy


@pytest.mark.parametrize(
    "options", [{"objective": "reconstruct"}, {"objective": "naive_cl"}, {"binary_layer": "none"}, {"kl_weight": 0}]
)
def test_every_switch_trains(options):
    torch.manual_seed(0)
    network = CIBHash("", bits=16, hidden=16, width=8)
    module = Hasher(network, **options)
    features = torch.randn(2, 6, 8)
    losses = []
    optimiser = module.configure_optimizers()
    module.log = module.log_dict = lambda *_, **__: None
    for _ in range(60):
        torch.manual_seed(1)
        loss = module.training_step({"image": features[0], "other": features[0] + 0.1 * features[1]}, 0)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert np.mean(losses[-10:]) < np.mean(losses[:10])


def test_views_are_drawn_from_the_generator_alone():
    data = Sample(copies=1, side=64)
    picture = Picture(collection("query", 1).pixels[0])
    one, same, other = (data.view(picture, np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert one.shape == (3, 64, 64)
    assert 0 <= float(one.min()) <= float(one.max()) <= 1
    assert len(augmentation(64).transforms) == 5


def test_any_picture_is_squeezed_to_a_square():
    wide = Picture(np.zeros((20, 300), np.uint16))
    assert prepare(wide, 48).shape == (3, 48, 48)


# ---------------------------------------------------------------------------------------------------------------------
# index and search
# ---------------------------------------------------------------------------------------------------------------------


def test_a_photograph_finds_itself_and_its_copy(photos, tmp_path, capsys):
    run("index", photos, "--out", tmp_path)
    codes = Codes.read(tmp_path / "photos_codes.npz")
    assert (len(codes), codes.bits, codes.packed.shape) == (13, 64, (13, 8))
    for query, names in (("00.jpg", ["00.jpg", "again.jpg"]), ("more/again.jpg", ["again.jpg", "00.jpg"])):
        for nearest in (1, 5):
            run("search", photos / query, "--index", tmp_path / "photos_codes.npz", "--nearest", nearest, "--out", tmp_path)
            rows = list(csv.DictReader((tmp_path / f"{names[0][:-4]}_matches.csv").read_text().splitlines()))
            assert [row["rank"] for row in rows] == list("12345")[:nearest]
            assert [row["file"].rpartition("/")[2] for row in rows[:2]] == names[:nearest]
            assert {row["hamming"] for row in rows[:2]} == {"0"}
    assert json.loads((tmp_path / "00_found.json").read_text())["searched"] == 13
    assert "demo weights" in capsys.readouterr().err


def test_without_an_index_the_query_searches_its_folder(photos, tmp_path):
    run("search", photos / "00.jpg", "--out", tmp_path)
    assert json.loads((tmp_path / "00_found.json").read_text())["matches"][0]["hamming"] == 0


def test_what_was_encoded_is_not_encoded_again(photos, tmp_path, monkeypatch):
    """An interruption loses nothing that was done, and a folder that grew costs what is new."""
    from foveate.readers import photo_index

    read, seen = photo_index.read_picture, []

    def stumble(path):
        seen.append(path.name)
        if len(seen) == 6:
            raise KeyboardInterrupt
        return read(path)

    monkeypatch.setattr(photo_index, "read_picture", stumble)
    with pytest.raises(KeyboardInterrupt):
        list(foveate.run("cibhash", photos, action="index", batch=2))
    foveate.run("cibhash", photos, action="index", batch=2).save(tmp_path / "resumed")
    first = len(seen)
    shutil.copy(photos / "01.png" if (photos / "01.png").exists() else photos / "more" / "01.png", photos / "new.png")
    foveate.run("cibhash", photos, action="index")
    assert seen[first:] == ["new.png"]
    monkeypatch.setenv("FOVEATE_CACHE", str(tmp_path / "empty"))
    (photos / "new.png").unlink()
    foveate.run("cibhash", photos, action="index", batch=5).save(tmp_path / "at_once")
    resumed, at_once = (Codes.read(tmp_path / name / "photos_codes.npz") for name in ("resumed", "at_once"))
    assert np.array_equal(resumed.packed, at_once.packed)
    assert resumed.names == at_once.names


def test_broken_pictures_are_named_and_the_others_indexed(photos, tmp_path, capsys):
    (photos / "torn.jpg").write_bytes((photos / "00.jpg").read_bytes()[:500])
    run("index", photos, "--out", tmp_path)
    assert "torn.jpg" in capsys.readouterr().err
    report = json.loads((tmp_path / "photos_report.json").read_text())
    assert report["pictures"] == 13
    assert [name.rpartition("/")[2] for name in report["unreadable"]] == ["torn.jpg"]


def test_an_index_that_does_not_fit_is_refused(photos, tmp_path, capsys):
    run("index", photos, "--out", tmp_path)
    index, query = tmp_path / "photos_codes.npz", photos / "00.jpg"
    codes = Codes.read(index)
    other = CIBHash("test_efficientnet", bits=16, hidden=8, side=32)
    weights.save(other, tmp_path / "other.safetensors")
    capsys.readouterr()

    def says(*arguments):
        run("search", query, "--out", tmp_path / "none", *arguments, status=2)
        (line,) = capsys.readouterr().err.splitlines()
        return line

    assert "64 bits, the weights make 16" in says("--index", index, "--weights", tmp_path / "other.safetensors")
    Codes(codes.packed, 64, codes.names, "CIBHash-64-another").write(tmp_path / "another.npz")
    assert "was made by other weights" in says("--index", tmp_path / "another.npz")
    (tmp_path / "torn.npz").write_bytes(index.read_bytes()[:200])
    assert "torn.npz" in says("--index", tmp_path / "torn.npz")
    assert "missing.npz" in says("--index", tmp_path / "missing.npz")
    assert not (tmp_path / "none").exists()


def test_labels_judge_an_index_as_a_slow_count_does(tmp_path):
    rng = np.random.default_rng(0)
    bits, labels = rng.random((30, 16)) < 0.5, rng.integers(3, size=30)
    Codes(np.packbits(bits, axis=1), 16, [f"{i}.png" for i in range(30)], "m").write(tmp_path / "codes.npz")
    (tmp_path / "labels.csv").write_text("file,label\n" + "".join(f"{i}.png,{c}\n" for i, c in enumerate(labels)))
    run("evaluate", tmp_path / "codes.npz", tmp_path / "labels.csv", "--k", "5", "--out", tmp_path)
    scores = json.loads((tmp_path / "codes_scores.json").read_text())
    within = []
    for i in range(30):
        near = [j for j in range(30) if j != i and (bits[i] != bits[j]).sum() <= 2]
        within.append(np.mean([labels[j] == labels[i] for j in near]) if near else 0)
    assert (scores["queries"], scores["searched"]) == (30, 29)
    assert scores["precision_within_radius_2"] == pytest.approx(np.mean(within))
    assert 0 < scores["map"] < 1
    rows = list(csv.DictReader((tmp_path / "codes_curve.csv").read_text().splitlines()))
    assert float(rows[-1]["recall"]) == 1


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ("name,label\n", "has the columns name, label"),
        ("file,label\n", "labels nothing"),
        ("file,label\nz.png,a\n", "labels.csv:2: 'z.png' is not in the index"),
        ("file,label\n\na/1.png,\n", "labels.csv:3: 'a/1.png' has no label"),
        ("file,label\n1.png,x\n", "'1.png' names several pictures"),
        ("file,label\na/1.png,x\na/1.png,y\n", "labels.csv:3: 'a/1.png' is labelled twice"),
        ("file,label,role\na/1.png,x,Query\n", "role is 'Query'"),
        ("file,label,role\na/1.png,x,query\n", "leaves 0 pictures to search"),
    ],
)
def test_labels_that_do_not_fit_are_refused(tmp_path, table, says):
    Codes(np.zeros((3, 2), np.uint8), 16, ["a/1.png", "b/1.png", "c/2.png"], "m").write(tmp_path / "codes.npz")
    (tmp_path / "labels.csv").write_text(table)
    with pytest.raises(InputError) as caught:
        list(foveate.run("cibhash", tmp_path / "codes.npz", tmp_path / "labels.csv", action="evaluate"))
    assert says in str(caught.value)


def test_equal_codes_score_as_chance_does_however_the_table_is_sorted(tmp_path):
    Codes(np.zeros((60, 2), np.uint8), 16, [f"{i}.png" for i in range(60)], "m").write(tmp_path / "codes.npz")
    rows = [f"{i}.png, {'a ' if i < 12 else 'b|c'}" for i in range(60)]
    (tmp_path / "labels.csv").write_text("\ufefffile, label\n" + "\n".join(rows))
    scores = foveate.run("cibhash", tmp_path / "codes.npz", tmp_path / "labels.csv", action="evaluate", k=10)["scores"].values
    chance = (12 * 11 + 48 * 47) / (60 * 59)
    assert scores["precision"] == pytest.approx(chance, abs=0.1)
    assert scores["map"] == pytest.approx(chance, abs=0.15)


@pytest.mark.parametrize("bits", [0, 12, -8])
def test_bits_that_make_no_bytes_are_refused(bits):
    with pytest.raises(InputError, match=r"bits: .*multiple of 8"):
        CIBHash("", bits=bits, width=4)


# ---------------------------------------------------------------------------------------------------------------------
# training on one's own pictures
# ---------------------------------------------------------------------------------------------------------------------


def test_train_on_a_folder_then_index_and_search(photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small = [
        "--model.network.init_args.backbone=test_efficientnet", "--model.network.init_args.bits=16",
        "--model.network.init_args.side=48", "--data.init_args.side=48", "--data.init_args.batch_size=4",
        "--trainer.max_steps=3", "--trainer.log_every_n_steps=1", "--trainer.accelerator=cpu",
        "--trainer.enable_progress_bar=false",
    ]  # fmt: skip
    main(["train", "cibhash", "--data", "Folder", "--data.root", str(photos), *small])
    (checkpoint,) = tmp_path.glob("runs/cibhash/hasher/version_0/checkpoints/last.ckpt")
    run("index", photos, "--weights", checkpoint, "--out", tmp_path)
    made = ("--index", tmp_path / "photos_codes.npz", "--weights", checkpoint)
    run("search", photos / "00.jpg", *made, "--nearest", "1", "--out", tmp_path)
    (row,) = csv.DictReader((tmp_path / "00_matches.csv").read_text().splitlines())
    assert row["hamming"] == "0"


def test_weights_outlive_the_file_that_they_started_from(tmp_path, vgg_small):
    start = timm.create_model("vgg_small", num_classes=0).state_dict()
    torch.save(start, tmp_path / "start.pth")
    network = CIBHash("vgg_small", str(tmp_path / "start.pth"), bits=16, hidden=8, side=32).eval()
    weights.save(network, tmp_path / "w.safetensors")
    (tmp_path / "start.pth").unlink()
    picture = torch.rand(1, 3, 32, 32)
    assert torch.equal(weights.load(CIBHash, tmp_path / "w.safetensors")(picture), network(picture))


@pytest.mark.parametrize(
    ("network", "options", "says"),
    [
        ({"side": 64}, {}, "side: the data's is 32, the network's 64"),
        ({}, {"views": 2, "backbone": "test_resnet"}, "backbone: the data's is test_resnet, the network's test_efficientnet"),
        ({"frozen": False}, {"views": 2}, "made once, of a backbone that is trained"),
    ],
)
def test_data_for_another_network_is_refused(network, options, says):
    made = CIBHash("test_efficientnet", bits=16, hidden=8, **{"side": 32, **network})
    data = Sample(**{"copies": 1, "side": 32, "backbone": "test_efficientnet", "pretrained": "no", **options})
    with pytest.raises(InputError, match=says):
        fit(Hasher(made), data, 1)


def test_train_on_features_from_elsewhere(tmp_path):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "f.npz", features=rng.random((40, 12)).astype(np.float32), labels=rng.integers(3, size=40))
    fit(Hasher(CIBHash("", bits=16, hidden=8, width=12)), Features(str(tmp_path / "f.npz"), batch_size=8), 4)
    with pytest.raises(InputError, match=r"features of length 12.*--recipe features"):
        fit(Hasher(CIBHash("", bits=16, hidden=8, width=9)), Features(str(tmp_path / "f.npz")), 1)
    weights.save(CIBHash("", bits=16, hidden=8, width=12), tmp_path / "w.safetensors")
    run("index", tmp_path, "--weights", tmp_path / "w.safetensors", status=2)


def test_features_made_once_train_the_same_head(tmp_path):
    """Cached views are views: of the same pictures, two different ones, and the network takes them as it takes pictures."""
    options = {"copies": 1, "side": 32, "batch_size": 4, "backbone": "test_efficientnet", "pretrained": "no"}
    data = Sample(views=2, **options)
    data.setup("fit")
    views = data.train.features
    assert views.shape[:2] == (2, 20)
    assert not torch.equal(views[0], views[1])
    module = Hasher(CIBHash("", bits=16, hidden=8, width=views.shape[2]))
    fit(module, data, 6, val_check_interval=3, check_val_every_n_epoch=None)
    assert 0 <= float(module.trainer.callback_metrics["val_map"]) <= 1


def test_a_folder_without_pictures(tmp_path):
    with pytest.raises(InputError, match=str(tmp_path)):
        Folder(str(tmp_path)).setup("fit")
