"""Why a message is refused: one table for hub, agent and `huitong explain`.

A code is a stable word. It is the `reason` of the errors raised here, the `code` of a receipt and of a refused record, and
never changes its meaning. `REFUSED_FINAL` means that these octets will never be accepted; `REFUSED_RETRY` that they may be
once somebody acts, so the message stays pending and its flow pauses.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from agent.errors import BadMessage, BadReceipt, BadSignature, Side
from agent.i18n import N_
from agent.model import Outcome

_FINAL: Final = Outcome.REFUSED_FINAL
_RETRY: Final = Outcome.REFUSED_RETRY


@dataclass(frozen=True, slots=True)
class RefusalCode:
    """One reason: what it does to the message, who has to act, and the catalogue keys of what to tell them."""

    code: str
    outcome: Outcome
    side: Side
    text: str
    hint: str


_REPORT = N_("keep the message, it is evidence; report it with: huitong message trace")
_AGENT_DEFECT = N_("the sending program is at fault; update it, then correct and send the records again")
_ALTERED = N_("the message was altered or badly signed; send it again: huitong dead retry")
_ASK_HUB_KEY = N_("ask the hub to register this key: huitong keys export, then there huitong hub keys add")
_SMALLER = N_("lower the batch size of the flow; move large objects to attachments")
_NEWER_HUB = N_("nothing is lost; the flow goes on by itself once the hub knows the type")
_FORK_HINT = N_("make sure no second agent runs with this identity, then: huitong restore")

_TABLE: Final = (
    # -- the signature -----------------------------------------------------------------------------------------------
    RefusalCode("bad_signature", _FINAL, Side.AGENT, N_("the signature does not fit the octets received"), _ALTERED),
    RefusalCode("bad_header", _FINAL, Side.AGENT, N_("the signature header cannot be read"), _AGENT_DEFECT),
    RefusalCode("unknown_crit", _FINAL, Side.AGENT, N_("the signature demands something unknown here"), _AGENT_DEFECT),
    RefusalCode("typ_mismatch", _FINAL, Side.AGENT, N_("the signature was made for another kind of message"), _AGENT_DEFECT),
    RefusalCode("mid_mismatch", _FINAL, Side.AGENT, N_("the signature names another message id"), _AGENT_DEFECT),
    RefusalCode("cenc_mismatch", _FINAL, Side.AGENT, N_("the signature names another content encoding"), _AGENT_DEFECT),
    RefusalCode(
        "wrong_audience",
        _RETRY,
        Side.AGENT,
        N_("the signature is addressed to another node"),
        N_("correct the code of the hub in the settings: huitong validate"),
    ),
    RefusalCode(
        "alg_not_allowed",
        _RETRY,
        Side.AGENT,
        N_("this signature algorithm is not allowed for this key"),
        N_("make a key the hub accepts and register it: huitong keys new"),
    ),
    RefusalCode("unknown_key", _RETRY, Side.HUB, N_("the signing key is not known here"), _ASK_HUB_KEY),
    RefusalCode(
        "revoked_key",
        _RETRY,
        Side.AGENT,
        N_("the signing key was revoked"),
        N_("make a new key and have the hub register it: huitong keys new"),
    ),
    # -- who sends ---------------------------------------------------------------------------------------------------
    RefusalCode("wrong_sender", _FINAL, Side.AGENT, N_("the message names another sender than the node it came from"), _REPORT),
    RefusalCode("wrong_exchange", _RETRY, Side.AGENT, N_("the message came through the exchange of another node"), _REPORT),
    RefusalCode("user_missing", _RETRY, Side.AGENT, N_("the message carries no broker user"), _AGENT_DEFECT),
    RefusalCode("user_mismatch", _RETRY, Side.AGENT, N_("the broker user is not that of the sender"), _REPORT),
    RefusalCode(
        "not_authorised",
        _RETRY,
        Side.HUB,
        N_("this node may not send this type of message"),
        N_("ask the hub to authorise it: huitong hub admit"),
    ),
    # -- the octets --------------------------------------------------------------------------------------------------
    RefusalCode("too_large", _FINAL, Side.AGENT, N_("the message is larger than the hub reads"), _SMALLER),
    RefusalCode("too_many_records", _FINAL, Side.AGENT, N_("the message has more records than the hub reads"), _SMALLER),
    RefusalCode("bad_encoding", _FINAL, Side.AGENT, N_("the body cannot be decompressed"), _AGENT_DEFECT),
    RefusalCode("malformed", _FINAL, Side.AGENT, N_("the body is not a valid event"), _AGENT_DEFECT),
    RefusalCode("duplicate_member", _FINAL, Side.AGENT, N_("a JSON object names a member twice"), _AGENT_DEFECT),
    RefusalCode("too_deep", _FINAL, Side.AGENT, N_("arrays and objects are nested too deep"), _AGENT_DEFECT),
    RefusalCode("count_mismatch", _FINAL, Side.AGENT, N_("the number of records is not the number announced"), _AGENT_DEFECT),
    RefusalCode("duplicate_record", _FINAL, Side.AGENT, N_("a record id stands twice in one message"), _AGENT_DEFECT),
    RefusalCode("id_mismatch", _FINAL, Side.AGENT, N_("the event id is not the message id"), _AGENT_DEFECT),
    RefusalCode("unknown_type", _RETRY, Side.HUB, N_("the hub does not know this type of message"), _NEWER_HUB),
    RefusalCode("unknown_version", _RETRY, Side.HUB, N_("the hub does not know this version of the message"), _NEWER_HUB),
    RefusalCode(
        "invalid_record",
        Outcome.PARTLY_STORED,
        Side.SOURCE,
        N_("the record breaks the rules of its message type"),
        N_("correct it at the source; the corrected record is then sent by itself"),
    ),
    # -- history -----------------------------------------------------------------------------------------------------
    RefusalCode(
        "digest_mismatch",
        _RETRY,
        Side.NETWORK,
        N_("the octets that arrived are not those that were sent"),
        N_("something between agent and hub alters messages; the message is sent again by itself"),
    ),
    RefusalCode("conflict", _FINAL, Side.AGENT, N_("this message id was used before for other octets"), _REPORT),
    RefusalCode("void", _FINAL, Side.AGENT, N_("this sequence was declared void"), _REPORT),
    RefusalCode("fork", Outcome.FORK, Side.AGENT, N_("the hub has another history of this flow"), _FORK_HINT),
    RefusalCode("frozen", Outcome.FORK, Side.AGENT, N_("the flow is frozen since a fork"), _FORK_HINT),
    RefusalCode(
        "unknown_epoch",
        _RETRY,
        Side.AGENT,
        N_("the epoch of this message was not opened"),
        N_("the agent announces its epoch when it connects; restart it, then look at: huitong status"),
    ),
    RefusalCode(
        "quota",
        _RETRY,
        Side.HUB,
        N_("this node has used up its quota"),
        N_("the message is sent again by itself; if this lasts, ask the hub for a larger quota"),
    ),
    RefusalCode(
        "not_processed",
        _RETRY,
        Side.HUB,
        N_("the hub put the message aside unread: it was delivered too often without an end"),
        N_("the message is sent again by itself; if it comes back, report it to the hub: huitong message trace"),
    ),
    # -- receipts, judged by the agent -------------------------------------------------------------------------------
    RefusalCode(
        "wrong_owner",
        _FINAL,
        Side.HUB,
        N_("the receipt is signed by another node than the hub it names"),
        N_("tell the hub: one of its keys may have been stolen"),
    ),
)

CODES: Final[Mapping[str, RefusalCode]] = MappingProxyType({entry.code: entry for entry in _TABLE})


def refusal(code: str, **details: object) -> BadMessage:
    """Return the error for a message that breaks the protocol; `why` or the other details say where."""
    return BadMessage(reason=code, hint=CODES[code].hint, why=_why(code, details))


def bad_signature(code: str, **details: object) -> BadSignature:
    """Return the error for a signature that cannot be accepted."""
    return BadSignature(reason=code, hint=CODES[code].hint, why=_why(code, details))


def bad_receipt(code: str, **details: object) -> BadReceipt:
    """Return the error for a receipt that must never settle anything."""
    return BadReceipt(reason=code, hint=CODES[code].hint, why=_why(code, details))


def _why(code: str, details: Mapping[str, object]) -> str:
    facts = details["why"] if "why" in details else ", ".join(f"{name} {value}" for name, value in details.items())
    return f"{code} ({facts})" if facts else code
