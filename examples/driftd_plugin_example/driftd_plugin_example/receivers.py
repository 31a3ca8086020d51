"""A receiver: a message for each decision in a Maildir, which every mail program reads."""

from __future__ import annotations

import json
import mailbox
from collections.abc import Mapping
from email.message import EmailMessage
from typing import Any


def deliver_mail(message: Mapping[str, Any], options: Mapping[str, Any]) -> None:
    """Options: `folder` of the Maildir, and `to`, an address (driftd unless given)."""
    mail = EmailMessage()
    mail["To"] = str(options.get("to", "driftd"))
    titles = [f"{decision['model']}: {decision['title']}" for decision in message["transitions"]]
    more = f" and {len(titles) - 1} more" if len(titles) > 1 else ""
    mail["Subject"] = f"driftd: {titles[0]}{more}" if titles else "driftd: a test"
    mail.set_content(json.dumps(message, indent=2))
    mailbox.Maildir(str(options["folder"])).add(mail)
