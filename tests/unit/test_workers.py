"""Threads for what waits, and how one that fails ends the others."""

from __future__ import annotations

import threading

import pytest

from imager.support.workers import SharedProgress, worker_pool


def test_a_block_that_ends_waits_for_all() -> None:
    done: list[int] = []
    with worker_pool(2, "test") as pool:
        for number in range(10):
            pool.submit(done.append, number)
    assert sorted(done) == list(range(10))


def test_a_block_that_fails_drops_what_waits_and_leaves_what_runs() -> None:
    running, released, waiting = (threading.Event() for _ in range(3))

    def hold() -> None:
        running.set()
        released.wait(5)

    with pytest.raises(ValueError, match="failed"), worker_pool(1, "test") as pool:
        held = pool.submit(hold)
        dropped = pool.submit(waiting.set)
        running.wait(60)
        raise ValueError("failed")
    assert held.running()
    assert dropped.cancelled()
    released.set()
    held.result(60)
    assert not waiting.is_set()


def test_progress_is_told_until_it_is_stopped() -> None:
    told: list[int] = []
    progress = SharedProgress(told.append)
    progress.advance(3)
    progress.stop()
    with pytest.raises(Exception, match=r"^$"):
        progress.advance(4)
    assert told == [3]
