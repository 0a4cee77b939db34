"""Tokens of unsubscribe links: each is signed and names a user, who need not sign in to opt out."""

import hmac
from uuid import UUID

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OctKey

from contracts.notification_api import UnsubscribeTokenInvalid

ALGORITHM = "HS256"


def create_unsubscribe_token(user_id: UUID, service_key: str) -> str:
    """A token that does not expire: the link of an old mail has to work, too (RFC 8058), and can only opt out."""
    return jwt.encode({"alg": ALGORITHM}, {"sub": str(user_id)}, _key(service_key))


def verify_unsubscribe_token(token: str, service_key: str) -> UUID:
    """The user that the token names. Raises UnsubscribeTokenInvalid."""
    try:
        return UUID(str(jwt.decode(token, _key(service_key), algorithms=[ALGORITHM]).claims["sub"]))
    except (JoseError, KeyError, ValueError):
        raise UnsubscribeTokenInvalid(field="token") from None


def _key(service_key: str) -> OctKey:
    """A key derived for this purpose: a token with another purpose is refused here, and these are refused elsewhere."""
    return OctKey.import_key(hmac.digest(service_key.encode(), b"notification unsubscribe", "sha256"))
