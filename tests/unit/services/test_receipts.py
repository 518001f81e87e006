"""What the receipts service does with what the hub says."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest

from agent import failpoints
from agent.errors import StoreError
from agent.events import BrokerLost, ForkDetected, ReceiptIgnored, ReceiptSettled
from agent.model import Outcome, State
from agent.ports import Parcel
from agent.services.receipts import KEPT
from agent.wire.control import EpochOpen, QueryAnswer
from agent.wire.event import RECEIPT_TYPE
from agent.wire.keys import public_of
from agent.wire.signature import KeyState
from tests.unit.services.kit import NODE
from tests.unit.services.post import HUB_KEY, NEW_KEY, QUEUE, STRANGER, Post, busy_post


@pytest.fixture
def post() -> Post:
    return busy_post()


@pytest.mark.parametrize(
    "outcome, state",
    [
        (Outcome.STORED, State.STORED),
        (Outcome.DUPLICATE, State.STORED),
        (Outcome.PARTLY_STORED, State.PARTLY_STORED),
        (Outcome.REFUSED_FINAL, State.DEAD),
    ],
)
def test_a_verified_receipt_settles_its_message(post: Post, outcome: Outcome, state: State) -> None:
    """The state follows the outcome; the event tells how long it took; the receipt is acked."""
    post.state(outcome, "f-2")
    post.rounds()
    assert post.bench.states("f")[1] is state
    assert post.bench.recorder.of(ReceiptSettled) == [ReceiptSettled("f", "f-2", outcome.value, 3, 2.0)]
    assert post.heard.over == ["f-2"]
    assert post.left() == 0


def test_a_refusal_for_now_goes_back_in_line(post: Post) -> None:
    """The message is pending again and delivery is told why its flow has to wait."""
    post.state(Outcome.REFUSED_RETRY, "f-2", stage="R2", code="unknown_type")
    post.rounds()
    assert post.bench.states("f")[1] is State.PENDING
    assert post.heard.retry == [("f", "f-2", "unknown_type")]
    assert post.heard.over == []
    assert post.left() == 0


def test_a_fork_freezes_the_flow(post: Post) -> None:
    """The message stays as it is, the flow is paused for good, both told once."""
    post.state(Outcome.FORK, "f-2", code="fork")
    post.state(Outcome.FORK, "f-3", code="frozen")
    post.rounds()
    assert post.bench.states("f")[1] is State.CONFIRMED
    assert post.bench.store.open_flow("f").paused == "fork"
    assert post.bench.recorder.of(ForkDetected) == [ForkDetected("f", "e0")]
    assert post.heard.looked == 1
    assert post.left() == 0


def test_a_repeat_and_an_unknown_message_are_counted_and_acked(post: Post) -> None:
    """Neither moves anything."""
    post.state(Outcome.STORED, "f-1")
    post.state(Outcome.REFUSED_FINAL, "f-1")
    post.bench.sent["ghost"] = replace(post.bench.sent["f-2"], message_id="ghost")
    post.state(Outcome.STORED, "ghost")
    post.rounds()
    assert post.bench.states("f")[0] is State.STORED
    assert post.bench.recorder.of(ReceiptIgnored) == [ReceiptIgnored("f-1", "repeat"), ReceiptIgnored("ghost", "unknown")]
    assert post.heard.over == ["f-1", "f-1"]
    assert post.left() == 0


def test_another_digest_never_settles(post: Post) -> None:
    """A receipt for other octets than ours is an alarm, and acked."""
    post.state(Outcome.STORED, "f-1", digest=b"\x00" * 32)
    post.rounds()
    assert post.bench.states("f")[0] is State.CONFIRMED
    assert post.rejected() == [("digest_mismatch", "f-1")]
    assert post.heard.over == []
    assert post.left() == 0


def test_a_bad_signature_never_settles(post: Post) -> None:
    """One flipped octet is enough; the receipt is reported and acked, its neighbours settle."""
    post.state(Outcome.STORED, "f-1")
    queue = post.broker._queues[QUEUE].ready
    queue[0] = replace(queue[0], body=queue[0].body.replace(b"stored", b"storex"))
    post.state(Outcome.STORED, "f-2")
    post.rounds()
    assert post.bench.states("f")[:2] == [State.CONFIRMED, State.STORED]
    assert [reason for reason, _ in post.rejected()] == ["bad_signature"]
    assert post.left() == 0


def test_a_department_key_cannot_sign_receipts(post: Post) -> None:
    """The key must belong to the hub that the receipt names."""
    post.keys.append(public_of(STRANGER, "d2"))
    post.state(Outcome.STORED, "f-1", pem=STRANGER)
    post.rounds()
    assert post.bench.states("f")[0] is State.CONFIRMED
    assert [reason for reason, _ in post.rejected()] == ["wrong_owner"]


def test_what_is_not_signed_at_all_is_rejected(post: Post) -> None:
    """No header, no type, no body: reported, acked, nothing settles and nothing dies."""
    for type_ in (RECEIPT_TYPE, "cn.huitong.control.v1", "", "cn.huitong.records.v1"):
        post.put(Parcel(1, "to", QUEUE, "x", type_, "", b"{}", {}, 0))
    post.rounds()
    assert [reason for reason, _ in post.rejected()] == ["bad_header", "bad_header", "unknown_type", "unknown_type"]
    assert post.left() == 0


def test_a_receipt_under_a_key_to_come_is_kept_until_it_is_known(post: Post) -> None:
    """It is told once, not acked, does not block others, and settles when the key is there."""
    post.state(Outcome.STORED, "f-1", pem=NEW_KEY)
    post.state(Outcome.STORED, "f-2")
    post.rounds(4, secs=100)
    assert post.bench.states("f")[:2] == [State.CONFIRMED, State.STORED]
    assert [reason for reason, _ in post.rejected()] == ["unknown_key"]
    post.keys.append(public_of(NEW_KEY, "h1"))
    post.service.keys_changed()
    post.rounds()
    assert post.bench.states("f")[0] is State.STORED
    assert post.left() == 0


def test_what_is_kept_survives_a_restart(post: Post) -> None:
    """It was not acked, so the broker delivers it again."""
    post.state(Outcome.STORED, "f-1", pem=NEW_KEY)
    post.rounds()
    post.broker.drop_connections(f"agent.{NODE}")
    post.keys.append(public_of(NEW_KEY, "h1"))
    post.rounds(6, secs=1.0)
    assert post.bench.states("f")[0] is State.STORED
    assert len(post.bench.recorder.of(BrokerLost)) == 1


def test_kept_receipts_cannot_stop_the_others() -> None:
    """Beyond half the prefetch, receipts under unknown keys are acked: the hub states them again when asked."""
    post = Post()
    post.bench.capture("f", 300)
    post.bench.rounds(10)
    for n in range(1, 300):
        post.state(Outcome.STORED, f"f-{n}", pem=NEW_KEY)
    post.state(Outcome.STORED, "f-300")
    post.rounds(5)
    assert post.bench.states("f")[-1] is State.STORED
    assert post.left() == KEPT


def test_a_revoked_hub_key_settles_nothing(post: Post) -> None:
    """Revoked is final, unlike unknown: acked, reported."""
    post.keys[:] = [public_of(HUB_KEY, "h1", KeyState.REVOKED)]
    post.state(Outcome.STORED, "f-1")
    post.rounds()
    assert [reason for reason, _ in post.rejected()] == ["revoked_key"]
    assert post.left() == 0


def test_nothing_is_acked_before_it_is_committed(post: Post) -> None:
    """When the store fails, the service dies and the receipt is delivered again."""
    post.state(Outcome.STORED, "f-1")
    post.bench.store.fail_next(StoreError(why="disk"))
    with pytest.raises(StoreError):
        post.rounds()
    assert post.left() == 1


def test_crash_points_stand_on_either_side_of_the_commit(post: Post) -> None:
    """C16: received, not committed, not acked. C17: committed, not acked; the repeat changes nothing."""
    post.state(Outcome.STORED, "f-1")

    try:
        for point, state in (("C16", State.CONFIRMED), ("C17", State.STORED)):
            failpoints.arm(partial(die_at, point))
            with pytest.raises(KeyboardInterrupt):
                post.rounds()
            assert post.bench.states("f")[0] is state
            assert post.left() == 1
            post.service._opener.close()
    finally:
        failpoints.arm(None)
    post.rounds(3)
    assert post.bench.recorder.of(ReceiptIgnored) == [ReceiptIgnored("f-1", "repeat")]
    assert post.left() == 0


def die_at(point: str, name: str) -> None:
    if name == point:
        raise KeyboardInterrupt(name)


def test_messages_the_hub_never_got_are_opened_again(post: Post) -> None:
    """The answer to a query reopens what is missing, and tells delivery."""
    post.tell(QueryAnswer(missing=["f-1", "f-4", "nonsense"], known=1))
    post.rounds()
    assert [state is State.PENDING for state in post.bench.states("f")] == [True, False, False, True, False]
    assert post.heard.again == ["f-1", "f-4", "nonsense"]
    assert post.left() == 0


def test_only_a_hub_is_listened_to(post: Post) -> None:
    """A control message must be signed by the hub it names and addressed to us."""
    post.keys.append(public_of(STRANGER, "d2"))
    post.tell(QueryAnswer(missing=["f-1"], known=0), pem=STRANGER)
    post.tell(QueryAnswer(missing=["f-1"], known=0), receiver="d9")
    post.tell(EpochOpen("f", "e0"))
    post.rounds()
    assert post.bench.states("f")[0] is State.CONFIRMED
    assert [reason for reason, _ in post.rejected()] == ["wrong_sender", "wrong_audience"]
    assert post.bench.recorder.of(ReceiptIgnored) == [ReceiptIgnored("", "not for an agent")]
    assert post.left() == 0
