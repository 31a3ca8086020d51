"""What is told of the fleet, of a model, of a decision and of the config, as plain data: for the page and the terminal.

`status`, `decision` and `standing` serve the commands too; `routes` serves the page. Everything here only reads.
"""
