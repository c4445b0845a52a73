"""Training that is stopped anywhere, resumed, and ends with the same numbers, bit for bit."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import random
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lightning.pytorch import Callback, Trainer

from foveate.errors import InputError
from foveate.parts import training
from foveate.parts.training import AtomicCheckpointIO, Draw, ExactResume, StepSampler, steps_done, train_loader

sys.path.insert(0, str(Path(__file__).parent))
from toy import Adversaries, Save, Toy, ToyData, checkpoints, die_writing, job, run

pytestmark = [
    # The toy's own doing: it augments in the module, and its adversaries step by hand.
    pytest.mark.filterwarnings("ignore:You have overridden `on_after_batch_transfer`"),
    pytest.mark.filterwarnings("ignore:Using ModelCheckpoint with manual optimization"),
    # A resumed run may keep its checkpoints elsewhere, or beside those of the first.
    pytest.mark.filterwarnings("ignore:The dirpath has changed from"),
    pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty"),
]


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Two busy cores, and networks of a hundred numbers."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def assert_same(a: Any, b: Any, where: str = "") -> None:
    """Compare nested states bit for bit."""
    assert type(a) is type(b), where
    if isinstance(a, dict):
        assert a.keys() == b.keys(), where
        for key in a:
            assert_same(a[key], b[key], f"{where}.{key}")
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b), where
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_same(x, y, f"{where}.{i}")
    else:
        assert torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b, where


def assert_same_end(resumed: dict[str, Any], unbroken: dict[str, Any]) -> None:
    """Compare weights and optimisers; steps that both runs saw must have had the same items."""
    for what in ("weights", "optimizers"):
        assert_same(resumed[what], unbroken[what], what)
    if resumed["seen"]:
        assert unbroken["seen"][-len(resumed["seen"]) :] == resumed["seen"]


# A stop at any step
# ---------------------------------------------------------------------------------------------------------------------

RUNS = {
    "one optimiser": {},
    "two optimisers": {"kind": Adversaries, "steps": 16},
    "accumulation": {"accumulate_grad_batches": 2, "steps": 6},
    "short epochs": {"limit_train_batches": 2},
    "validation": {"limit_val_batches": 1.0, "val_check_interval": 2},
    "validation, two optimisers": {"kind": Adversaries, "steps": 12, "limit_val_batches": 1.0},
    "validation, accumulation": {"accumulate_grad_batches": 2, "steps": 5, "limit_val_batches": 1.0, "val_check_interval": 1},
}


@pytest.mark.parametrize("name", RUNS)
def test_resumed_anywhere_it_ends_the_same(name, tmp_path):
    """From the checkpoint of every step of a run, the first and those at an epoch's end included."""
    unbroken = run(tmp_path, **RUNS[name])
    saved = checkpoints(tmp_path)
    assert len(saved) >= 5
    for path in saved[:-1]:
        assert_same_end(run(tmp_path, **RUNS[name], ckpt_path=path, save={"save_top_k": 0}), unbroken)


@pytest.mark.parametrize("options", [{}, {"kind": Adversaries, "steps": 16}, {"limit_train_batches": 2}])
def test_workers_change_nothing(options, tmp_path):
    unbroken = run(tmp_path / "unbroken", **options)
    with_workers = {**options, "data": {"workers": 2}}
    assert_same_end(run(tmp_path, **with_workers), unbroken)
    for path in checkpoints(tmp_path)[0:6:2]:
        assert_same_end(run(tmp_path, **with_workers, ckpt_path=path, save={"save_top_k": 0}), unbroken)


@pytest.mark.parametrize("after_validation", [False, True])
def test_resumed_from_the_end_of_an_epoch(after_validation, tmp_path):
    """Where ModelCheckpoint saves by default."""
    options = {"limit_val_batches": 1.0 if after_validation else 0}
    save = {"every_n_train_steps": None, "every_n_epochs": 1, "save_on_train_epoch_end": not after_validation}
    unbroken = run(tmp_path, save=save, **options)
    saved = checkpoints(tmp_path)
    assert [path.stem for path in saved][:2] == ["step=3", "step=6"]
    for path in saved[:2]:
        assert_same_end(run(tmp_path, save={**save, "save_top_k": 0}, ckpt_path=path, **options), unbroken)


def test_resumed_between_accumulated_batches(tmp_path):
    """The gradients gathered so far are in the checkpoint."""
    options = {"accumulate_grad_batches": 3, "steps": 4, "data": {"length": 20}}
    unbroken = run(tmp_path / "unbroken", callbacks=(Save(tmp_path),), **options)
    saved = checkpoints(tmp_path)
    assert ["gradients" in torch.load(path, weights_only=True) for path in saved[:6]] == [True, True, False, True, False, True]
    for path in saved:
        assert_same_end(run(tmp_path / "resumed", ckpt_path=path, save={"save_top_k": 0}, **options), unbroken)


@pytest.mark.parametrize("options", [{}, {"accumulate_grad_batches": 2, "steps": 6}])
def test_a_relay_of_single_steps_ends_the_same(options, tmp_path):
    """Stopped by an error after every batch, and resumed from what ModelCheckpoint kept last: a resumed run resumes as well."""

    class Fail(Callback):
        def __init__(self, stop: int) -> None:
            self.stop = stop

        def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
            if steps_done(trainer) == self.stop:
                raise RuntimeError("stop here")

    unbroken = run(tmp_path / "unbroken", **options)
    save = {"save_last": True, "save_top_k": 1, "enable_version_counter": False}
    last = tmp_path / "last.ckpt"
    for stop in range(2, 20):
        try:
            end = run(tmp_path, callbacks=(Fail(stop),), save=save, ckpt_path=last if last.exists() else None, **options)
            break
        except RuntimeError as error:
            assert str(error) == "stop here"
    assert_same_end(end, unbroken)


# kill -9, Ctrl-C
# ---------------------------------------------------------------------------------------------------------------------


def start(folder: Path, result: str, environment: dict[str, str] | None = None, **options: Any) -> multiprocessing.Process:
    """Start a `toy.job`; the heavy imports are done once for all."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["foveate.parts.training"])
    process = context.Process(target=job, args=(folder, result, environment or {}), kwargs=options)
    process.start()
    return process


def end_of(process: multiprocessing.Process) -> int | None:
    """Wait for the exit status; a process that hangs is killed in the end, with all that it started."""
    process.join(120)
    if process.is_alive():
        os.killpg(process.pid, signal.SIGKILL)
        process.join()
    return process.exitcode


def wait_for(process: multiprocessing.Process, happened) -> None:
    """Wait until something has happened in a process that goes on."""
    while not happened():
        assert process.is_alive(), "it ended too soon"
        time.sleep(0.005)


def test_killed_at_random_times_it_ends_the_same(tmp_path):
    """With workers, validation and accumulation; resumed as a user would, from the last checkpoint there is."""
    options = {
        "steps": 30, "accumulate_grad_batches": 2, "limit_val_batches": 1.0, "data": {"workers": 2},
        "save": {"save_last": True, "save_top_k": 1},
    }  # fmt: skip
    for _ in range(3):
        before = set(tmp_path.glob("step=*.ckpt"))
        process = start(tmp_path, "never", **options, model={"pause": 0.1}, ckpt_path="last" if before else None)
        wait_for(process, lambda: set(tmp_path.glob("step=*.ckpt")) - before)  # noqa: B023
        time.sleep(random.uniform(0, 0.5))
        os.kill(process.pid, signal.SIGKILL)
        assert end_of(process) == -signal.SIGKILL
    end = run(tmp_path, **{**options, "save": {"save_last": True, "save_top_k": 0}}, ckpt_path="last")
    unbroken = run(tmp_path / "unbroken", **options)
    assert len(end["seen"]) < len(unbroken["seen"])
    assert_same_end(end, unbroken)


def test_ctrl_c_finishes_the_step_and_saves(tmp_path):
    """A terminal sends it to the whole process group, the data workers included."""
    options = {"steps": 20, "accumulate_grad_batches": 2, "data": {"workers": 2}}
    process = start(tmp_path, "never", **options, model={"pause": 0.2})
    wait_for(process, lambda: checkpoints(tmp_path))
    os.killpg(process.pid, signal.SIGINT)
    assert end_of(process) == 1
    end = run(tmp_path, **options, ckpt_path=tmp_path / "interrupted.ckpt", save={"save_top_k": 0})
    assert 0 < len(end["seen"]) < 40
    assert_same_end(end, run(tmp_path / "unbroken", **options))


class Press(Callback):
    """Press Ctrl-C in the third step."""

    def __init__(self, times: int) -> None:
        self.times = times

    def on_train_batch_start(self, trainer: Trainer, module: Toy, batch: Any, index: int) -> None:
        if len(module.seen) == 2:
            for _ in range(self.times):
                signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_twice_stops_at_once(times, tmp_path, capfd):
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(SystemExit):
        run(tmp_path, callbacks=(Press(times),))
    assert signal.getsignal(signal.SIGINT) is handler
    assert len(checkpoints(tmp_path)) == 2
    assert (tmp_path / "interrupted.ckpt").exists() == (times == 1)
    assert "stopping after this step" in capfd.readouterr().out
    if times == 1:
        end = run(tmp_path / "resumed", ckpt_path=tmp_path / "interrupted.ckpt", save={"save_top_k": 0})
        assert len(end["seen"]) == 5


def test_ctrl_c_is_given_back_after_an_error(tmp_path):
    class Fail(Callback):
        def on_train_batch_end(self, *_: Any) -> None:
            assert signal.getsignal(signal.SIGINT) != handler
            raise RuntimeError("stop here")

    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(RuntimeError, match="stop here"):
        run(tmp_path, callbacks=(Fail(),))
    assert signal.getsignal(signal.SIGINT) is handler


def test_an_interrupted_write_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"step": 1}, path)
    whole = torch.save

    def half(content: Any, file: Any) -> None:
        whole(content, file)
        file.truncate(file.tell() // 2)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", half)
    with pytest.raises(OSError, match="No space"):
        AtomicCheckpointIO().save_checkpoint({"step": 2}, path)
    assert AtomicCheckpointIO().load_checkpoint(path) == {"step": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["last.ckpt"]

    monkeypatch.setattr(torch, "save", whole)
    process = multiprocessing.get_context("forkserver").Process(target=die_writing, args=(path,))
    process.start()
    assert end_of(process) == -signal.SIGKILL
    assert len(list(tmp_path.iterdir())) == 2
    assert AtomicCheckpointIO().load_checkpoint(path) == {"step": 1}
    AtomicCheckpointIO().save_checkpoint({"step": 3}, path)
    assert AtomicCheckpointIO().load_checkpoint(path) == {"step": 3}
    assert [p.name for p in tmp_path.iterdir()] == ["last.ckpt"], "what the killed run left is used up"


def test_a_checkpoint_is_an_ordinary_file(tmp_path):
    """Colleagues may read it if they may read other files of ours."""
    AtomicCheckpointIO().save_checkpoint({}, tmp_path / "new" / "a.ckpt")
    (tmp_path / "other").touch()
    assert (tmp_path / "new" / "a.ckpt").stat().st_mode == (tmp_path / "other").stat().st_mode


# Several processes
# ---------------------------------------------------------------------------------------------------------------------


def start_pair(folder: Path, **options: Any) -> list[multiprocessing.Process]:
    """Start two processes of one distributed training, with the environment that Lightning's launcher or torchrun sets."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "NODE_RANK": "0"}
    options = {"strategy": "ddp", "devices": 2, **options}
    return [start(folder, f"{rank}.pt", {**common, "LOCAL_RANK": str(rank)}, **options) for rank in (0, 1)]


def results(folder: Path, pair: list[multiprocessing.Process]) -> list[dict[str, Any]]:
    """Wait for both to end, and read what they left."""
    for process in pair:
        assert end_of(process) == 0
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in (0, 1)]


def test_two_processes_share_every_batch(tmp_path):
    """And end up where one process with the doubled batch does, if nothing is drawn in the step."""
    options = {"model": {"quiet": True}, "save": {"save_top_k": 0}, "steps": 6}
    alone = run(tmp_path, **options, data={"length": 24, "batch_size": 8})
    one, two = results(tmp_path, start_pair(tmp_path, **options, data={"length": 24, "batch_size": 4}))
    assert_same(one["weights"], two["weights"])
    for mine, others, all_ in zip(one["seen"], two["seen"], alone["seen"], strict=True):
        assert not set(mine) & set(others)
        assert sorted(mine + others) == all_
    for name, value in alone["weights"].items():
        torch.testing.assert_close(one["weights"][name], value, rtol=0, atol=1e-5)


def test_two_processes_stop_together_and_resume(tmp_path):
    """Ctrl-C may reach them in different steps, or only one of them."""
    unbroken = results(tmp_path, start_pair(tmp_path, steps=30, save={"save_top_k": 0}))
    assert unbroken[0]["seen"] != unbroken[1]["seen"]
    pair = start_pair(tmp_path, steps=30, model={"pause": 0.1})
    wait_for(pair[0], lambda: checkpoints(tmp_path))
    os.kill(pair[0].pid, signal.SIGINT)
    for process in pair:
        assert end_of(process) == 1
    resumed = start_pair(tmp_path, steps=30, save={"save_top_k": 0}, ckpt_path=tmp_path / "interrupted.ckpt")
    for end, whole in zip(results(tmp_path, resumed), unbroken, strict=True):
        assert 0 < len(end["seen"]) < 30
        assert_same(end["weights"], whole["weights"])


def test_two_processes_resume_between_accumulated_batches(tmp_path):
    """The one checkpoint holds the mean of their gradients, so they go on as they would have but for rounding."""
    options = {
        "model": {"quiet": True}, "data": {"length": 64}, "save": {"save_top_k": 0}, "steps": 3, "accumulate_grad_batches": 2,
    }  # fmt: skip
    unbroken = results(tmp_path, start_pair(tmp_path, callbacks=(Save(tmp_path),), **options))
    resumed = results(tmp_path, start_pair(tmp_path, ckpt_path=tmp_path / "step=3.ckpt", **options))
    assert len(resumed[0]["seen"]) == 3
    assert_same(resumed[0]["weights"], resumed[1]["weights"])
    for name, value in unbroken[0]["weights"].items():
        torch.testing.assert_close(resumed[0]["weights"][name], value, rtol=0, atol=1e-5)


# The sampler
# ---------------------------------------------------------------------------------------------------------------------


def sampler(length: int, batch: int, seed: int, step: int = 0, replicas: int = 1, rank: int = 0) -> StepSampler:
    """Make a sampler that starts at a step."""
    made = StepSampler(length, batch, seed, lambda: step)
    made.num_replicas, made.rank = replicas, rank
    made.steps_per_epoch = -(-length // (batch * replicas))
    return made


def take(made: StepSampler, steps: int) -> list[list[Draw]]:
    """Take some batches."""
    stream = iter(made)
    return [list(itertools.islice(stream, made.batch_size)) for _ in range(steps)]


settings_of_a_sampler = {
    "length": st.integers(1, 40),
    "batch": st.integers(1, 12),
    "seed": st.integers(0, 2**32 - 1),
    "step": st.integers(0, 100),
    "replicas": st.integers(1, 3),
}


@settings(deadline=None)
@given(**settings_of_a_sampler)
def test_the_stream_does_not_depend_on_where_it_starts(length, batch, seed, step, replicas):
    for rank in range(replicas):
        whole = take(sampler(length, batch, seed, 0, replicas, rank), step + 5)
        assert take(sampler(length, batch, seed, step, replicas, rank), 5) == whole[step:]


@settings(deadline=None)
@given(**settings_of_a_sampler)
def test_an_epoch_covers_every_item_and_processes_share_it(length, batch, seed, step, replicas):
    alone = sampler(length, batch * replicas, seed)
    epoch = take(alone, alone.steps_per_epoch)
    assert {draw.index for each in epoch for draw in each} == set(range(length))
    assert {draw.epoch for each in epoch for draw in each} == {0}
    assert len(alone) == alone.steps_per_epoch * batch * replicas
    start = step % alone.steps_per_epoch
    shares = [take(sampler(length, batch, seed, start, replicas, rank), 1)[0] for rank in range(replicas)]
    assert list(itertools.chain(*shares)) == epoch[start]


def test_epochs_and_seeds_differ():
    first = take(sampler(50, 50, 0), 2)
    assert [draw.index for draw in first[0]] != [draw.index for draw in first[1]]
    assert [draw.index for draw in first[0]] != [draw.index for draw in take(sampler(50, 50, 1), 1)[0]]
    draws = [Draw(i, seed, epoch).generator().random() for i in range(3) for seed in range(3) for epoch in range(3)]
    assert len(set(draws)) == 27


def test_nothing_to_train_on():
    with pytest.raises(InputError, match="ToyData: there is nothing to train on"):
        train_loader(ToyData(), torch.utils.data.TensorDataset(torch.zeros(0)), 4, 0)


def test_workers_leave_ctrl_c_alone():
    class Disposition(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return 2

        def __getitem__(self, _: Draw) -> bool:
            return signal.getsignal(signal.SIGINT) is signal.SIG_IGN

    assert next(iter(train_loader(ToyData(), Disposition(), 2, 0, num_workers=1))).tolist() == [True, True]


def test_validation_draws_alike_every_time():
    trainer = Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        callbacks=[ExactResume()], num_sanity_val_steps=0,
    )  # fmt: skip
    with training._silenced():
        one, two = (trainer.validate(Toy(), ToyData(), verbose=False) for _ in range(2))
    assert one == two


def test_another_seed_trains_otherwise(tmp_path):
    def end(seed: int) -> torch.Tensor:
        made = Toy()
        training.fit(made, ToyData(), 3, seed=seed, accelerator="cpu", limit_val_batches=0)
        return torch.cat([p.detach().flatten() for p in made.parameters()])

    assert torch.equal(end(0), end(0))
    assert not torch.equal(end(0), end(1))


def test_generators_are_seeded_per_rank_and_step():
    """Of Python, NumPy and PyTorch alike."""
    seen = set()
    for rank, step in itertools.product(range(2), range(3)):
        training.seed_generators(0, rank, 0, step)
        seen.add((random.random(), np.random.rand(), torch.rand(()).item()))  # noqa: NPY002
    assert [len(set(column)) for column in zip(*seen, strict=True)] == [6, 6, 6]
