"""Telling people and programs of decisions: webhooks and commands, off the main loop, until they have heard."""

from driftd.notify.notifier import Notifier, Pace

__all__ = ["Notifier", "Pace"]
