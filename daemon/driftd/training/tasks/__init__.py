"""The tasks of a build, one module each, with `run(arguments) -> value`. Imported in child processes only."""
