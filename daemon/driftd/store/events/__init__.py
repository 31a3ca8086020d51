"""The event database of one model: schema, validation, writer, reader, Parquet segments, retention."""
