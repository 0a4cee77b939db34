"""HTTP in: new passwords, with the current one or by mail."""

from uuid import UUID

from fastapi import Response

from chassis.web import Caller, Router, ServiceCaller, Work, raises, response_header
from contracts import user_api
from contracts.user import ChangePassword, RequestPasswordReset, ResetPassword, ResetSecretView, TokensView
from contracts.user_api import PasswordResetNotFound
from user import login_throttle, passwords, queries, resets, tokens
from user.config import UserSettings

router = Router(tags=["Password"])
NO_STORE = response_header("Cache-Control", "`no-store`")


@router.put("/me/password", responses=NO_STORE | raises(*user_api.change_password.problems))
async def change_password(
    body: ChangePassword, work: Work[UserSettings], caller: Caller, response: Response
) -> TokensView:
    """Change the caller's password

    Every session ends, and the answer starts a new one. Access tokens stay valid until they expire.
    """
    password_hash = await passwords.hash_password(body.new_password)
    account = await login_throttle.verify_password(caller.id, body.password, work)
    await resets.change_password(account, password_hash, work)
    response.headers["cache-control"] = "no-store"
    return await tokens.start_session(account, work)


@router.post("/password-resets", status_code=202)
async def request_password_reset(body: RequestPasswordReset, work: Work[UserSettings]) -> None:
    """Request a mail to reset a password

    The answer is the same whether the address has an account or not. An account gets three mails an hour at most.
    The secret in the mail is valid for an hour.
    """
    await resets.request_reset(body.email, work)


@router.get("/password-resets/{reset_id}/secret", responses=NO_STORE | raises(PasswordResetNotFound))
async def get_reset_secret(
    reset_id: UUID, work: Work[UserSettings], _: ServiceCaller, response: Response
) -> ResetSecretView:
    """The secret of a password reset

    For the service that writes the mail, and for nothing else. A reset that was used or has expired is not found, so
    that no mail is sent with a useless secret.
    """
    if await queries.open_reset_by_id(work, reset_id) is None:
        raise PasswordResetNotFound()
    response.headers["cache-control"] = "no-store"
    return ResetSecretView(secret=resets.secret_of_reset(reset_id, work.settings))


@router.post("/password-resets/uses", responses=NO_STORE | raises(*user_api.reset_password.problems))
async def reset_password(body: ResetPassword, work: Work[UserSettings], response: Response) -> TokensView:
    """Set a new password with the secret from a mail

    Every session ends, and the answer starts a new one. The login throttle ends too: a user who was
    locked out by the wrong passwords of others gets in again.
    """
    reset = await resets.verify_secret(body.secret, work)
    password_hash = await passwords.hash_password(body.new_password)
    account = await resets.redeem(reset, work)
    await resets.change_password(account, password_hash, work)
    response.headers["cache-control"] = "no-store"
    return await tokens.start_session(account, work)
