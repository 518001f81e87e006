"""The protocol between nodes, version 1: what travels, how it is signed, read and answered.

Shared by agent and hub, pure: no sockets, no files, no clock of its own. docs/wire-format.md tells strangers the same, and
tests/vectors proves both.

    identity     record ids
    envelope     exchange messages, written and read
    signature    detached signatures over the octets of a body; the ring of pinned keys
    keys         key pairs, thumbprints, JWK
    compression  zstd with caps
    strict       JSON that every parser reads alike
    control      hello, epoch-open, void, query and their answers
    receipt      the hub's signed statement
    codes        why a message, a record or a receipt is refused, and who has to act
    topology     names of exchanges, queues and users
    parcel       the AMQP properties of a message
"""
