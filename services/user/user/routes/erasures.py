"""HTTP in: the erasure of a person, and the report about it."""

from uuid import UUID

from chassis.web import Caller, Limit, Operator, Router, Work, raises
from contracts import user_api
from contracts.user import EraseAccount, ErasureView
from contracts.user_api import ErasureNotFound, HasOtherRoles
from user import erasures, login_throttle, queries
from user.config import UserSettings

router = Router(tags=["Erasure"])


@router.post("/me/erasure", status_code=202, responses=raises(*user_api.erase_account.problems))
async def erase_account(body: EraseAccount, work: Work[UserSettings], caller: Caller) -> ErasureView:
    """Erase the caller's account and personal data

    This cannot be undone. The account is removed at once, and every other service removes what it holds and reports
    it. Keep the id in the answer: it is the only way to the report. A repeated request answers the same erasure.

    Access tokens that were issued before stay valid until they expire, but what needs the account answers 404.
    """
    if (earlier := await queries.erasure_of_user(work, caller.id)) is not None:
        return erasures.erasure_view(earlier)
    account = await login_throttle.verify_password(caller.id, body.password, work)
    if {*account.roles} - {"customer"}:
        raise HasOtherRoles()
    return erasures.erasure_view(await erasures.erase_account(account, work))


@router.get("/erasures/{erasure_id}", responses=raises(ErasureNotFound))
async def get_erasure(erasure_id: UUID, work: Work) -> ErasureView:
    """The report of an erasure

    It needs no token, because no account is left to sign in to: the id, which cannot be guessed, is the key. The
    report is kept for a year after the erasure is complete.
    """
    return erasures.erasure_view(await queries.erasure_by_id(work, erasure_id))


@router.get("/erasures")
async def list_open_erasures(work: Work, _: Operator, limit: Limit = 100) -> list[ErasureView]:
    """Erasures that wait for a service, the oldest first

    Each is sent again every day until all services have reported.
    """
    return [erasures.erasure_view(it) for it in await queries.open_erasures(work, limit)]
