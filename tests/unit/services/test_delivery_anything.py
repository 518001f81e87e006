"""Whatever broker, network and hub do, in any order: nothing is lost and nothing overtakes."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from agent.model import Outcome, State
from agent.services.delivery import DeliveryLimits
from agent.testing.links import Fault
from tests.unit.services.kit import Bench

faults = st.sampled_from([*Fault, Fault.NONE, Fault.NONE])
steps = st.lists(
    st.one_of(
        st.tuples(st.just("capture"), st.sampled_from("ab"), st.integers(1, 12)),
        st.tuples(st.just("faults"), st.lists(faults, max_size=15), st.just(0)),
        st.tuples(st.just("round"), st.just(""), st.integers(1, 4)),
        st.tuples(st.just("wait"), st.just(""), st.integers(1, 70)),
        st.tuples(st.just("drop"), st.just(""), st.just(0)),
        st.tuples(st.just("receipt"), st.sampled_from([*Outcome]), st.integers(0, 30)),
        st.tuples(st.just("missing"), st.just(""), st.integers(0, 30)),
    ),
    max_size=25,
)


@settings(max_examples=500)
@given(steps=steps, seed=st.integers(0, 9))
def test_nothing_is_lost_and_nothing_overtakes(steps: list, seed: int) -> None:
    """Whatever happens, no message overtakes an earlier one of its flow that still waits, and in the end all have arrived."""
    bench = Bench("a", "b", limits=DeliveryLimits(unconfirmed=7, confirm_secs=30.0), seed=seed)
    watch_order(bench)
    for action, what, number in steps:
        act(bench, action, what, number)
    bench.broker._faults.clear()
    bench.broker.release_confirms()
    bench.until(lambda: not unfinished(bench), secs=5.0)
    arrived = set(bench.arrived())
    for record in bench.store.tables.messages.values():
        assert record.about.message_id in arrived or record.state in (State.DEAD, State.STORED, State.PARTLY_STORED)


def act(bench: Bench, action: str, what: object, number: int) -> None:
    names = list(bench.sent)
    match action:
        case "capture":
            bench.capture(str(what), number)
        case "faults":
            bench.broker.script(what)
        case "round":
            bench.rounds(number, secs=0.1)
        case "wait":
            bench.rounds(2, secs=number)
        case "drop":
            bench.broker.drop_connections()
        case "receipt" if number < len(names) and what is not Outcome.FORK:
            bench.settle(names[number], what)
        case "missing" if number < len(names):
            bench.store.reopen([names[number]]).result()
            bench.delivery.reopened([names[number]])


def unfinished(bench: Bench) -> bool:
    """Settle whatever waits on trial for a receipt, as a hub that is well again would; say whether anything is pending."""
    for name in set(bench.arrived()):
        if bench.store.tables.named([name])[0].state is State.CONFIRMED:
            bench.settle(name)
    return any(record.state is State.PENDING for record in bench.store.tables.messages.values())


def watch_order(bench: Bench) -> None:
    """Check the rule at every send."""
    send = bench.delivery._sink.send

    def checked(parcels: list) -> None:
        for parcel in parcels:
            for record in bench.store.tables.messages.values():
                if record.entry_id < parcel.tag and record.state is State.PENDING:
                    sent = bench.store.tables.messages[parcel.tag].about
                    if record.about.flow == sent.flow:
                        assert record.entry_id in bench.delivery._owner, f"{sent.message_id} overtakes {record.about.message_id}"
        send(parcels)

    bench.delivery._sink.send = checked
