"""HTTP in: erase me, and what became of it."""

from uuid import UUID

from fastapi import Response

from chassis.errors import Problem
from chassis.pages import Limit
from chassis.web import Caller, Operator, Router, Work
from contracts.user import EraseAccount, ErasureView
from user import erasures, login_throttle, queries
from user.errors import HasOtherRoles

router = Router()


@router.post("/me/erasure", status_code=202, response_model=ErasureView)
async def erase_account(body: EraseAccount, work: Work, caller: Caller) -> ErasureView | Response:
    """Cannot be undone. The id in the answer is the only way to the report: keep it.

    Access tokens issued before are good until they expire, but what needs the account answers 404 with them; asked
    again with one, the erasure is the same.
    """
    if (before := await queries.erasure_of_user(work, caller.id)) is not None:
        return erasures.erasure_view(before)
    account = await login_throttle.verify_password(caller.id, body.password, work)
    if isinstance(account, Problem):
        return account.response()
    if {*account.roles} - {"customer"}:
        raise HasOtherRoles()
    return erasures.erasure_view(await erasures.erase_account(account, work))


@router.get("/erasures/{erasure_id}")
async def get_erasure(erasure_id: UUID, work: Work) -> ErasureView:
    """For whoever knows the id: there is no account left to sign in to."""
    return erasures.erasure_view(await queries.erasure_by_id(work, erasure_id))


@router.get("/erasures")
async def list_open_erasures(work: Work, _: Operator, limit: Limit = 100) -> list[ErasureView]:
    """Those that wait for a service, the oldest first. Each is announced again every day."""
    return [erasures.erasure_view(it) for it in await queries.open_erasures(work, limit)]
