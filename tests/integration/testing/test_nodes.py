"""The private service nodes against the real servers."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pika
import psycopg
import pymysql
import pytest

from agent.testing.nodes.certificates import CertificateAuthority
from agent.testing.nodes.mariadb import MariadbDatabase, MariadbNode
from agent.testing.nodes.node import Node, NodeFailed
from agent.testing.nodes.postgres import PostgresDatabase, PostgresNode
from agent.testing.nodes.rabbitmq import BrokerSpace, RabbitmqNode
from agent.testing.nodes.sshd import SshdNode

pytestmark = pytest.mark.integration
KINDS: dict[str, type[Node]] = {kind.kind: kind for kind in (RabbitmqNode, PostgresNode, MariadbNode, SshdNode)}
QUORUM = {"x-queue-type": "quorum"}


def connect(space: BrokerSpace) -> pika.BlockingConnection:
    return pika.BlockingConnection(pika.URLParameters(space.url))


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


def ends(pid: int) -> bool:
    try:
        watch = os.pidfd_open(pid)
    except ProcessLookupError:  # has ended already
        return True
    with os.fdopen(watch) as file:
        return bool(select.select([file], [], [], 20.0)[0])


def test_two_tests_of_one_run_share_a_broker_but_no_virtual_host(broker: BrokerSpace, rabbitmq: RabbitmqNode) -> None:
    """A virtual host of a test takes quorum queues and knows nothing of another one."""
    other = rabbitmq.add_vhost(f"{broker.vhost}-other")
    try:
        with connect(broker) as connection:
            connection.channel().queue_declare("in", durable=True, arguments=QUORUM)
        with connect(other) as connection, pytest.raises(pika.exceptions.ChannelClosedByBroker) as refused:
            connection.channel().queue_declare("in", passive=True)
        assert refused.value.reply_code == 404
    finally:
        rabbitmq.delete_vhost(other.vhost)


def test_a_user_has_the_rights_it_was_given(broker: BrokerSpace, rabbitmq: RabbitmqNode) -> None:
    """Permissions set through the node are those the broker enforces."""
    name = f"agent.{broker.vhost}"
    rabbitmq.add_user(name, "secret")
    rabbitmq.set_permissions(name, broker.vhost, "^$", "^$", "^out$")
    with connect(broker) as connection:
        connection.channel().queue_declare("out", durable=True)
    parameters = pika.URLParameters(broker.url)
    parameters.credentials = pika.PlainCredentials(name, "secret")
    try:
        with pika.BlockingConnection(parameters) as connection:
            assert connection.channel().basic_get("out") == (None, None, None)
            with pytest.raises(pika.exceptions.ChannelClosedByBroker) as refused:
                connection.channel().queue_declare("mine")
        assert refused.value.reply_code == 403
    finally:
        rabbitmq.delete_user(name)


def test_what_rabbitmq_confirmed_survives_its_death(private_rabbitmq: RabbitmqNode) -> None:
    """A killed broker comes back on its port with its quorum queue; a frozen one does not answer until it goes on."""
    space = private_rabbitmq.add_vhost("v")
    with connect(space) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.queue_declare("in", durable=True, arguments=QUORUM)
        channel.basic_publish("", "in", b"kept", mandatory=True)
    private_rabbitmq.sync_declarations()
    private_rabbitmq.kill()
    assert not private_rabbitmq.running
    assert not private_rabbitmq.answers()
    private_rabbitmq.start()
    with connect(space) as connection:
        assert connection.channel().basic_get("in", auto_ack=True)[2] == b"kept"
    private_rabbitmq.pause()
    assert not private_rabbitmq.answers()
    private_rabbitmq.resume()
    assert private_rabbitmq.answers()
    assert "huitong@localhost" in private_rabbitmq.ctl("status")
    private_rabbitmq.stop()
    assert not private_rabbitmq.answers()


def test_a_client_certificate_logs_in_over_tls(tmp_path: Path) -> None:
    """With TLS, the common name of the client's certificate is the user and no certificate means no connection."""
    authority = CertificateAuthority(tmp_path / "tls")
    node = RabbitmqNode(tmp_path / "rabbitmq", tls=authority.server())
    port = node.ports["amqps"]
    try:
        node.start()
        node.add_vhost("v")
        node.add_user("agent.a", "unused")
        node.set_permissions("agent.a", "v", ".*", ".*", ".*")
        options = pika.SSLOptions(authority.client("agent.a").context(), "localhost")
        parameters = pika.ConnectionParameters(
            "127.0.0.1", port, "v", pika.credentials.ExternalCredentials(), ssl_options=options
        )
        with pika.BlockingConnection(parameters) as connection:
            connection.channel().queue_declare("q")
        stranger = CertificateAuthority(tmp_path / "other").client("agent.a")
        context = authority.client("agent.a").context()
        context.load_cert_chain(stranger.certificate, stranger.key)
        parameters.ssl_options = pika.SSLOptions(context, "localhost")
        with pytest.raises(pika.exceptions.AMQPConnectionError):
            pika.BlockingConnection(parameters)
    finally:
        node.remove()


def test_what_postgres_committed_survives_its_death(private_postgres: PostgresNode) -> None:
    """A killed cluster recovers its commits; a frozen one does not answer until it goes on."""
    database = private_postgres.add_database("d")
    with psycopg.connect(database) as connection:
        connection.execute("CREATE TABLE kept (n integer)")
        connection.execute("INSERT INTO kept VALUES (7)")
    private_postgres.kill()
    assert not private_postgres.answers()
    private_postgres.start()
    assert private_postgres.sql("SELECT n FROM kept", "d") == "7\n"
    assert private_postgres.sql("SHOW fsync") == "on\n"
    assert private_postgres.sql("SHOW wal_level") == "logical\n"
    private_postgres.pause()
    assert not private_postgres.answers()
    private_postgres.resume()
    assert private_postgres.answers()


def test_a_database_of_a_test_is_empty_and_its_own(pg_database: PostgresDatabase, postgres: PostgresNode) -> None:
    """A test's database holds nothing and takes Chinese."""
    with psycopg.connect(pg_database) as connection:
        tables = connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone()
        text = connection.execute("SELECT '汇通䶮'").fetchone()
    assert (tables, text) == ((0,), ("汇通䶮",))
    assert pg_database.port == postgres.ports["postgres"]


def test_mariadb_gives_a_database(mysql_database: MariadbDatabase, mariadb: MariadbNode) -> None:
    """A test's MariaDB database takes Chinese and the server keeps a row log."""
    mariadb.sql("CREATE TABLE t (name varchar(10)); INSERT INTO t VALUES ('汇通䶮');", mysql_database.database)
    connection = pymysql.connect(
        host=mysql_database.host,
        port=mysql_database.port,
        user=mysql_database.user,
        password=mysql_database.password,
        database=mysql_database.database,
    )
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT name, @@binlog_format FROM t")
        assert cursor.fetchall() == (("汇通䶮", "ROW"),)


def test_sshd_lets_our_key_in(sshd: SshdNode) -> None:
    """The SFTP server lets the client key in, and its own key is the pinned one."""
    sftp = ["sftp", "-b", "-", "-P", str(sshd.ports["ssh"]), "-i", str(sshd.client_key), "-F", "none"]
    strict = ["-o", f"UserKnownHostsFile={sshd.known_hosts}", "-o", "StrictHostKeyChecking=yes", "-o", "IdentitiesOnly=yes"]
    done = subprocess.run(
        [*sftp, *strict, f"{sshd.login}@127.0.0.1"], input=f"ls {sshd.directory}\n", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "authorized_keys" in done.stdout


@pytest.mark.parametrize("kind", KINDS)
def test_a_node_does_not_outlive_its_process(kind: str, tmp_path: Path) -> None:
    """When the process that started a node is killed with SIGKILL, nothing of the node stays."""
    program = textwrap.dedent(f"""
        import signal
        from pathlib import Path
        from {KINDS[kind].__module__} import {KINDS[kind].__name__} as Kind
        node = Kind(Path({str(tmp_path / "node")!r}))
        node.start()
        print(*node.processes(), flush=True)
        signal.pause()
    """)
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        try:
            pids = [int(pid) for pid in owner.stdout.readline().split()]
            assert alive(pids[0])
        finally:
            owner.send_signal(signal.SIGKILL)
    for pid in pids:
        assert ends(pid)
    KINDS[kind](tmp_path / "node").remove()


def test_a_port_already_taken_is_said_plainly(tmp_path: Path) -> None:
    """A node whose port was taken meanwhile fails with the server's own words and leaves nothing running."""
    node = PostgresNode(tmp_path / "node")
    with socket.create_server(("127.0.0.1", node.ports["postgres"])), pytest.raises(NodeFailed) as failure:
        node.start()
    assert "could not bind" in str(failure.value)
    assert not node.running
    node.remove()


def test_a_second_start_is_refused(private_postgres: PostgresNode) -> None:
    """Starting a node twice is an error, not a second server."""
    with pytest.raises(NodeFailed):
        private_postgres.start()


def test_a_node_that_is_not_installed_says_how_to_get_it(tmp_path: Path) -> None:
    """A missing program is named, with the command that installs it."""
    node = MariadbNode(tmp_path / "node")
    with pytest.raises(NodeFailed) as failure:
        node.program("no-such-program")
    assert "no-such-program is not installed" in str(failure.value)
    assert "script/bootstrap --services" in failure.value.hint
    node.remove()
