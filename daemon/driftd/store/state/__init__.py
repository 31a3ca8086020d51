"""The state database of the daemon: schema, records, reader, writer, chart queries."""
