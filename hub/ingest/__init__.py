"""From a delivery to a receipt: prepare → judge → one transaction → ack → receipt."""
