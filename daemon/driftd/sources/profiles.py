"""A window's Profile: the Profiles of its chunks, merged, so that memory is bounded by one chunk."""

from __future__ import annotations

from driftd.records import Window
from driftd.sources.protocol import Source
from driftd_detectors.profile.layout import Layout
from driftd_detectors.profile.profile import Profile, empty_profile, merge, profile_of


def profile_window(source: Source, window: Window, layout: Layout) -> Profile:
    """Read a window once, chunk by chunk, and count it. A window without rows has the empty Profile."""
    profile = empty_profile(layout)
    for columns, outcomes in source.chunks(window):
        profile = merge(profile, profile_of(columns, outcomes, layout))
    return profile
