"""Every verb on wrong input: one clear line, exit status 2, nothing half-written."""

import errno
import json

import numpy as np
import pytest
from PIL import Image

import foveate
from foveate import actions
from foveate.catalogue import find
from foveate.cli import main
from foveate.contract import _absurd_png
from foveate.errors import InputError
from foveate.results import Picture


def fails(capsys, *arguments, says, status=2):
    """Run the command and see that it fails with one line."""
    assert main([str(a) for a in arguments]) == status
    *before, line = capsys.readouterr().err.strip().splitlines()
    assert not before or arguments[0] == "train"  # Lightning tells what it sees of the machine
    assert line.startswith("foveate: ")
    assert says in line
    assert "Traceback" not in line


@pytest.mark.parametrize("verb", ["show", "run", "train", "reproduce", "check"])
def test_unknown_system_suggests_the_nearest(capsys, verb):
    fails(capsys, verb, "hinett", *(["x.png"] if verb == "run" else []), says="perhaps hinet")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["list", "--wing", "restauration"], "perhaps restoration"),
        (["lits"], "invalid choice"),
        (["show", "hinet", "--jsn"], "--jsn"),
        (["run", "hinet", "a.png", "--tile", "many"], "tile"),
        (["run", "hinet", "a.png", "--nonsense", "1"], "--nonsense"),
        (["run", "hinet"], "photos"),
        (["run", "hinet", "nothing/*.png"], "gives no input"),
        (["run", "hinet", ""], "names no file"),
        (["run"], "no system is named"),
        (["run", "--tile", "64", "hinet", "a.png"], "no system is named"),
        (["train", "hinet", "--stage", "second"], "restorer"),
        (["train", "hinet", "--recipe", "sidt"], "sidd"),
        (["train", "hinet", "--model.nonsense", "1"], "nonsense"),
        (["train", "hinet", "--trainer.max_steps", "many"], "max_steps"),
        (["train", "hinet", "--config", "missing.yaml"], "missing.yaml"),
        (["train", "hinet", "--data", "Folders", "--data.root", "nowhere", "--trainer.max_steps", "1"], "nowhere"),
        (["train", "hinet", "--ckpt_path", "missing.ckpt", "--trainer.max_steps", "1"], "missing.ckpt"),
        (["train", "hinet", "--data.batch_size", "0", "--trainer.max_steps", "1"], "batch_size"),
        (["train", "hinet", "--data.crop", "0", "--trainer.max_steps", "1"], "crop"),
        (["reproduce", "hinet", "--claim", "C99"], "C99"),
        (["reproduce", "hinet", "--claim", "C3"], "needs the paper's data"),
        (["reproduce", "hinet", "--seeds", "0"], "seeds"),
        (["reproduce", "hinet", "--budget", "huge"], "budget"),
        (["data", "hinet", "nowhere"], "nowhere"),
        (["import", "hinet", "missing.pth"], "missing.pth"),
        (["page", "--listing", "missing.md"], "missing.md"),
        (["page", "--readme", "missing.md"], "missing.md"),
    ],
)
def test_wrong_arguments(capsys, monkeypatch, tmp_path, arguments, says):
    monkeypatch.chdir(tmp_path)
    fails(capsys, *arguments, says=says)


def test_config_with_an_unknown_key(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c.yaml").write_text("model:\n  learning_speed: 3\n")
    fails(capsys, "train", "hinet", "--config", "c.yaml", says="learning_speed")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["c.yaml"]


def bad_files(folder):
    rng = np.random.default_rng(0)
    photo = Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8))
    photo.save(folder / "whole.jpg")
    content = {
        "text.png": b"Dear sir or madam",
        "truncated.jpg": (folder / "whole.jpg").read_bytes()[:1500],
        "empty.png": b"",
        "absurd.png": _absurd_png(),
        "random.webp": rng.bytes(3000),
    }
    for name, data in content.items():
        (folder / name).write_bytes(data)
    photo.save(folder / "animated.gif", save_all=True, append_images=[Image.new("RGB", (64, 64))])
    Picture(np.full((64, 64, 3), 99, np.uint8)).write(folder / "flat.png")
    return {
        "missing.png": "no such file",
        "text.png": "holds text",
        "truncated.jpg": "damaged or cut off",
        "empty.png": "empty",
        "absurd.png": "too large",
        "random.webp": "not a picture",
        "animated.gif": "animated",
        "flat.png": "looks clean already",
    }


def test_wrong_pictures(capsys, tmp_path):
    out = tmp_path / "out"
    for name, says in bad_files(tmp_path).items():
        fails(capsys, "run", "hinet", tmp_path / name, "--out", out, says=says)
        assert not out.exists()


def test_16_bit_grey_tiff_and_a_single_pixel_come_back_as_they_are(tmp_path, capsys):
    import tifffile

    from foveate.readers.pictures import read_picture

    rng = np.random.default_rng(0)
    tifffile.imwrite(tmp_path / "grey.tif", rng.integers(0, 65536, (40, 50), dtype=np.uint16))
    Picture(np.full((1, 1, 3), 99, np.uint8)).write(tmp_path / "one.png")
    for name, shape in (("grey.tif", (40, 50)), ("one.png", (1, 1, 3))):
        assert main(["run", "hinet", str(tmp_path / name), "--force", "--out", str(tmp_path / "out")]) == 0
        assert read_picture(capsys.readouterr().out.splitlines()[0]).pixels.shape == shape
    assert read_picture(tmp_path / "out" / "grey_restored.png").bits == 16


def test_unwritable_out_is_found_before_the_work(capsys, tmp_path):
    (tmp_path / "file").write_text("in the way")
    fails(capsys, "run", "hinet", tmp_path / "a.png", "--out", tmp_path / "file" / "deep", says="cannot be written")
    fails(capsys, "reproduce", "hinet", "--claim", "C7-rest", "--out", tmp_path / "file", says="cannot be written")
    fails(capsys, "page", "--out", tmp_path / "file" / "page.html", says="cannot be written")


def test_full_disk_leaves_nothing_behind(capsys, tmp_path, monkeypatch):
    noisy = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    Picture(noisy).write(tmp_path / "a.png")

    def full(self, path):
        path.write_bytes(b"half a pict")
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(Picture, "write", full)
    fails(capsys, "run", "hinet", tmp_path / "a.png", "--out", tmp_path / "out", says="No space left on device")
    assert not list((tmp_path / "out").iterdir())


def test_list_and_show_for_programs(capsys):
    assert main(["list", "--json"]) == 0
    (card,) = [c for c in json.loads(capsys.readouterr().out) if c["slug"] == "hinet"]
    assert card["arxiv"] == "2105.06086"
    assert main(["show", "hinet", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["claim"][0]["verdict"]


def test_data_doctor_tells_layouts_apart(capsys, tmp_path):
    from foveate.systems.restoration.hinet.examples import layout

    layout("gopro", tmp_path)
    assert main(["data", "hinet", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "+ gopro" in printed
    assert all(f"{part}: {count}" in printed for part, count in (("train", 1), ("val", 1), ("test", 2)))
    assert "- sidd" in printed
    (tmp_path / "empty").mkdir()
    assert main(["data", "hinet", str(tmp_path / "empty")]) == 2


def test_reproduce_prints_the_table_and_writes_the_evidence(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("FOVEATE_CACHE", str(tmp_path / "cache"))
    assert main(["reproduce", "hinet", "--claim", "C7-rest", "--out", str(tmp_path)]) == 0
    assert "holds" in capsys.readouterr().out
    found = json.loads((tmp_path / "hinet" / "evidence.json").read_text())
    assert {c["id"]: c["verdict"] for c in found["claims"]}["C7-rest"] == "holds"


TINY = [
    *("--model.network.width", "4", "--model.network.depth", "3", "--data.crop", "32", "--data.batch_size", "2"),
    *("--data.epoch", "4", "--data.window", "32", "--trainer.max_steps", "2", "--trainer.enable_progress_bar", "false"),
    *("--trainer.accelerator", "cpu", "--trainer.log_every_n_steps", "1"),
]


def test_a_second_training_leaves_the_first_alone_even_from_its_own_config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runs = tmp_path / "runs" / "hinet" / "restorer"
    assert main(["train", "hinet", *TINY]) == 0
    first = {p: p.read_bytes() for p in (runs / "version_0").rglob("*") if p.is_file()}
    assert {p.name for p in first} >= {"config.yaml", "metrics.csv", "last.ckpt"}
    assert main(["train", "hinet", "--config", str(runs / "version_0" / "config.yaml")]) == 0
    assert {p: p.read_bytes() for p in (runs / "version_0").rglob("*") if p.is_file()} == first
    assert (runs / "version_1" / "checkpoints" / "last.ckpt").is_file()


def test_a_checkpoint_that_is_none_or_of_another_network_ends_in_one_line(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rubbish.ckpt").write_bytes(b"not a checkpoint")
    fails(capsys, "train", "hinet", *TINY, "--ckpt_path", "rubbish.ckpt", says="rubbish.ckpt")
    assert main(["train", "hinet", *TINY]) == 0
    last = "runs/hinet/restorer/version_1/checkpoints/last.ckpt"
    wider = [*TINY, "--model.network.width", "8", "--trainer.max_steps", "4"]
    fails(capsys, "train", "hinet", *wider, "--ckpt_path", last, says="same --model arguments")


def test_a_result_that_cannot_be_written_does_not_stop_the_others(capsys, tmp_path):
    noisy = Picture(np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8))
    long = "n" * 245 + ".png"
    for name in (long, "ok.png"):
        noisy.write(tmp_path / name)
    assert main(["run", "hinet", str(tmp_path / long), str(tmp_path / "ok.png"), "--out", str(tmp_path / "out")]) == 1
    assert "nnn: " in capsys.readouterr().err
    assert (tmp_path / "out" / "ok_restored.png").is_file()


def test_python_refuses_what_the_command_line_refuses(tmp_path):
    picture = tmp_path / "a.png"
    Picture(np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)).write(picture)
    for arguments, options in [
        ((None,), {}),
        ((picture, picture), {}),
        ((picture,), {"tta": 3}),
        ((picture,), {"tile": "many"}),
        ((picture,), {"nonsense": 1}),
        ((picture,), {"action": "paint"}),
    ]:
        with pytest.raises(InputError):
            foveate.run("hinet", *arguments, **options)
    with pytest.raises(InputError, match="weights"):
        foveate.load("hinet", preset="tiny", weights=picture)
    with pytest.raises(InputError, match="huge"):
        foveate.reproduce("hinet", budget="huge")
    assert foveate.run("hinet", picture, reference=str(picture))["restored"].size == (40, 40)


@pytest.mark.parametrize("given", [["--data", "Folder", "--data.root", "Folder"], ["--data=Folder", "--data.root", "Folder"]])
def test_a_data_class_is_the_systems_own(given):
    """Two systems may each have a Folder; whatever else was imported, the one that is trained gets its own."""
    from foveate.trainer import _own_data

    path = "foveate.systems.embedding.cibhash.data.Folder"
    expected = [*(["--data", path] if given[0] == "--data" else [f"--data={path}"]), "--data.root", "Folder"]
    assert _own_data(find("cibhash"), given) == expected


def test_a_packed_volume_is_found_in_a_folder_and_named_without_its_suffixes(tmp_path):
    for name in ("head.nii.gz", "other.gz", ".hidden.nii.gz"):
        (tmp_path / name).write_bytes(b"")
    found = actions.expand([str(tmp_path)], ["nii.gz"])
    assert [path.name for path in found] == ["head.nii.gz"]
    assert actions._stem(found[0]) == "head"
