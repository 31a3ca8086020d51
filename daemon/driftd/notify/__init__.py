"""Telling people and programs of decisions: webhooks and commands, off the main loop, until they have heard."""

from driftd.notify.delivery import Notifier, RetryPace

__all__ = ["Notifier", "RetryPace"]
