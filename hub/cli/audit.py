"""`huitong hub audit`: verify or write out the audit chain of a department."""

from __future__ import annotations

import json

from agent.i18n import N_, _
from hub.audit import Head, Link, link_hash
from hub.cli.base import HubSession, argument, group, pass_session


@group("audit", N_("The audit chain of a department."))
def audit() -> None:
    """Group of audit commands."""


@audit.command("verify", help=N_("Follow the chain from its beginning. Exit code 1 when a link is broken."))
@argument("code", metavar=N_("CODE"))
@pass_session
def verify(session: HubSession, code: str) -> int:
    """Check every hash."""
    head, broken = Head(), 0
    with session.reader() as reader:
        for link in reader.audit(code):
            if not _follows(link, head):
                broken = head.sequence + 1
                break
            head = Head(link.sequence, link.hash)
    told = {"department": code, "links": head.sequence, "head": head.hash.hex(), "broken_at": broken or None}
    text = _(N_("links that hold: {count}, head {hash}")).format(count=head.sequence, hash=head.hash.hex())
    if broken:
        text = _(N_("the chain is broken at link {number}")).format(number=broken)
    session.output.data(told, lambda: [text])
    return 1 if broken else 0


def _follows(link: Link, head: Head) -> bool:
    expected = link_hash(head.hash, head.sequence + 1, link.entry)
    return (link.sequence, link.previous, link.hash) == (head.sequence + 1, head.hash, expected)


@audit.command("export", help=N_("Write the chain, one JSON object per link."))
@argument("code", metavar=N_("CODE"))
@pass_session
def export(session: HubSession, code: str) -> int:
    """Write every link."""
    with session.reader() as reader:
        for link in reader.audit(code):
            told = {
                "sequence": link.sequence,
                "previous": link.previous.hex(),
                "hash": link.hash.hex(),
                "at": link.at.isoformat(),
                "entry": link.entry,
            }
            print(json.dumps(told, ensure_ascii=False), file=session.output.stdout)
    return 0
