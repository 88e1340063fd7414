"""Threads for what waits, and how one that fails ends the others."""

from __future__ import annotations

import threading

import pytest

from imager.support.errors import InputError
from imager.support.workers import Cancel, CancelledError, OnceEach, Work, worker_pool


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


def test_cancelled_work_ends_at_the_next_check_and_reports_nothing() -> None:
    told: list[int] = []
    work = Work(told.append)
    work.check()
    work.advance(3)
    work.cancel.set()
    work.advance(4)
    with pytest.raises(CancelledError):
        work.check()
    assert told == [3]


def test_an_outer_token_ends_the_work_and_not_the_other_way_round() -> None:
    outer = Cancel()
    first, second = Work(cancel=outer), Work(cancel=outer)
    first.cancel.set()
    second.check()
    outer.set()
    with pytest.raises(CancelledError):
        second.check()


def test_what_several_threads_need_is_made_once_and_again_after_an_error() -> None:
    made: list[str] = []
    both = threading.Barrier(2)

    def make(key: str) -> int:
        made.append(key)
        if len(made) == 1:
            raise InputError("not yet")
        return len(made)

    values = OnceEach(make)
    with pytest.raises(InputError):
        values.get("a")

    def do(_: int) -> int:
        both.wait(5)
        return values.get("a")

    assert Work().run(do, range(2), jobs=2, what="threads") == [2, 2]
    assert values.get("b") == 3
    assert made == ["a", "a", "b"]


def test_results_are_in_the_order_of_the_items() -> None:
    later = threading.Event()

    def do(number: int) -> int:
        if number == 0:
            later.wait(5)
        later.set()
        return number * 2

    assert Work().run(do, range(4), jobs=2, what="numbers") == [0, 2, 4, 6]


def test_lasting_errors_are_reported_together_and_others_end_the_work() -> None:
    done: list[int] = []

    def do(number: int) -> None:
        if number % 2:
            raise InputError(f"{number} is odd")
        done.append(number)

    with pytest.raises(InputError, match="2 numbers failed:\n  1 is odd\n  3 is odd"):
        Work().run(do, range(5), jobs=2, what="numbers", lasting=(InputError,))
    assert sorted(done) == [0, 2, 4]
    work = Work()
    with pytest.raises(InputError, match="1 is odd"):
        work.run(do, [1, *range(2, 99, 2)], jobs=1, what="numbers")
    with pytest.raises(CancelledError):
        work.check()
