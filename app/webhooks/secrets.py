"""The secrets of webhooks: made when they are needed, and kept nowhere.

A webhook's secret is an HMAC, by the service's own secret, of the webhook's id and a random salt.
The row has id and salt, so a copy of the database signs nothing; API and workers, who have the
service's secret, sign without keeping another.
"""

import hmac
import secrets
from base64 import b64encode
from datetime import datetime
from typing import Final

from app.tables import Webhook

PREFIX: Final = "whsec_"
_PURPOSE: Final = b"webhooks"


class SecretMaker:
    """With one service's secret."""

    def __init__(self, service_secret: bytes) -> None:
        self._key = hmac.digest(service_secret, _PURPOSE, "sha256")
        self.name = hmac.digest(self._key, b"name", "sha256").hex()[:16]
        """Tells it from others, and tells nothing of it."""

    def secrets_of(self, webhook: Webhook, at: datetime) -> list[str]:
        """Those that sign now, the newest first."""
        salts = [webhook.salt]
        if (
            webhook.old_salt is not None
            and webhook.old_until is not None
            and at < webhook.old_until
        ):
            salts.append(webhook.old_salt)
        return [self.secret(webhook.id, salt) for salt in salts]

    def secret(self, webhook_id: str, salt: str) -> str:
        made = hmac.digest(self._key, f"{webhook_id}/{salt}".encode(), "sha256")
        return PREFIX + b64encode(made).decode()


def new_salt() -> str:
    return secrets.token_hex(16)
