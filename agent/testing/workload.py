"""Hostile writers on one table, and the truth about what they did.

Each writer has a connection, a seeded random generator and a range of keys of its own, so that the order of the changes of a
key is known for sure; shared keys are changed under the lock of their row, and their versions are drawn under it. What a
writer did enters the truth only after its commit has succeeded, or was found to have succeeded.

    workload = Workload(PostgresSite(database), Plan(seed=7), clock)
    workload.site.create()
    workload.start()
    ...
    truth = workload.finish()
    verdict = judge_changes(truth.histories(), follower.finish())
"""

from __future__ import annotations

import threading
from contextlib import closing

from agent.model import Op
from agent.ports import Clock
from agent.testing.workload_sites import Site
from agent.testing.workload_truth import Change, Truth
from agent.testing.workload_writer import Plan, Scene, Writer


class WorkloadBroken(AssertionError):
    """The workload itself is wrong: what it believes to have committed is not what the table holds."""


class Workload:
    """Writers in threads. Start it once, finish it once."""

    def __init__(self, site: Site, plan: Plan, clock: Clock) -> None:
        self.site, self.plan, self.truth = site, plan, Truth()
        self._clock = clock
        self._stop = threading.Event()
        self._scene = Scene(plan, site, self.truth, clock, self._stop, threading.Event())
        self._threads = [threading.Thread(target=self._work, args=(n,), name=f"writer-{n}") for n in range(plan.writers)]
        self._errors: list[BaseException] = []

    def start(self) -> None:
        """Insert the shared keys and let the writers go. The table is there and empty."""
        with closing(self.site.connect()) as session:
            changes = [Change(Op.UPSERT, f"s-{n}", self.truth.version(), born=True) for n in range(self.plan.shared_keys)]
            statement = "INSERT INTO {table} (k, version, note, updated_at) VALUES (%s, %s, '-', {now})"
            for change in changes:
                self.site.run(session, self.site.begin)
                self.site.run(session, statement, (change.key, change.version))
                self.site.run(session, "COMMIT")
                self.truth.commit([change], self._clock.monotonic())
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        """Wait until every writer has done its number of transactions."""
        for thread in self._threads:
            thread.join()

    def finish(self) -> Truth:
        """Stop the writers and return the truth, compared with the table. Raises WorkloadBroken, and what a writer raised."""
        self._stop.set()
        self.join()
        if self._errors:
            raise self._errors[0]
        expected, found = self.truth.final(), self.site.final()
        wrong = [
            f"{key}: {expected.get(key)} but {found.get(key)}"
            for key in expected.keys() | found.keys()
            if expected.get(key) != found.get(key)
        ]
        if wrong:
            raise WorkloadBroken(f"{len(wrong)} rows are not as committed: {'; '.join(sorted(wrong)[:5])}")
        return self.truth

    def _work(self, number: int) -> None:
        try:
            Writer(self._scene, number).run()
        except BaseException as error:  # noqa: BLE001 - raised again by `finish`, in the thread of its caller
            self._errors.append(error)
            self._stop.set()
