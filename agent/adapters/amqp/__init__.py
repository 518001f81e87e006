"""RabbitMQ behind `ports.Sink` and `ports.Feed`; the only place that knows pika. Import the modules, nothing is loaded here."""
