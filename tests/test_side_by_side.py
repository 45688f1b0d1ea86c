"""Pieces of work side by side: their order, their threads, their errors, and what they must leave as it was."""

import multiprocessing
import threading

import pytest
import torch

from hftrainer.models.side_by_side import ROWS, groups, side_by_side


@pytest.fixture(params=[1, 2, 4])
def threads(request):
    """So many threads of torch's, and afterwards as many as there were."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def test_order_threads_and_what_is_left(threads):
    met = threading.Barrier(min(2, threads))

    def work(part):
        met.wait(timeout=20)  # as many at a time as there are threads, or nobody would come
        return part, torch.get_num_threads(), torch.is_grad_enabled()

    found = side_by_side(work, [5, 6])
    assert [part for part, _, _ in found] == [5, 6]
    assert {share for _, share, _ in found} == {max(1, threads // 2)} and not any(grad for *_, grad in found)
    assert torch.get_num_threads() == threads and torch.is_grad_enabled()
    seen = []
    later = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    later.start()
    later.join()
    assert seen == [threads], "threads that begin later get what they would have got"


def test_work_inside_of_work_does_not_wait_for_itself(threads):
    found = side_by_side(lambda a: sum(side_by_side(lambda b: a * b, [1, 2, 3])), [1, 2, 3, 4])
    assert found == [6, 12, 18, 24]


def test_an_error_comes_out(threads):
    def work(part):
        if part == 2:
            raise ValueError("two must not be.")
        return part

    with pytest.raises(ValueError, match="two must not be"):
        side_by_side(work, [1, 2, 3])
    assert side_by_side(work, [1, 3]) == [1, 3]


def _in_a_child(queue):
    queue.put(side_by_side(lambda part: part + 1, [1, 2, 3]))


def test_a_forked_process_has_threads_of_its_own():
    side_by_side(lambda part: part, [1, 2, 3])
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_in_a_child, args=(queue,))
    child.start()
    assert queue.get(timeout=60) == [2, 3, 4]
    child.join()


@pytest.mark.parametrize("sequences, rows", [(1, 10), (2, 197), (16, 197), (96, 61), (3, 2 * ROWS)])
def test_groups_hold_every_sequence_once_and_fit(threads, sequences, rows):
    found = groups(sequences, rows)
    assert [at for part in found for at in range(sequences)[part]] == list(range(sequences))
    assert all(part.stop - part.start == 1 or (part.stop - part.start) * rows <= ROWS for part in found)
    assert len(found) >= min(sequences, threads)
