"""The audit chain."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from hub.audit import Head, Link, append, first_broken

AT = datetime(2026, 11, 21, tzinfo=UTC)


@pytest.fixture
def chain() -> list[Link]:
    """Five links."""
    links: list[Link] = []
    head = Head()
    for number in range(5):
        link = append(head, "bdc-01", f'{{"n":{number}}}', AT)
        links.append(link)
        head = Head(link.sequence, link.hash)
    return links


def test_a_whole_chain_holds(chain: list[Link]) -> None:
    """An untouched chain has no broken link, from its start or from any head within."""
    assert first_broken(chain) is None
    assert first_broken(chain[3:], Head(3, chain[2].hash)) is None


@pytest.mark.parametrize("number", range(5))
def test_changing_an_entry_shows(chain: list[Link], number: int) -> None:
    """An entry changed by one character breaks the chain at that link."""
    chain[number] = replace(chain[number], entry=chain[number].entry.replace("n", "m"))
    assert first_broken(chain) == number + 1


def test_taking_out_and_swapping_links_shows(chain: list[Link]) -> None:
    """A link that is missing, doubled or in another place breaks the chain."""
    assert first_broken(chain[:2] + chain[3:]) == 3
    assert first_broken([*chain[:2], chain[1], *chain[2:]]) == 3
    assert first_broken([chain[1], chain[0], *chain[2:]]) == 1


def test_a_chain_cut_short_has_another_head(chain: list[Link]) -> None:
    """Cutting the end off leaves a valid chain, but not the head that the last receipt carried."""
    assert first_broken(chain[:4]) is None
    assert chain[3].hash != chain[4].hash
