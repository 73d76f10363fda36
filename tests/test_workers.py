"""Workers: results in the order of the tasks, whoever does them and whoever is killed."""

import os
import signal
import time
from pathlib import Path

import pytest

from neuromorph.errors import LevelError, MissingDependencyError, SimulationError
from neuromorph.workers import ALONE, Workers


def square(task):
    """Small tasks take longest, so the last are done first."""
    time.sleep(0.02 * (5 - task % 5))
    return task, task * task


def killed_once(task):
    """The first one to find the file takes it and dies."""
    number, file = task
    if number == 3:
        try:
            Path(file).unlink()
        except FileNotFoundError:
            return number
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def killed(task):
    os.kill(os.getpid(), signal.SIGKILL)


def refuse(task):
    raise LevelError(f"no {task}")


@pytest.fixture(scope="module")
def cluster():
    distributed = pytest.importorskip("distributed", reason="needs Dask (extra cluster)")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None
    ) as local:
        yield Workers(cluster=local.scheduler_address)


@pytest.fixture(params=["processes", "cluster"])
def several(request):
    return Workers(jobs=2) if request.param == "processes" else request.getfixturevalue("cluster")


def test_results_come_in_the_order_of_the_tasks(several):
    wanted = [square(task) for task in range(12)]
    assert list(ALONE.each(square, range(12))) == wanted
    assert list(several.each(square, range(12))) == wanted
    assert list(several.each(square, [])) == []


def test_tasks_are_taken_as_they_are_needed(several):
    taken = []
    found = several.each(square, (taken.append(n) or n for n in range(100)))
    assert next(found) == (0, 0)
    found.close()
    assert len(taken) < 20


def test_a_killed_worker_loses_nothing(several, tmp_path):
    file = tmp_path / "alive"
    file.touch()
    assert list(several.each(killed_once, [(n, str(file)) for n in range(6)])) == list(range(6))
    assert not file.exists()


def test_a_task_that_always_kills_is_named(several):
    with pytest.raises(SimulationError, match=r"a task lost a .* again and again, as one that"):
        list(several.each(killed, [1]))


def test_what_a_task_raises_is_raised(several):
    with pytest.raises(LevelError, match="no 7"):
        list(several.each(refuse, [7]))


def test_numbers_that_make_no_sense():
    with pytest.raises(SimulationError, match="jobs is 0; it must be at least 1"):
        Workers(jobs=0)
    with pytest.raises(SimulationError, match="jobs is 2 and the cluster 'tcp://x:1'; give one"):
        Workers(jobs=2, cluster="tcp://x:1")


def test_a_scheduler_that_is_not_there(monkeypatch):
    pytest.importorskip("distributed", reason="needs Dask (extra cluster)")
    monkeypatch.setattr("neuromorph.workers.WAIT_S", 2)
    with pytest.raises(SimulationError, match="no Dask scheduler answers at 'tcp://"):
        list(Workers(cluster="tcp://127.0.0.1:1").each(square, [1]))


def test_a_cluster_without_dask(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "distributed", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'neuromorph\[cluster\]'"):
        list(Workers(cluster="tcp://127.0.0.1:1").each(square, [1]))
