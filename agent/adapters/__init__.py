"""Where the agent touches the world: store, broker, files with keys and secrets, metrics, the service manager.

Each adapter translates what its library raises into `agent.errors` at its edge. Adapters do not know each other's purpose;
`agent.app` puts them together.
"""
