"""The skeleton of a system: correct, instructive, and nowhere finished."""

import importlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from foveate import catalogue
from foveate.cli import main
from foveate.errors import InputError
from foveate.skeleton import LONGEST, WINGS, create

REPOSITORY = Path(__file__).parents[1]
FILES = ["__init__.py", "card.toml", "data.py", "examples.py", "method.py", "reproduce.py", "run.py", "train.py"]


@pytest.fixture
def tree(tmp_path) -> Path:
    """A source tree with one wing."""
    shutil.copy(REPOSITORY / "pyproject.toml", tmp_path)
    (tmp_path / "src/foveate/systems/restoration").mkdir(parents=True)
    for package in ("foveate", "foveate/systems", "foveate/systems/restoration"):
        (tmp_path / "src" / package / "__init__.py").write_text('"""Kept."""\n')
    return tmp_path


def files(tree: Path) -> set[str]:
    return {str(path.relative_to(tree)) for path in tree.rglob("*") if "ruff_cache" not in str(path)}


def test_what_is_written(tree, capsys):
    """In a wing that there is, and in one that is new."""
    before = files(tree)
    assert main(["new", "2105.99999", "dummy", "--wing", "restoration", "--root", str(tree)]) == 0
    said = capsys.readouterr()
    assert "foveate check dummy" in said.err
    folder = tree / "src/foveate/systems/restoration/dummy"
    assert sorted(path.name for path in folder.iterdir()) == FILES
    written = files(tree) - before - {"tests", "tests/systems", "src/foveate/systems/restoration/dummy"}
    assert {str(Path(line).relative_to(tree)) for line in said.out.splitlines()} == written
    assert (folder.parent / "__init__.py").read_text() == '"""Kept."""\n'
    made = create("cs/0501001", "other", "fields", tree)
    assert made[-1].read_text() == f'"""{WINGS["fields"]}"""\n'
    assert all(path.is_file() for path in made)
    assert "tests/systems/test_other.py" in files(tree)


def test_written_files_pass_the_linters(tree):
    """Names that would be too long, or that the skeleton itself uses, included."""
    pytest.importorskip("ruff")
    for i, slug in enumerate(["a", "training", "picture", "x" * LONGEST, f"{'long_' * 6}x"]):
        create("math.GT/0501002", slug, list(WINGS)[i], tree)
    for command in (["check"], ["format", "--diff"]):
        done = subprocess.run([sys.executable, "-m", "ruff", *command, "."], cwd=tree, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout


@pytest.fixture
def dummy(tree, monkeypatch):
    """A skeleton that belongs to foveate for the time of a test."""
    import foveate.systems.restoration as wing

    create("2105.99999", "dummy", "restoration", tree)
    monkeypatch.setattr(wing, "__path__", [*wing.__path__, str(tree / "src/foveate/systems/restoration")])
    monkeypatch.setattr(catalogue, "HOME", tree / "src/foveate")
    catalogue._places.cache_clear()
    yield tree / "src/foveate/systems/restoration/dummy"
    catalogue._places.cache_clear()
    for name in [n for n in sys.modules if n.startswith("foveate.systems.restoration.dummy")]:
        del sys.modules[name]
    vars(wing).pop("dummy", None)


def test_check_names_what_is_missing(dummy, capsys):
    """File by file; and every check fails."""
    assert main(["check", "dummy"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert all(line.startswith("FAIL ") for line in lines)
    assert {line.split()[1] for line in lines} == set("123456")
    for empty in ("title is empty", "summary is empty", "authors is empty", "claim C1: says nothing", "data folders: says"):
        assert empty in lines[0]
    for name in FILES[2:]:
        assert f"{name} is not written yet: " in lines[1]


def test_it_imports(dummy):
    package = "foveate.systems.restoration.dummy"
    assert importlib.import_module(package).__all__ == ["Dummy"]
    for name in FILES[2:]:
        assert importlib.import_module(f"{package}.{name[:-3]}").__doc__


@pytest.mark.parametrize(
    ("arxiv", "slug", "wing", "says"),
    [
        ("2105.1", "dummy", "restoration", "2105.1: is no arXiv number"),
        ("2105.99999v2", "dummy", "restoration", "without its version"),
        ("2105.99999", "Dummy", "restoration", "Dummy: cannot be a system's name"),
        ("2105.99999", "3d", "restoration", "3d: cannot be"),
        ("2105.99999", "lambda", "restoration", "lambda: cannot be"),
        ("2105.99999", "../up", "restoration", "../up: cannot be"),
        ("2105.99999", "x" * (LONGEST + 1), "restoration", f"{LONGEST} characters at most"),
        ("2105.99999", "dummy", "restauration", "perhaps restoration"),
        ("2105.99999", "dummy", "zzz", "one of fields, synthesis"),
        ("2105.99999", "hinet", "clinic", "hinet: is taken"),
    ],
)
def test_wrong_arguments(tree, arxiv, slug, wing, says):
    before = files(tree)
    with pytest.raises(InputError) as caught:
        create(arxiv, slug, wing, tree)
    assert says in str(caught.value)
    assert files(tree) == before


def test_no_source_tree(tmp_path):
    with pytest.raises(InputError, match="is no source tree of foveate"):
        create("2105.99999", "dummy", "restoration", tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("there", ["src/foveate/systems/restoration/dummy/notes", "tests/systems/test_dummy.py"])
def test_nothing_is_overwritten(tree, there):
    (tree / there).parent.mkdir(parents=True)
    (tree / there).write_text("mine")
    before = files(tree)
    with pytest.raises(InputError, match=r"is taken: there is .*dummy"):
        create("2105.99999", "dummy", "restoration", tree)
    assert files(tree) == before


@pytest.mark.parametrize("survived", range(3))
def test_nothing_is_left_half_written(tree, monkeypatch, survived):
    """Whichever of the three renames fails: the wing's package, the test, or the system's folder."""
    before, rename, done = files(tree), Path.rename, []

    def fail(self: Path, target: Path) -> Path:
        if len(done) == survived:
            raise OSError(28, "No space left on device")
        done.append(target)
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(InputError, match="No space left"):
        create("2105.99999", "dummy", "clinic", tree)
    assert files(tree) == before
