"""The problems that the user service answers: accounts, passwords, tokens, addresses, erasures."""

from chassis.errors import Problem


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

    status, code, detail = 401, "wrong_credentials", "The mail address or the password is wrong."


class WrongPassword(Problem):
    """A signed-in user confirmed a change with a wrong password. The client asks for the password again."""

    status, code, detail = 422, "wrong_password", "This is not the password of the account."


class TooManyWrongPasswords(Problem):
    """The login throttle: too many wrong passwords for this mail address. The client waits for `Retry-After` seconds.

    A password reset by mail ends the throttle at once. Sessions that exist go on.
    """

    status, code = 429, "too_many_wrong_passwords"
    detail = "Too many wrong passwords for this mail address: wait, or reset the password by mail."


class SignInOverloaded(Problem):
    """Too many passwords are being checked at this moment. The client tries again after `Retry-After` seconds."""

    status, code, detail = 503, "sign_in_overloaded", "Too many people are signing in at this moment; try again soon."


class RefreshTokenRefused(Problem):
    """The refresh token is unknown, has expired or was used; a second use ends the session. The user signs in again."""

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
