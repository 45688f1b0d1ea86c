"""Worker processes outlive an interrupt that is meant for the program, and begin nothing once it has stopped."""

import os
import signal
import time

import pytest

from hftrainer.data.pool import processes


def test_an_idle_worker_ignores_ctrl_c():
    with processes(1) as pool:
        worker = pool.submit(os.getpid).result()
        os.kill(worker, signal.SIGINT)
        assert pool.submit(os.getpid).result() == worker != os.getpid()


def test_work_that_was_not_begun_is_dropped():
    waiting = []
    with pytest.raises(KeyboardInterrupt), processes(1) as pool:
        waiting += [pool.submit(time.sleep, 0.05) for _ in range(40)]
        raise KeyboardInterrupt
    assert sum(future.cancelled() for future in waiting) > 30


def test_each_process_is_prepared():
    with processes(1, os.putenv, ("HFTRAINER_PREPARED", "yes"), method="spawn") as pool:
        assert pool.submit(os.system, 'test "$HFTRAINER_PREPARED" = yes').result() == 0
