"""HTTP in: what users want to receive, changed by themselves or through the link in a mail."""

from uuid import UUID

from chassis.web import Caller, Router, Runtime, Work, raises
from contracts.notification import PreferencesView, SetPreferences, Unsubscribe
from contracts.notification_api import UnsubscribeTokenInvalid
from notification import queries
from notification.models import Preference
from notification.tokens import verify_unsubscribe_token

router = Router(tags=["Preferences"])


@router.get("/me/preferences")
async def get_preferences(work: Work, caller: Caller) -> PreferencesView:
    """Get the caller's mail preferences

    A user who has never changed them accepts advertising.
    """
    return PreferencesView(advertising=await queries.accepts_advertising(work, caller.id))


@router.put("/me/preferences")
async def set_preferences(body: SetPreferences, work: Work, caller: Caller) -> PreferencesView:
    """Set the caller's mail preferences

    They hold for every mail that is sent from now on, also for one that is queued already. Mails about the account and
    its orders are always sent.
    """
    await _store_preference(caller.id, body.advertising, work)
    return PreferencesView(advertising=body.advertising)


@router.post("/unsubscriptions", status_code=204, responses=raises(UnsubscribeTokenInvalid))
async def unsubscribe_by_token(body: Unsubscribe, work: Work, runtime: Runtime) -> None:
    """Opt out of advertising with the token of a mail

    The token is enough, as RFC 8058 asks: the recipient of a mail does not have to sign in. It does not expire, and
    may be used again without effect.
    """
    await _store_preference(verify_unsubscribe_token(body.token, runtime.settings.service_key), False, work)


async def _store_preference(user_id: UUID, advertising: bool, work: Work) -> None:
    stored = await work.lock(Preference, user_id=[user_id])
    if stored:
        stored[0].advertising = advertising
    else:
        work.add(Preference.new(user_id=user_id, advertising=advertising))
