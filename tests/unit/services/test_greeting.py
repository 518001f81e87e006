"""Hello, and what follows when the histories of agent and hub differ."""

from __future__ import annotations

import pytest

from agent.events import ForkDetected, HubGreeted
from agent.wire.control import HighWater, HubHello, WireLimits, number
from agent.wire.limits import Limits
from tests.unit.services.post import Post, busy_post


@pytest.fixture
def post() -> Post:
    return busy_post()


def hello(**flows: HighWater) -> HubHello:
    return HubHello(WireLimits.of(Limits()), flows)


def test_the_hub_may_be_behind_but_not_ahead(post: Post) -> None:
    """A high water below our next sequence is well; at or above it somebody else sent under our name."""
    post.tell(hello(f=HighWater("e0", number(5))))
    post.rounds()
    assert post.bench.recorder.of(HubGreeted) == [HubGreeted("h1")]
    assert post.bench.store.open_flow("f").paused == ""
    post.tell(hello(f=HighWater("e0", number(6))))
    post.rounds()
    assert post.bench.store.open_flow("f").paused == "fork"
    assert post.bench.recorder.of(ForkDetected) == [ForkDetected("f", "e0")]
    assert len(post.hellos) == 2


def test_another_epoch_is_no_fork(post: Post) -> None:
    """After a restore the hub may know a longer history under the old epoch."""
    post.tell(hello(f=HighWater("old", number(900))))
    post.rounds()
    assert post.bench.store.open_flow("f").paused == ""


def test_a_flow_frozen_at_the_hub_is_frozen_here(post: Post) -> None:
    """Both sides stop."""
    post.tell(hello(f=HighWater("e0", number(1), frozen="fork")))
    post.rounds()
    assert post.bench.store.open_flow("f").paused == "fork"


def test_an_epoch_the_hub_does_not_know_is_announced_again(post: Post) -> None:
    """If our epoch-open never came to the hub, it is said again; what was never announced is not."""
    post.tell(hello())
    post.rounds()
    assert post.heard.said == []
    post.bench.store.tables.flows["f"].announced = True
    post.tell(hello())
    post.rounds()
    (said,) = post.heard.said
    assert (said.flow, said.epoch) == ("f", "e0")
    assert b'"control":"epoch-open"' in said.body


def test_hello_says_where_every_flow_stands(post: Post) -> None:
    """Epoch and next sequence of each flow, the run and the version."""
    (said,) = post.greeting.hello()
    assert b'"control":"hello"' in said.body
    assert b'"flows":{"f":{"epoch":"e0","next_sequence":"6"}}' in said.body
    assert b'"instance":"run-1","version":"1.0"' in said.body
