"""Serving: the SDK class `Driftd`, the served version that follows every swap, and `driftd serve` over HTTP."""
