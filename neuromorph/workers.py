"""Workers: one function, many tasks, as many side by side as there is room for.

Tasks go to processes of this machine or to the workers of a Dask cluster.  Results come in
the order of the tasks, so they do not depend on who made them; a task whose worker was
killed is done again by another.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any

from neuromorph.errors import MissingDependencyError, SimulationError

__all__ = ["ALONE", "Workers"]

LIVES = 3  # how often a task may take its worker along
WAIT_S = 20  # for an answer of a scheduler


@dataclass(frozen=True, slots=True, kw_only=True)
class Workers:
    """Who does the work.

    Parameters
    ----------
    jobs : int, optional
        Processes of this machine; left out, one for each processor.  With 1 the work is done
        where it is asked for.
    cluster : str, optional
        Address of a Dask scheduler (``tcp://HOST:PORT``), instead of processes.

    Raises
    ------
    SimulationError
        jobs below 1, or together with a cluster.

    Examples
    --------
    >>> list(Workers(jobs=1).each(abs, [-1, -2]))
    [1, 2]
    """

    jobs: int | None = None
    cluster: str | None = None

    def __post_init__(self) -> None:
        if self.jobs is not None and self.jobs < 1:
            raise SimulationError(f"jobs is {self.jobs}; it must be at least 1")
        if self.jobs is not None and self.cluster is not None:
            raise SimulationError(
                f"jobs is {self.jobs} and the cluster {self.cluster!r}; give one of them"
            )

    @property
    def alone(self) -> bool:
        """Whether the work is done in this process."""
        return self.cluster is None and self._processes == 1

    @property
    def _processes(self) -> int:
        return self.jobs or os.cpu_count() or 1

    def each(self, function: Callable[[Any], Any], tasks: Iterable[Any]) -> Iterator[Any]:
        """Results of a function of a module, one a task, in the order of the tasks.

        Tasks are taken as they are needed and a few of them are held; they and the results
        are pickled, unless the work is done here.

        Raises
        ------
        MissingDependencyError
            A cluster without the extra ``cluster``.
        SimulationError
            No scheduler at the address, or a task that killed its worker three times.
        """
        if self.cluster is not None:
            return _on_cluster(function, iter(tasks), self.cluster)
        if self.alone:
            return map(function, tasks)
        return _in_processes(function, iter(tasks), self._processes)


ALONE = Workers(jobs=1)


def _in_processes(function: Callable[[Any], Any], tasks: Iterator[Any], jobs: int) -> Iterator[Any]:
    """Tasks in processes; a killed one takes the pool along, so another pool goes on."""
    waiting: deque[Any] = deque()
    lives, idle = LIVES, False
    while True:
        pool = ProcessPoolExecutor(jobs, mp_context=get_context("spawn"))
        try:
            futures = deque(pool.submit(function, task) for task in waiting)
            while True:
                while len(waiting) < 2 * jobs:
                    try:
                        waiting.append(next(tasks))
                    except StopIteration:
                        break
                    futures.append(pool.submit(function, waiting[-1]))
                if not waiting:
                    idle = True
                    return
                result = futures[0].result()
                futures.popleft()
                waiting.popleft()
                lives = LIVES
                yield result
        except BrokenProcessPool:
            lives -= 1
            if not lives:
                raise SimulationError(_killed("a process")) from None
        finally:
            # who gives up does not wait for what is still running
            pool.shutdown(wait=idle, cancel_futures=True)


def _on_cluster(
    function: Callable[[Any], Any], tasks: Iterator[Any], address: str
) -> Iterator[Any]:
    try:
        from distributed import Client, KilledWorker
    except ImportError:
        raise MissingDependencyError(
            "a cluster needs Dask, which is not installed; run: pip install 'neuromorph[cluster]'"
        ) from None
    try:
        client = Client(address, timeout=WAIT_S)
    except (OSError, TimeoutError, ValueError) as error:
        raise SimulationError(
            f"no Dask scheduler answers at {address!r}: {error or type(error).__name__}"
        ) from None
    with closing(client):
        futures: deque[Any] = deque()
        while True:
            room = 2 * max(1, sum(client.nthreads().values()))  # workers come and go
            while len(futures) < room:
                try:
                    task = next(tasks)
                except StopIteration:
                    break
                # a task whose worker dies goes to another one
                futures.append(client.submit(function, task, pure=False))
            if not futures:
                return
            try:
                result = futures.popleft().result()
            except KilledWorker:
                raise SimulationError(_killed("a worker of the cluster")) from None
            yield result


def _killed(what: str) -> str:
    return (
        f"a task lost {what} again and again, as one that needs more memory than there is would; "
        "use fewer jobs, or a machine with more memory"
    )
