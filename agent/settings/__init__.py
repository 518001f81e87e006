"""Settings: YAML files → frozen models, with a place in the file for everything that is wrong."""
