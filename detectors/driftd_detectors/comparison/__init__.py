"""Two versions on the same rows: the gate before a swap, the bet after it."""
