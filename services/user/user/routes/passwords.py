"""HTTP in: a new password, with the old one or by mail."""

from uuid import UUID

from fastapi import Response

from chassis.errors import Problem
from chassis.web import Caller, Router, ServiceCaller, Work
from contracts.user import ChangePassword, RequestPasswordReset, ResetPassword, ResetSecretView, TokensView
from user import login_throttle, passwords, queries, resets, tokens
from user.errors import PasswordResetNotFound

router = Router()


@router.put("/me/password", response_model=TokensView)
async def change_password(
    body: ChangePassword, work: Work, caller: Caller, response: Response
) -> TokensView | Response:
    """Ends every session but the one that starts with the answer."""
    password_hash = await passwords.hash_password(body.new_password)
    account = await login_throttle.verify_password(caller.id, body.password, work)
    if isinstance(account, Problem):
        return account.response()
    await resets.change_password(account, password_hash, work)
    response.headers["cache-control"] = "no-store"
    return await tokens.start_session(account, work)


@router.post("/password-resets", status_code=202)
async def request_password_reset(body: RequestPasswordReset, work: Work) -> None:
    """Answers alike whether or not there is such an account."""
    await resets.request_reset(body.email, work)


@router.get("/password-resets/{reset_id}/secret")
async def get_reset_secret(reset_id: UUID, work: Work, _: ServiceCaller, response: Response) -> ResetSecretView:
    """For the mail alone. 404 when the reset is over, so that no mail is written with a secret that is refused."""
    if await queries.open_reset_by_id(work, reset_id) is None:
        raise PasswordResetNotFound()
    response.headers["cache-control"] = "no-store"
    return ResetSecretView(secret=resets.secret_of_reset(reset_id, work.settings))


@router.post("/password-resets/uses")
async def reset_password(body: ResetPassword, work: Work, response: Response) -> TokensView:
    """Ends every session and starts one: somebody whom wrong guesses of others keep out gets in here."""
    reset = await resets.verify_secret(body.secret, work)
    password_hash = await passwords.hash_password(body.new_password)
    account = await resets.redeem(reset, work)
    await resets.change_password(account, password_hash, work)
    response.headers["cache-control"] = "no-store"
    return await tokens.start_session(account, work)
