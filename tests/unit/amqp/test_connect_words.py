"""What is said when connecting fails; nothing of the library's own words."""

from __future__ import annotations

from pika.adapters.utils.connection_workflow import AMQPConnectorAMQPHandshakeError, AMQPConnectorStackTimeout

from agent.adapters.amqp.translate import connect_error
from agent.errors import NotConnected


def test_a_broker_that_never_answers_is_told_in_plain_words() -> None:
    """The library's text shows address families and tuples."""
    raised = AMQPConnectorAMQPHandshakeError(AMQPConnectorStackTimeout("Timeout during AMQP handshake'h'/(<AddressFamily"))
    told = connect_error(raised, "node", tls=False)
    assert isinstance(told, NotConnected)
    assert str(told) == "the message broker took the connection, but gives no answer"
    assert told.hint
