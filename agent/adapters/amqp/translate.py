"""From what pika and the broker say to `agent.errors`. Above this package nobody knows an AMQP reply code."""

from __future__ import annotations

import re
import ssl
from typing import Final

from pika.adapters.utils.connection_workflow import (
    AMQPConnectionWorkflowFailed,
    AMQPConnectorPhaseErrorBase,
    AMQPConnectorStackTimeout,
)
from pika.exceptions import (
    AMQPHeartbeatTimeout,
    ChannelClosedByBroker,
    ConnectionBlockedTimeout,
    ConnectionClosedByBroker,
    IncompatibleProtocolError,
    ProbableAccessDeniedError,
    ProbableAuthenticationError,
)

from agent.errors import Forbidden, HuitongError, NotConnected, Refused, Unroutable
from agent.i18n import N_

ACCESS_REFUSED, NOT_FOUND, PRECONDITION_FAILED, NOT_ALLOWED = 403, 404, 406, 530


_ALERT: Final = re.compile(r"\[SSL: (\w*ALERT_\w+)\]")
"""pika keeps of a TLS error only its text; an alert is what the other side said about our certificate."""


def connect_error(error: BaseException, node: str, *, tls: bool) -> HuitongError:
    """Say why connecting failed: the last host's reason stands for all."""
    if isinstance(error, AMQPConnectionWorkflowFailed):
        error = error.exceptions[-1]
    if isinstance(error, AMQPConnectorPhaseErrorBase):
        error = error.exception
    if isinstance(error, AMQPConnectorStackTimeout):
        hint = N_("check that the message broker is up and that the firewall lets answers through")
        return NotConnected(N_("the message broker took the connection, but gives no answer"), hint=hint)
    return _refused(error, node, tls=tls)


def _refused(error: BaseException, node: str, *, tls: bool) -> HuitongError:
    if isinstance(error, (ProbableAuthenticationError, ProbableAccessDeniedError)):
        text = N_("the message broker refuses this node: user, password or virtual host is wrong, or the node is not admitted")
        return Forbidden(text, node=node)
    if isinstance(error, ssl.SSLCertVerificationError):
        hint = N_("check hub.ca and that the host name in hub.url is the one in the certificate of the broker")
        return NotConnected(
            N_("the certificate of the message broker does not verify: {why}"), hint=hint, why=error.verify_message
        )
    if _ALERT.search(str(error)):
        return lost_error(error, node)
    if isinstance(error, IncompatibleProtocolError) and tls:
        # In TLS 1.3 a client certificate is judged after the handshake, and the reset often overtakes the alert that says so.
        text = N_("the message broker hung up after the TLS handshake: probably it does not accept the client certificate")
        return Forbidden(text, node=node)
    if isinstance(error, (IncompatibleProtocolError, ssl.SSLError)):
        hint = N_("check that port and scheme belong together: amqp:// or amqps://")
        return NotConnected(N_("at this address nobody speaks AMQP, or only with TLS, or only without"), hint=hint)
    return lost_error(error, node)


def lost_error(error: BaseException, node: str) -> HuitongError:
    """Say why an open connection ended."""
    if alert := _ALERT.search(str(error)):
        said = alert[1].replace("_", " ").lower()
        return Forbidden(N_("the message broker did not accept the client certificate: {why}"), why=said, node=node)
    if isinstance(error, ConnectionClosedByBroker):
        if error.reply_code in (ACCESS_REFUSED, NOT_ALLOWED):
            return Forbidden(why=error.reply_text, node=node)
        return NotConnected(why=f"{error.reply_code} {error.reply_text}")
    if isinstance(error, ConnectionBlockedTimeout):
        hint = N_("the hub has to see to its broker; captured data waits safely in the outbox")
        return NotConnected(N_("the message broker blocks publishing: it is short of memory or disk"), hint=hint)
    if isinstance(error, AMQPHeartbeatTimeout):
        return NotConnected(N_("the message broker has fallen silent"))
    return NotConnected(why=_words(error))


def publish_error(error: ChannelClosedByBroker, node: str, exchange: str) -> HuitongError:
    """Say why the broker closed a channel that published to `exchange`."""
    code, text = error.reply_code, error.reply_text
    if code == ACCESS_REFUSED or (code == PRECONDITION_FAILED and "user_id" in text):
        return Forbidden(why=text, node=node)
    if code == NOT_FOUND:
        return Unroutable(exchange=exchange, node=node)
    return Refused(why=f"{code} {text}")


def channel_error(error: ChannelClosedByBroker, node: str) -> HuitongError:
    """Say why the broker closed any other channel."""
    if error.reply_code == ACCESS_REFUSED:
        return Forbidden(why=error.reply_text, node=node)
    return NotConnected(why=f"{error.reply_code} {error.reply_text}")


def _words(error: BaseException) -> str:
    """Return something a person can read; pika raises errors without any text."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    inner = next((argument for argument in error.args if isinstance(argument, BaseException)), None)
    return _words(inner) if inner is not None else (str(error) or type(error).__name__)
