"""The services of the agent: each owns one thread, none knows another; the durable store is where they meet."""
