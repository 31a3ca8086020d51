"""What runs inside an engine that holds the rows: Arrow batches in, mergeable bytes out; numpy and pyarrow alone."""
