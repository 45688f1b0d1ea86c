"""The HTTP API is what its OpenAPI says: from it good and bad requests are made, and every answer fits."""

import numpy as np
import pytest
import schemathesis
from hypothesis import HealthCheck, settings

from hftrainer.motion import Motion
from hftrainer.serving.app import create_app
from hftrainer.serving.limits import Limits
from hftrainer.serving.models import Models


class Quick:
    """A pipeline that answers at once; what the models make is tested elsewhere."""

    say = None

    def attempts(self, prompts, frames=None, *, seed, **settings):
        return [still(prompt) for prompt in prompts]

    def infer_m2t(self, motions, *, seed, candidates):
        return ["a walk"] if candidates == 1 else [["a walk"] * candidates]

    def features(self, motion):
        return motion

    def predict(self, motion, **asked):
        return motion

    inbetween = edit = predict


def still(prompt):
    return Motion(np.zeros((30, 263)), "hml263", 20, about={"prompt": prompt})


APP = create_app(Models(), Limits(queue=1000))
SERVER = APP.state.server
for model in SERVER.models.kinds:
    SERVER.models.pipeline(model)
SERVER.jobs.pipeline = lambda name: Quick()
SERVER.jobs.close = lambda: None  # every request here starts and ends the application
MOTION = SERVER.store.add(still("a walk")).id
HEADERS = {"host": "127.0.0.1"}
#: A schema cannot say that a sentence must be English, or that two fields exclude each other.
CONFIG = schemathesis.Config.from_dict({
    "base-url": "http://127.0.0.1", "headers": HEADERS, "request-timeout": 300,
    "checks": {"positive_data_acceptance": {"enabled": False}},
})  # fmt: skip
SCHEMA = schemathesis.openapi.from_asgi("/api/openapi.json", APP, config=CONFIG, headers=HEADERS)


def known(value):
    """An id of a motion that is there in place of one that could be; what could not be one stays as it is."""
    return MOTION if isinstance(value, str) and 1 <= len(value) <= 64 else value


@SCHEMA.hook
def map_body(context, body):
    """Half of the bodies name a motion that is there."""
    if not isinstance(body, dict) or len(str(body)) % 2:
        return body
    changed = {"motion": known(body["motion"])} if "motion" in body else {}
    if isinstance(body.get("motions"), list):
        changed["motions"] = [known(each) for each in body["motions"]]
    return {**body, **changed}


@SCHEMA.hook
def map_path_parameters(context, path_parameters):
    """Likewise in addresses; a file has one of our endings then."""
    if path_parameters and len(str(path_parameters)) % 2:
        there = {"name": MOTION, "file": "walk.bvh", "at": 99}
        return {name: there.get(name, value) for name, value in path_parameters.items()}
    return path_parameters


@SCHEMA.parametrize()
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_answer_is_what_the_openapi_says(case):
    case.call_and_validate()


def test_every_address_is_tried():
    paths = {operation.ok().path for operation in SCHEMA.get_all_operations()}
    assert paths == {path for path in APP.openapi()["paths"]} and len(paths) >= 16


def test_an_answer_that_does_not_fit_would_be_seen(monkeypatch):
    monkeypatch.setattr(SERVER, "report", lambda job: {"id": 5})
    operation = SCHEMA["/api/generate"]["POST"]
    case = operation.Case(body={"prompt": "a person walks", "seed": 0}, media_type="application/json")
    with pytest.raises(BaseException, match="(?s)Response violates schema|is not of type"):
        case.call_and_validate()
