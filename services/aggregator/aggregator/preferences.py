"""HTTP in: which mails users want. The notification service stores it."""

from fastapi import APIRouter

from chassis.web import Caller, Runtime, raises
from contracts import notification, notification_api

router = APIRouter(prefix="/api/v1", tags=["Preferences"])
REFUSED = raises(*notification_api.unsubscribe_by_token.problems)


@router.get("/me/preferences")
async def get_preferences(runtime: Runtime, _: Caller) -> notification.PreferencesView:
    """Get the caller's mail preferences

    An account that has never set them accepts advertising.
    """
    return await runtime.call(notification_api.get_preferences)


@router.put("/me/preferences")
async def set_preferences(
    body: notification.SetPreferences, runtime: Runtime, _: Caller
) -> notification.PreferencesView:
    """Set the caller's mail preferences

    They hold for every mail that is sent from now on. Mails about the account and its orders are always sent.
    """
    return await runtime.call(notification_api.set_preferences, body=body)


@router.post("/unsubscriptions", status_code=204, responses=REFUSED)
async def unsubscribe_by_token(body: notification.Unsubscribe, runtime: Runtime) -> None:
    """Opt out of advertising with the token of a mail

    For the page that the link in the mail opens. The token is enough: its user does not have to sign in. A token that
    was not sent by the shop is refused (422 `unsubscribe_token_invalid`).
    """
    await runtime.call(notification_api.unsubscribe_by_token, body=body)


@router.post("/unsubscriptions/{token}", status_code=204, responses=REFUSED)
async def unsubscribe_one_click(token: notification.UnsubscribeToken, runtime: Runtime) -> None:
    """Opt out of advertising with one click in a mail program

    For mail programs, which post a form to the address in the mail's List-Unsubscribe header (RFC 8058). The form is
    not read: the token in the path says who opts out.
    """
    await runtime.call(notification_api.unsubscribe_by_token, body=notification.Unsubscribe(token=token))
