"""HTTP in: a new password, with the old one or by mail."""

from uuid import UUID

from fastapi import Response

from chassis.errors import Problem
from chassis.web import Caller, Router, ServiceCaller, Work
from chassis.web.problems import response_to
from contracts.user import AskPasswordReset, ChangePassword, ResetPassword, ResetSecretView, TokensView
from user import attempts, passwords, queries, resets, tokens
from user.errors import PasswordResetNotFound

router = Router()


@router.put("/me/password", response_model=TokensView)
async def change_password(
    body: ChangePassword, work: Work, caller: Caller, response: Response
) -> TokensView | Response:
    """Ends every session but the one that starts with the answer."""
    password_hash = await passwords.hashed(body.new_password)
    account = await attempts.proven(caller.id, body.password, work)
    if isinstance(account, Problem):
        return response_to(account)
    await resets.change_password(account, password_hash, work)
    response.headers["cache-control"] = "no-store"
    return await tokens.sign_in(account, work)


@router.post("/password-resets", status_code=202)
async def ask_password_reset(body: AskPasswordReset, work: Work) -> None:
    """Answers alike whether or not there is such an account."""
    await resets.ask(body.email, work)


@router.get("/password-resets/{reset_id}/secret")
async def reset_secret(reset_id: UUID, work: Work, _: ServiceCaller, response: Response) -> ResetSecretView:
    """For the mail alone. 404 when the reset is over, so that no mail is written with a secret that is refused."""
    if await queries.open_reset(work, reset_id) is None:
        raise PasswordResetNotFound()
    response.headers["cache-control"] = "no-store"
    return ResetSecretView(secret=resets.secret_of(reset_id, work.settings))


@router.post("/password-resets/uses")
async def reset_password(body: ResetPassword, work: Work, response: Response) -> TokensView:
    """Ends every session and starts one: somebody whom wrong guesses of others keep out gets in here."""
    reset = await resets.check(body.secret, work)
    password_hash = await passwords.hashed(body.new_password)
    account = await resets.use(reset, work)
    await resets.change_password(account, password_hash, work)
    response.headers["cache-control"] = "no-store"
    return await tokens.sign_in(account, work)
