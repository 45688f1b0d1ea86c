"""The queue of a server: order, passes that several share, progress, cancelling, and what a mistake does to it."""

import threading
import time

import numpy as np
import pytest

from hftrainer.errors import GenerationError
from hftrainer.motion import Motion
from hftrainer.serving.jobs import MISTAKE, Job, Jobs, Row
from hftrainer.serving.limits import Limits
from hftrainer.serving.refusals import Refusal


class Pipe:
    """A pipeline that notes what it was asked, and goes on step by step when it is let."""

    def __init__(self, steps=3):
        self.steps, self.asked, self.say = steps, [], None
        self.go, self.stepped = threading.Event(), threading.Event()
        self.go.set()

    def attempts(self, prompts, frames=None, *, seed, **settings):
        self.asked.append((list(prompts), frames, list(seed), settings))
        for step in range(self.steps):
            self.say(f"denoising, step {step + 1} of {self.steps}, motions 1 to {len(prompts)} of {len(prompts)}")
            self.stepped.set()
            assert self.go.wait(20)
        if "broken" in prompts:
            raise KeyError("no such thing")
        if "too much" in prompts:
            raise ValueError("prompt 0: frames must be fewer. Ask for less.")
        return [
            GenerationError(f"prompt {at}: no motion came.") if prompt == "nothing" else still(prompt, one)
            for at, (prompt, one) in enumerate(zip(prompts, seed, strict=True))
        ]


def still(prompt, seed):
    return Motion(np.zeros((4, 22, 3)), "joints", 20, about={"prompt": prompt, "seed": seed})


@pytest.fixture
def pipe():
    return Pipe()


@pytest.fixture
def jobs(pipe):
    queue = Jobs(lambda name: pipe, lambda job, result: result, Limits(queue=5, together=4))
    yield queue
    pipe.go.set()
    queue.close()


def sentence(*prompts, seed=0, **settings):
    rows = [Row(prompt, None, seed + at) for at, prompt in enumerate(prompts)]
    return Job("generate", "m", rows, tuple(settings.items()))


def over(*jobs):
    end = time.monotonic() + 20
    while not all(job.over for job in jobs):
        assert time.monotonic() < end, [job.state for job in jobs]
        time.sleep(0.005)


def held(queue, pipe):
    """A job that holds the model until ``pipe.go``."""
    pipe.go.clear()
    pipe.stepped.clear()
    first = queue.submit(sentence("first"))
    assert pipe.stepped.wait(20)
    return first


def test_requests_with_the_same_settings_share_a_pass(jobs, pipe):
    first = held(jobs, pipe)
    others = [jobs.submit(sentence("a", seed=5)), jobs.submit(sentence("b", steps=7)), jobs.submit(sentence("c", "d"))]
    assert [jobs.position(job) for job in others] == [0, 1, 2]
    pipe.go.set()
    over(first, *others)
    assert [asked[0] for asked in pipe.asked] == [["first"], ["a", "c", "d"], ["b"]]
    assert pipe.asked[1][2] == [5, 0, 1] and pipe.asked[2][3] == {"steps": 7}
    assert [[m.about["prompt"] for m in job.result] for job in others] == [["a"], ["b"], ["c", "d"]]


def test_a_long_request_lets_others_in_between(jobs, pipe):
    first = held(jobs, pipe)
    long = jobs.submit(sentence(*"abcdefghi"))
    short = jobs.submit(sentence("x"))
    pipe.go.set()
    over(first, long, short)
    assert [len(asked[0]) for asked in pipe.asked] == [1, 4, 4, 2] or "x" in pipe.asked[2][0]
    assert "".join(m.about["prompt"] for m in long.result) == "abcdefghi"
    assert [m.about["seed"] for m in long.result] == list(range(9))


def test_progress_is_told_and_never_falls(jobs, pipe):
    seen = []
    job = sentence(*"abcdefgh")
    job.watch(lambda: seen.append((job.state, job.progress, job.message)))
    over(jobs.submit(job))
    shares = [share for _, share, _ in seen if share is not None]
    assert shares == sorted(shares) and shares[0] == 0 and shares[-1] == 1 and 0.5 in shares
    assert "denoising, step 2 of 3" in [message for *_, message in seen]
    assert seen[-1][0] == "done"


def test_a_cancelled_job_stops_at_the_next_step(jobs, pipe):
    pipe.steps = 1000
    first = held(jobs, pipe)
    second = jobs.submit(sentence("second"))
    jobs.cancel(first)
    jobs.cancel(second)
    assert (first.state, second.state, first.result) == ("cancelled", "cancelled", None)
    pipe.steps = 3
    pipe.go.set()
    third = jobs.submit(sentence("third"))
    over(third)
    assert [asked[0] for asked in pipe.asked] == [["first"], ["third"]]  # the second never started
    assert third.state == "done" and first.state == "cancelled"


def test_one_of_a_pass_is_cancelled_and_the_others_go_on(jobs, pipe):
    first = held(jobs, pipe)
    one, two = jobs.submit(sentence("a")), jobs.submit(sentence("b"))
    pipe.stepped.clear()
    pipe.go.set()
    over(first)
    assert pipe.stepped.wait(20)
    jobs.cancel(one)
    over(two)
    assert one.state == "cancelled" and [m.about["prompt"] for m in two.result] == ["b"]


def test_a_full_queue_says_when_to_come_again(jobs, pipe):
    held(jobs, pipe)
    waiting = [jobs.submit(sentence(f"w{at}")) for at in range(5)]
    with pytest.raises(Refusal) as refused:
        jobs.submit(sentence("one too many"))
    assert refused.value.status_code == 429 and int(refused.value.headers["Retry-After"]) >= 1
    jobs.cancel(waiting[0])
    jobs.submit(sentence("now there is room"))


def test_patient_jobs_go_last_and_fill_no_queue(jobs, pipe):
    first = held(jobs, pipe)
    patient = [jobs.submit(Job("generate", "m", [Row(f"example {at}", None, 0)], patient=True)) for at in range(9)]
    person = jobs.submit(sentence("person"))
    assert jobs.position(person) == 0
    pipe.go.set()
    over(first, person, *patient)
    assert [prompts for prompts, *_ in pipe.asked] == [["first"], ["person"], *([f"example {at}"] for at in range(9))]


def test_what_fails_fails_alone(jobs, pipe):
    first = held(jobs, pipe)
    good, none, wrong = (jobs.submit(sentence(text)) for text in ("good", "nothing", "too much"))
    pipe.go.set()
    over(first, good, none, wrong)
    assert good.state == "done"
    assert (none.state, none.error) == ("failed", "no motion came.")
    assert (wrong.state, wrong.error) == ("failed", "frames must be fewer. Ask for less.")


def test_a_mistake_of_the_program_ends_one_job_and_not_the_server(jobs, caplog):
    bad = jobs.submit(sentence("broken"))
    over(bad)
    assert (bad.state, bad.error) == ("failed", MISTAKE)
    good = jobs.submit(sentence("good"))
    over(good)
    assert good.state == "done" and "no such thing" in caplog.text


def test_other_work_runs_alone_and_can_be_stopped(jobs):
    went = threading.Event()

    def call(pipe):
        went.set()
        while True:
            pipe.say("going on, frame 3 of 4")
            time.sleep(0.002)

    job = jobs.submit(Job("predict", "m", call=call))
    assert went.wait(20)
    jobs.cancel(job)
    after = jobs.submit(Job("caption", "m", call=lambda pipe: {"captions": [["a walk"]]}))
    over(after)
    assert job.state == "cancelled" and after.result == {"captions": [["a walk"]]}


def test_finished_jobs_are_forgotten_in_time():
    pipe = Pipe()
    queue = Jobs(lambda name: pipe, lambda job, result: result, Limits(hours=1e-9))
    old = queue.submit(sentence("a"))
    over(old)
    new = queue.submit(sentence("b"))
    assert queue.get(old.id) is None and queue.get(new.id) is new
    over(new)
    queue.close()


def test_closing_stops_what_runs(pipe):
    pipe.steps = 10**6
    queue = Jobs(lambda name: pipe, lambda job, result: result, Limits())
    job = queue.submit(sentence("endless"))
    assert pipe.stepped.wait(20)
    queue.close()
    assert job.state == "cancelled"
    with pytest.raises(Refusal, match="stopping"):
        queue.submit(sentence("too late"))
