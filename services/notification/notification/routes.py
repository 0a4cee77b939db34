"""HTTP in: what somebody wants to be written about, said by himself or by the link in a mail."""

from uuid import UUID

from chassis.web import Caller, Router, Runtime, Work
from contracts.notification import PreferencesView, SetPreferences, Unsubscribe
from notification import queries
from notification.models import Preference
from notification.tokens import verify_unsubscribe_token

router = Router()


@router.get("/me/preferences")
async def get_preferences(work: Work, caller: Caller) -> PreferencesView:
    return PreferencesView(advertising=await queries.accepts_advertising(work, caller.id))


@router.put("/me/preferences")
async def set_preferences(body: SetPreferences, work: Work, caller: Caller) -> PreferencesView:
    await _store_preference(caller.id, body.advertising, work)
    return PreferencesView(advertising=body.advertising)


@router.post("/unsubscriptions", status_code=204)
async def unsubscribe_by_token(body: Unsubscribe, work: Work, runtime: Runtime) -> None:
    """The token is all that is needed: nobody has to sign in to be left in peace (RFC 8058)."""
    await _store_preference(verify_unsubscribe_token(body.token, runtime.settings.service_key), False, work)


async def _store_preference(user_id: UUID, advertising: bool, work: Work) -> None:
    known = await work.lock(Preference, user_id=[user_id])
    if known:
        known[0].advertising = advertising
    else:
        work.add(Preference.new(user_id=user_id, advertising=advertising))
