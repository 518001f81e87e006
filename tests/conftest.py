"""Services for tests. A service that is missing is an error, never a skip.

One node of each kind serves the whole run, also under xdist; a test gets a virtual host or a database of its own. Tests that
break a service ask for a private one.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import settings

from agent.testing.nodes.desk import ServiceDesk, ask_for
from agent.testing.nodes.mariadb import MariadbDatabase, MariadbNode
from agent.testing.nodes.postgres import PostgresDatabase, PostgresNode
from agent.testing.nodes.rabbitmq import BrokerSpace, RabbitmqNode
from agent.testing.nodes.sshd import SshdNode

_DESK: Final = pytest.StashKey[ServiceDesk]()
_ADDRESS: Final = pytest.StashKey[str]()
_KINDS: Final = {kind.kind: kind for kind in (RabbitmqNode, PostgresNode, MariadbNode, SshdNode)}


# -- the run ---------------------------------------------------------------------------------------------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --long."""
    parser.addoption("--long", action="store_true", help="run the long fault suites too")


def pytest_configure(config: pytest.Config) -> None:
    """Open the service desk in the process that controls the run; workers are told its address."""
    settings.register_profile("huitong", deadline=None)  # a busy machine is no failure; speed is measured in bench/
    settings.load_profile("huitong")
    worker = getattr(config, "workerinput", None)
    if worker is not None:
        config.stash[_ADDRESS] = worker["service_desk"]
    elif not config.option.collectonly:
        desk = config.stash[_DESK] = ServiceDesk(_KINDS)
        config.stash[_ADDRESS] = desk.address


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Add up what the fault tests did: each leaves the property `faults` with its numbers on its last report."""
    ended = [
        report for reports in terminalreporter.stats.values() for report in reports if getattr(report, "when", "") == "teardown"
    ]
    sums: Counter[str] = Counter()
    for report in ended:
        for name, numbers in report.user_properties:
            if name == "faults":
                sums.update(numbers)
    if sums:
        terminalreporter.write_line(", ".join(f"{name}: {number}" for name, number in sums.items()))


def pytest_unconfigure(config: pytest.Config) -> None:
    """Stop every node of the run."""
    desk = config.stash.get(_DESK, None)
    if desk is not None:
        desk.close()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a worker of xdist where the desk is."""
    node.workerinput["service_desk"] = node.config.stash[_ADDRESS]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out long tests unless they were asked for."""
    if config.option.long:
        return
    left_out = [item for item in items if item.get_closest_marker("long")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not item.get_closest_marker("long")]


@pytest.fixture(scope="session")
def long_run(pytestconfig: pytest.Config) -> bool:
    """Whether the long form of the fault suites was asked for."""
    return bool(pytestconfig.option.long)


# -- shared nodes ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def rabbitmq(pytestconfig: pytest.Config) -> RabbitmqNode:
    """The run's RabbitMQ; users belong to the whole node, so name yours after your virtual host."""
    return RabbitmqNode(ask_for("rabbitmq", pytestconfig.stash[_ADDRESS]))


@pytest.fixture(scope="session")
def postgres(pytestconfig: pytest.Config) -> PostgresNode:
    """The run's PostgreSQL."""
    return PostgresNode(ask_for("postgres", pytestconfig.stash[_ADDRESS]))


@pytest.fixture(scope="session")
def mariadb(pytestconfig: pytest.Config) -> MariadbNode:
    """The run's MariaDB."""
    return MariadbNode(ask_for("mariadb", pytestconfig.stash[_ADDRESS]))


@pytest.fixture(scope="session")
def sshd(pytestconfig: pytest.Config) -> SshdNode:
    """The run's SFTP server; it serves the whole file system with our rights."""
    return SshdNode(ask_for("sshd", pytestconfig.stash[_ADDRESS]))


# -- a part of a shared node for one test ----------------------------------------------------------------------------


@pytest.fixture
def broker(rabbitmq: RabbitmqNode) -> Iterator[BrokerSpace]:
    """A fresh virtual host with an administrator."""
    space = rabbitmq.add_vhost(_fresh_name())
    yield space
    rabbitmq.delete_vhost(space.vhost)


@pytest.fixture
def pg_database(postgres: PostgresNode) -> Iterator[PostgresDatabase]:
    """A fresh PostgreSQL database: a libpq connection string with attributes, and `.url` for SQLAlchemy."""
    database = postgres.add_database(_fresh_name())
    yield database
    postgres.delete_database(database.database)


@pytest.fixture
def mysql_database(mariadb: MariadbNode) -> Iterator[MariadbDatabase]:
    """A fresh MariaDB database."""
    database = mariadb.add_database(_fresh_name())
    yield database
    mariadb.delete_database(database.database)


def _fresh_name() -> str:
    return f"t{secrets.token_hex(5)}"


# -- nodes a test may break ------------------------------------------------------------------------------------------


@pytest.fixture
def private_rabbitmq(tmp_path: Path) -> Iterator[RabbitmqNode]:
    """A running RabbitMQ of the test's own, to stop, kill and freeze."""
    node = RabbitmqNode(tmp_path / "rabbitmq")
    node.start()
    yield node
    node.remove()


@pytest.fixture
def private_postgres(tmp_path: Path) -> Iterator[PostgresNode]:
    """A running PostgreSQL of the test's own, to stop, kill and freeze."""
    node = PostgresNode(tmp_path / "postgres")
    node.start()
    yield node
    node.remove()
