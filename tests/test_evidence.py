"""How claims are measured and judged."""

import json
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from foveate import catalogue, evidence
from foveate.catalogue import Claim, find, read_card
from foveate.errors import InputError
from foveate.evidence import Measured, decide, fingerprint, interval, judge, reproduce

sys.path.insert(0, str(Path(__file__).parent / "contract"))
from lab import card, install

# ---------------------------------------------------------------------------------------------------------------------
# judging
# ---------------------------------------------------------------------------------------------------------------------

number = st.floats(-1e6, 1e6)
width = st.floats(0, 1e6)
relation = st.sampled_from(["better than", "no worse than", "equal to"])
VERDICTS = ["does not hold", "undecided", "holds"]  # from worst to best


@pytest.mark.parametrize("count", [2, 5, 40])
def test_interval_is_that_of_students_test(count):
    values = np.random.default_rng(count).normal(0.3, 2, count)
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    np.testing.assert_allclose(interval(values), [values.mean(), *expected], rtol=1e-12)


def test_interval_of_one_number_is_everything():
    assert interval([3.0]) == (3.0, -np.inf, np.inf)


@pytest.mark.parametrize(
    ("low", "high", "better", "no_worse", "equal"),
    [
        (0.2, 0.4, "holds", "holds", "does not hold"),
        (0.05, 0.4, "holds", "holds", "undecided"),
        (0.01, 0.09, "holds", "holds", "holds"),
        (-0.05, 0.05, "undecided", "holds", "holds"),
        (-0.2, 0.2, "undecided", "undecided", "undecided"),
        (-0.09, -0.01, "does not hold", "holds", "holds"),
        (-0.4, -0.05, "does not hold", "undecided", "undecided"),
        (-0.4, -0.2, "does not hold", "does not hold", "does not hold"),
        (0.0, 0.05, "undecided", "holds", "holds"),
        (-np.inf, np.inf, "undecided", "undecided", "undecided"),
    ],
)
def test_decide(low, high, better, no_worse, equal):
    """With a margin of 0.1, which "better than" does not look at."""
    assert [decide(r, low, high, 0.1) for r in ("better than", "no worse than", "equal to")] == [better, no_worse, equal]


@given(st.sampled_from(["better than", "no worse than"]), number, width, width, width)
def test_a_better_interval_gets_no_worse_verdict(relation, low, length, shift, margin):
    before, after = (decide(relation, low + s, low + length + s, margin) for s in (0, shift))
    assert VERDICTS.index(after) >= VERDICTS.index(before)


@given(relation, number, width, st.floats(0, 1), st.floats(0, 1), width)
def test_what_is_decided_stays_so_as_the_interval_narrows(relation, low, length, one, other, margin):
    verdict = decide(relation, low, low + length, margin)
    inside = sorted([low + one * length, low + other * length])
    assert verdict == "undecided" or decide(relation, *inside, margin) == verdict


CLAIM = Claim("C", "says", "relational", "", "experiment", "m", "ours", ("theirs",), "better than")


def measured(**arms: list[list[float]]) -> Measured:
    """Put numbers, by seed and test item, where `judge` looks for them."""
    return Measured({arm: {"m": dict(enumerate(values))} for arm, values in arms.items()})


def test_judge_pairs_by_seed_and_item():
    """Seeds differ by hundreds, items by tens, the arms by 0.1: only paired does it show."""
    rng = np.random.default_rng(0)
    theirs = rng.normal(0, 100, (6, 1)) + rng.normal(0, 10, (1, 4))
    ours = theirs + 0.1 + rng.normal(0, 0.01, (6, 4))
    found = judge(CLAIM, measured(ours=ours.tolist(), theirs=theirs.tolist()), "higher")
    assert found["verdict"] == "holds"
    assert found["comparisons"][0]["difference"] == pytest.approx(0.1, abs=0.01)
    np.testing.assert_allclose(found["comparisons"][0]["per_seed"], (ours - theirs).mean(1))
    assert judge(CLAIM, measured(ours=ours.tolist(), theirs=theirs.tolist()), "lower")["verdict"] == "does not hold"
    shuffled = measured(ours=ours.tolist(), theirs=theirs[[1, 2, 3, 4, 5, 0]].tolist())
    assert judge(CLAIM, shuffled, "higher")["verdict"] == "undecided"


def test_one_baseline_that_is_as_good_spoils_it():
    ours = [[1.0], [1.1], [1.2], [1.0], [1.1]]
    arms = measured(ours=ours, worse=[[0.0]] * 5, same=[[1.05], [1.05], [1.2], [1.0], [1.1]], best=[[9.0]] * 5)
    for baselines, verdict in ((("worse",), "holds"), (("worse", "same"), "undecided"), (("same", "best"), "does not hold")):
        assert judge(replace(CLAIM, baseline=baselines), arms, "higher")["verdict"] == verdict


@pytest.mark.parametrize(("seeds", "verdict", "note"), [(4, "undecided", "4 seeds; 5 are needed"), (5, "holds", "")])
def test_fewer_than_five_seeds_decide_nothing(seeds, verdict, note):
    arms = measured(ours=[[1.0 + s / 100] for s in range(seeds)], theirs=[[0.0]] * seeds)
    found = judge(CLAIM, arms, "higher")
    assert (found["verdict"], found["note"]) == (verdict, note)


def test_only_seeds_that_both_have_count():
    arms = measured(ours=[[1.0 + s / 100] for s in range(9)], theirs=[[0.0]] * 4)
    assert judge(CLAIM, arms, "higher")["comparisons"][0]["seeds"] == 4


@pytest.mark.parametrize(("spread", "verdict"), [(0.01, "holds"), (10.0, "undecided")])
def test_no_difference_found_is_no_equality(spread, verdict):
    """A mean difference of zero proves nothing if the interval is wide."""
    ours = [[spread * s] for s in (-2, -1, 0, 1, 2)]
    claim = replace(CLAIM, relation="equal to", margin=0.1)
    assert judge(claim, measured(ours=ours, theirs=[[0.0]] * 5), "higher")["verdict"] == verdict


def test_what_is_not_finite_is_undecided():
    arms = measured(ours=[[float("nan")]] * 5, theirs=[[0.0]] * 5)
    assert judge(CLAIM, arms, "higher")["verdict"] == "undecided"


def test_a_difference_that_does_not_matter_is_told():
    arms = measured(ours=[[0.01], [0.011], [0.012], [0.01], [0.011]], theirs=[[0.0]] * 5)
    found = judge(replace(CLAIM, margin=0.5), arms, "higher")
    assert (found["verdict"], found["matters"]) == ("holds", False)
    assert "less than the 0.5 that matters" in found["note"]


@pytest.mark.parametrize(
    ("target", "verdict"),
    [
        ({"equals": 3}, "holds"),
        ({"equals": 4}, "does not hold"),
        ({"within": (3, 5)}, "holds"),
        ({"within": (0, 2)}, "does not hold"),
    ],
)
def test_structural_claims_are_exact(target, verdict):
    found = judge(replace(CLAIM, kind="structural", **target), measured(ours=[[3.0]]), "higher")
    assert (found["verdict"], found["value"]) == (verdict, 3.0)


# ---------------------------------------------------------------------------------------------------------------------
# running
# ---------------------------------------------------------------------------------------------------------------------

TASKS = 6 * 4 + 1  # of lab.gradientless at the full budget: six seeds of four groups, and one count


@pytest.fixture
def log(tmp_path, monkeypatch):
    """Install the lab, keep what is measured to this test, and return the file that tells which tasks were begun."""
    (tmp_path / "site").mkdir()
    for path in install(tmp_path / "site"):
        monkeypatch.syspath_prepend(path)
    monkeypatch.setenv("PYTHONPATH", ":".join(sys.path[:2]))  # of other processes
    monkeypatch.setenv("FOVEATE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("LAB_LOG", str(tmp_path / "log"))
    catalogue._places.cache_clear()
    yield tmp_path / "log"
    catalogue._places.cache_clear()


def begun(log: Path) -> list[str]:
    """List the tasks that were begun."""
    return log.read_text().splitlines()


def measure(folder: Path, budget: str = "full", jobs: int = 1, **options) -> dict:
    """Measure lab.gradientless, in this process unless there are several jobs."""
    return reproduce(find("gradientless"), budget=budget, jobs=jobs, out=folder, **options)


def test_all_of_it(log, tmp_path):
    """Every group of every seed once; numbers, curves, pictures and verdicts in evidence.json."""
    found = measure(tmp_path)
    assert sorted(begun(log)) == sorted(
        ["counts", *(f"noise {s} {g}" for s in range(6) for g in ("three", "one", "constant", "wrong"))]
    )
    assert found == json.loads((tmp_path / "gradientless" / "evidence.json").read_text())
    verdicts = {c["id"]: c["verdict"] for c in found["claims"]}
    assert verdicts == {"C1": "holds", "C2": "holds", "C3": "holds", "C4": "needs data"}
    assert {c["baseline"] for c in found["claims"][0]["comparisons"]} == {"constant", "wrong"}
    arms = found["experiments"]["noise"]["arms"]
    assert list(arms) == ["three", "one", "constant", "wrong"]
    assert [len(items) for items in arms["three"]["error"]["per_seed"].values()] == [24] * 6
    assert set(found["experiments"]["noise"]["curves"]["three"]) == {"label", "0", "1", "2", "3", "4", "5"}
    assert sorted(found["figures"]) == ["noise.png", "noise_curves.png", "noise_pictures.png"]
    assert all((tmp_path / "gradientless" / name).stat().st_size for name in found["figures"])


def test_killed_it_goes_on_where_it_was(log, tmp_path, monkeypatch):
    monkeypatch.setenv("LAB_KILL", "3")
    command = [sys.executable, "-m", "foveate.cli", "reproduce", "gradientless", "--budget", "full", "--jobs", "1"]
    done = subprocess.run([*command, "--out", str(tmp_path / "out")], capture_output=True)
    assert done.returncode == -signal.SIGKILL
    assert len(begun(log)) == 3
    assert not (tmp_path / "out" / "gradientless" / "evidence.json").exists()
    monkeypatch.setenv("LAB_KILL", "0")
    found = measure(tmp_path / "out")
    again = [task for task in set(begun(log)) if begun(log).count(task) > 1]
    assert again == begun(log)[2:3]
    assert len(begun(log)) == TASKS + 1
    monkeypatch.setenv("FOVEATE_CACHE", str(tmp_path / "other"))
    assert measure(tmp_path / "other")["experiments"] == found["experiments"]


def test_one_claim_keeps_what_was_known_of_the_others(log, tmp_path):
    whole = measure(tmp_path)
    found = measure(tmp_path, claim="C3")
    for what in ("claims", "experiments", "figures"):
        assert found[what] == whole[what]
    assert len(begun(log)) == TASKS
    path = tmp_path / "gradientless" / "evidence.json"
    path.write_text(json.dumps({**whole, "code": "of another day"}))
    verdicts = {c["id"]: c["verdict"] for c in measure(tmp_path, claim="C3")["claims"]}
    assert verdicts == {"C1": "not measured", "C2": "not measured", "C3": "holds", "C4": "needs data"}
    with pytest.raises(InputError, match="needs the paper"):
        measure(tmp_path, claim="C4")


def test_too_few_seeds(log, tmp_path):
    found = measure(tmp_path, budget="quick")
    assert [c["verdict"] for c in found["claims"]] == ["undecided", "undecided", "holds", "needs data"]
    assert found["seeds"] == 2


def test_two_jobs_give_the_same_numbers(log, tmp_path, monkeypatch):
    from joblib.externals.loky import get_reusable_executor

    found = measure(tmp_path, seeds=2)
    monkeypatch.setenv("FOVEATE_CACHE", str(tmp_path / "other"))
    get_reusable_executor().shutdown(wait=True)  # workers that an earlier test left know nothing of the lab
    try:
        again = measure(tmp_path, seeds=2, jobs=2)
    finally:
        get_reusable_executor().shutdown(wait=True)
    assert len(begun(log)) == 2 * (2 * 4 + 1)
    assert again["experiments"] == found["experiments"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # theirs
@pytest.mark.parametrize("backend", ["dask", "ray"])
def test_a_cluster_gives_the_same_numbers(log, tmp_path, monkeypatch, backend):
    module = pytest.importorskip({"dask": "distributed"}.get(backend, backend))
    found = measure(tmp_path, seeds=1)
    monkeypatch.setenv("FOVEATE_CACHE", str(tmp_path / "other"))
    try:
        again = measure(tmp_path, seeds=1, jobs=2, backend=backend)
    finally:
        if backend == "ray":  # the local dask cluster was closed with the run
            module.shutdown()
    assert len(begun(log)) == 2 * (4 + 1)
    assert again["experiments"] == found["experiments"]


# ---------------------------------------------------------------------------------------------------------------------
# what the numbers depend on
# ---------------------------------------------------------------------------------------------------------------------


def test_fingerprint_sees_code_and_weights_and_nothing_else(tmp_path):
    folder = tmp_path / "gradientless"
    shutil.copytree(card("gradientless").folder, folder, ignore=shutil.ignore_patterns("__pycache__"))
    copy = read_card(folder, "lab.gradientless")
    path, before = folder / "method.py", fingerprint(copy)
    code = path.read_text()

    def after(text: str) -> str:
        path.write_text(text)
        return fingerprint(copy)

    assert after(code.replace('"""Keep the colours', '# said otherwise\n\n        """Save the colours')) == before
    assert after(code.replace("self.neighbours = neighbours", "self.neighbours = neighbours + 1")) != before
    assert after(code) == before
    (folder / "card.toml").write_text("")
    assert fingerprint(copy) == before
    (folder / "weights.safetensors").write_bytes(b"1")
    assert fingerprint(copy) != before
    assert evidence.fingerprint(find("hinet")) != before


def test_fingerprint_follows_imports():
    """What a system does not import may change without making its evidence old."""
    seen = {path.name for path in evidence._imported(card("awkward").folder.glob("*.py"))}
    assert {"training.py", "results.py"} <= seen
    assert not {"evidence.py", "tiling.py"} & seen
