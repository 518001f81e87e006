"""Private service nodes: RabbitMQ, PostgreSQL, MariaDB and sshd of the distribution, on free loopback ports.

They need no rights, touch no system service and end with the process that started them, however it ends.
"""
