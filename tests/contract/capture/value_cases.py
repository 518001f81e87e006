"""Values: the same whichever way they come."""

from __future__ import annotations

from typing import Any

from tests.contract.capture.base import CaptureBase, Make
from tests.contract.capture.rig import ALL_COLUMNS, Rig
from tests.contract.capture.sites import Site, SqliteSite

COPY = 1000


def latest(rig: Rig) -> dict[int, dict[str, Any]]:
    """Return by id what the source delivered last, before any mapping."""
    found = {}
    for batch in rig.batches:
        for row in batch.rows:
            named = dict(zip(batch.columns, row, strict=True))
            found[named.pop("id")] = named
    return found


class ValueCases(CaptureBase):
    """Snapshot and stream agree on every value."""

    def kinds(self, site: Site, make: Make) -> tuple[Rig, str, int]:
        """Return a flow on a table with every type, the statement that copies its rows, and their number."""
        rows = max(map(len, site.types.values()))
        names = ", ".join(f"c{n}" for n in range(len(site.types)))
        columns = ", ".join(f"c{n} {definition}" for n, definition in enumerate(site.types))
        cursor = site.columns[site.columns.index("updated_at") :]
        site.do(f"CREATE TABLE kinds (id int PRIMARY KEY, {columns}, {cursor})")
        for row in range(rows):
            values = ", ".join(literals[row % len(literals)] for literals in site.types.values())
            site.do(f"INSERT INTO kinds (id, {names}) VALUES ({row}, {values})")
        site.do(f"INSERT INTO kinds (id) VALUES ({rows})")  # NULL everywhere
        rig = make(table="kinds", spec=ALL_COLUMNS)
        copy = f"INSERT INTO kinds (id, {names}) SELECT id + {COPY}, {names} FROM kinds WHERE id < {COPY}"
        return rig, copy, rows + 1

    def check_kinds(self, rig: Rig, site: Site, rows: int, offset: int) -> None:
        """Check that the copies that came by the stream are the rows that came by the load."""
        found = latest(rig)
        differing = {
            (row, definition): (found[row][f"c{n}"], found[offset + row][f"c{n}"])
            for row in range(rows)
            for n, definition in enumerate(site.types)
            if repr(found[row][f"c{n}"]) != repr(found[offset + row][f"c{n}"])
        }
        assert differing == {}
        assert not any(
            isinstance(value, float) for n, d in enumerate(site.types) if d.startswith("decimal") for value in [found[0][f"c{n}"]]
        )

    def test_load_and_stream_agree_on_every_type(self, site: Site, make: Make) -> None:
        """A row of every type, loaded, and its copy, seen by the stream, are equal in every value."""
        rig, copy, rows = self.kinds(site, make)
        rig.settle()
        site.do(copy)
        rig.settle()
        self.check_kinds(rig, site, rows, COPY)

    def test_the_session_of_the_writer_does_not_matter(self, site: Site, make: Make) -> None:
        """Whatever an application has set for its session, the stream tells the values that a load reads."""
        rig, copy, rows = self.kinds(site, make)
        rig.settle()
        with site.hand() as hand:
            hand.do(*site.hostile, copy)
        rig.settle()
        self.check_kinds(rig, site, rows, COPY)

    def test_an_update_tells_the_whole_row(self, site: Site, make: Make) -> None:
        """An update of one column tells all others as they are, of every type."""
        rig, _copy, rows = self.kinds(site, make)
        rig.settle()
        before = latest(rig)
        rig.batches.clear()
        with site.hand() as hand:
            hand.do(f"UPDATE kinds SET id = id + {COPY}, updated_at = {site.now}")
        rig.settle()
        after = latest(rig)
        names = [f"c{n}" for n in range(len(site.types))]
        differing = [
            (row, list(site.types)[n], before[row][name], after[COPY + row][name])
            for row in range(rows)
            for n, name in enumerate(names)
            if repr(before[row][name]) != repr(after[COPY + row][name])
        ]
        assert differing == []

    def test_decimals_are_canonical_text(self, site: Site, rig: Rig) -> None:
        """A decimal is text with all its digits, by load and by stream, and never was a float."""
        exact = "10.25" if isinstance(site, SqliteSite) else "12345678901234567890.1234"
        site.do(site.put(1, amount=exact))
        rig.settle()
        site.do(site.put(2, amount=exact), site.put(3, amount="0"))
        rig.settle()
        view = rig.view()
        assert view[1]["amount"] == view[2]["amount"] == exact
        assert isinstance(view[3]["amount"], str)

    def test_null_and_empty(self, site: Site, rig: Rig) -> None:
        """NULL stays NULL and the empty text stays empty, by load and by stream."""
        site.do(site.put(1, "", note="NULL"), site.put(2, None, note="''"))
        rig.settle()
        site.do(site.put(3, "", note="NULL"), site.put(4, None, note="''"), site.set(1, note="''"), site.set(2, note="NULL"))
        rig.settle()
        shown = {key: (data["name"], data["note"]) for key, data in rig.view().items()}
        assert shown == {1: ("", ""), 2: (None, None), 3: ("", None), 4: (None, "")}

    def test_time_zones(self, site: Site, make: Make) -> None:
        """One moment is one text, in whatever zone it was written and whichever way it comes."""
        rig = make(spec=ALL_COLUMNS)
        zone = "SET TimeZone = '{}'" if site.now == "clock_timestamp()" else "SET time_zone = '{}'"
        if isinstance(site, SqliteSite):
            zone = "SELECT '{}'"
        for ident, offset, written in ((1, "+00:00", "2026-11-21 00:00:00"), (2, "+08:00", "2026-11-21 08:00:00")):
            for key in (ident, 10 + ident):
                with site.hand() as hand:
                    hand.do(zone.format(offset if "time_zone" in zone else {"+00:00": "UTC", "+08:00": "Asia/Shanghai"}[offset]))
                    hand.do(site.put(key, at=f"'{written}'"))
                rig.settle()
        view = {key: row["at"] for key, row in latest(rig).items()}
        if isinstance(site, SqliteSite):  # knows no zones: what stands there is told
            assert view == dict.fromkeys((1, 11), "2026-11-21T00:00:00") | dict.fromkeys((2, 12), "2026-11-21T08:00:00")
        else:
            assert len(set(view.values())) == 1
            assert str(view[1]).startswith("2026-11-21T00:00:00")
            assert str(view[1]).endswith("+00:00")

    def test_large_values_survive_updates_of_others(self, site: Site, make: Make) -> None:
        """A text and octets of a megabyte arrive, and are still there after an update that does not touch them."""
        rig = make(spec=ALL_COLUMNS)
        repeat = {
            "MariadbSite": "repeat('字a', 500000)",
            "PostgresSite": "(SELECT string_agg(md5(n::text), '') FROM generate_series(1, 32768) n)",
        }
        big = repeat.get(type(site).__name__, "replace(hex(zeroblob(500000)), '00', '字a')")
        octets = {"MariadbSite": "repeat(x'00ff', 200000)", "PostgresSite": "decode(repeat('00ff', 200000), 'hex')"}
        blob = octets.get(type(site).__name__, "zeroblob(400000)")
        site.do(site.put(1, big=big, octets=blob))
        rig.settle()
        site.do(site.put(2, big=big, octets=blob), site.set(1, "B"))
        rig.settle()
        site.do(site.set(2, "B"), f"UPDATE t SET id = 3, updated_at = {site.now} WHERE id = 2")
        rig.settle()
        rows = latest(rig)
        for key in (1, 3):
            assert rows[key]["name"] == "B"
            assert len(str(rows[key]["big"])) >= 1_000_000
            assert len(rows[key]["octets"]) == 400_000
        assert rows[1]["big"] == rows[3]["big"]
        site.do(site.set(1, big="NULL"))
        rig.settle()
        assert latest(rig)[1]["big"] is None
