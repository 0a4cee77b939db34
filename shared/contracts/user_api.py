"""What the user service serves over HTTP: its problems, and the operations that other services call."""

from chassis.errors import Problem
from contracts.user import (
    AccountView,
    AddAddress,
    AddressView,
    ChangePassword,
    ContactView,
    EraseAccount,
    ErasureView,
    RefreshTokens,
    RegisterAccount,
    RequestPasswordReset,
    ResetPassword,
    ResetSecretView,
    RevokeToken,
    SignIn,
    TokensView,
    api,
)


class AccountNotFound(Problem):
    """There is no account with this id or mail address, or it was erased. The client signs out."""

    status, code, detail = 404, "account_not_found", "There is no account with this id or mail address."


class AddressNotFound(Problem):
    """The address does not exist or belongs to another account. The client chooses another address."""

    status, code, detail = 404, "address_not_found", "There is no address with this id."


class EmailTaken(Problem):
    """Registration with a mail address that has an account. The client offers to sign in or to reset the password."""

    status, code, detail = 409, "email_taken", "There is an account with this mail address already."


class WrongCredentials(Problem):
    """The mail address is unknown or the password is wrong; the answer does not tell which. The user tries again."""

    commits = True
    status, code, detail = 401, "wrong_credentials", "The mail address or the password is wrong."


class WrongPassword(Problem):
    """A signed-in user confirmed a change with a wrong password. The client asks for the password again."""

    commits = True
    status, code, detail = 422, "wrong_password", "This is not the password of the account."


class TooManyWrongPasswords(Problem):
    """The login throttle: too many wrong passwords for this mail address. The client waits for `Retry-After` seconds.

    A password reset by mail ends the throttle at once. Sessions that exist go on.
    """

    commits = True
    status, code = 429, "too_many_wrong_passwords"
    detail = "Too many wrong passwords for this mail address: wait, or reset the password by mail."


class SignInOverloaded(Problem):
    """Too many passwords are being checked at this moment. The client tries again after `Retry-After` seconds."""

    status, code, detail = 503, "sign_in_overloaded", "Too many people are signing in at this moment; try again soon."


class RefreshTokenRefused(Problem):
    """The refresh token is unknown, has expired or was used; a second use ends the session. The user signs in again."""

    commits = True
    status, code, detail = 401, "refresh_token_refused", "The refresh token is unknown, expired or used; sign in again."


class PasswordResetNotFound(Problem):
    """The password reset was used, has expired or never existed. The service that asked for it sends no mail."""

    status, code, detail = 404, "password_reset_not_found", "There is no open password reset with this id."


class ResetSecretRefused(Problem):
    """The secret of a password reset is unknown, has expired or was used. The user requests another mail."""

    status, code, detail = 422, "reset_secret_refused", "The secret is unknown, expired or used; request another mail."


class HasOtherRoles(Problem):
    """A member of staff or an operator asked to be erased. An operator revokes the roles, then the user tries again."""

    status, code, detail = 409, "has_other_roles", "Only customers can be erased: have the other roles revoked first."


class ErasureNotFound(Problem):
    """There is no erasure with this id, or its report was kept long enough. Nothing is left to do."""

    status, code, detail = 404, "erasure_not_found", "There is no erasure with this id."


# Of every operation that a signed-in user confirms with the password.
PASSWORD_CONFIRMATION = (AccountNotFound, WrongPassword, TooManyWrongPasswords, SignInOverloaded)

register_account = api.post("/accounts", AccountView, body=RegisterAccount, raises=(EmailTaken, SignInOverloaded))
get_contact = api.get("/accounts/{account_id}/contact", ContactView, raises=(AccountNotFound,))
get_own_account = api.get("/me", AccountView, raises=(AccountNotFound,))
list_own_addresses = api.get("/me/addresses", list[AddressView])
add_address = api.post("/me/addresses", AddressView, body=AddAddress, raises=(AccountNotFound,))
get_address = api.get("/addresses/{address_id}", AddressView, query=("customer_id",), raises=(AddressNotFound,))
issue_tokens = api.post(
    "/tokens",
    TokensView,
    body=SignIn | RefreshTokens,
    raises=(WrongCredentials, RefreshTokenRefused, TooManyWrongPasswords, SignInOverloaded),
)
revoke_token = api.post("/tokens/revocation", body=RevokeToken)
change_password = api.put("/me/password", TokensView, body=ChangePassword, raises=PASSWORD_CONFIRMATION)
request_password_reset = api.post("/password-resets", body=RequestPasswordReset)
get_reset_secret = api.get("/password-resets/{reset_id}/secret", ResetSecretView, raises=(PasswordResetNotFound,))
reset_password = api.post(
    "/password-resets/uses", TokensView, body=ResetPassword, raises=(ResetSecretRefused, SignInOverloaded)
)
erase_account = api.post("/me/erasure", ErasureView, body=EraseAccount, raises=(HasOtherRoles, *PASSWORD_CONFIRMATION))
get_erasure = api.get("/erasures/{erasure_id}", ErasureView, raises=(ErasureNotFound,))
