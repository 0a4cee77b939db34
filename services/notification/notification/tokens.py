"""The secret of an unsubscribe link: it names somebody who has no need to sign in to be left in peace."""

import hmac
from uuid import UUID

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OctKey

from notification.errors import UnsubscribeTokenInvalid

ALGORITHM = "HS256"


def create_unsubscribe_token(user_id: UUID, service_key: str) -> str:
    """It does not expire: an old mail's link works as well (RFC 8058 wants it to), and does nobody harm."""
    return jwt.encode({"alg": ALGORITHM}, {"sub": str(user_id)}, _key(service_key))


def verify_unsubscribe_token(token: str, service_key: str) -> UUID:
    try:
        return UUID(str(jwt.decode(token, _key(service_key), algorithms=[ALGORITHM]).claims["sub"]))
    except (JoseError, KeyError, ValueError):
        raise UnsubscribeTokenInvalid(field="token") from None


def _key(service_key: str) -> OctKey:
    """One of its own, so that these are good for nothing else and nothing else is good here."""
    return OctKey.import_key(hmac.digest(service_key.encode(), b"notification unsubscribe", "sha256"))
