"""What can go wrong with accounts, passwords, tokens, addresses and erasures."""

from chassis.errors import Problem


class AccountNotFound(Problem):
    status, code, detail = 404, "account_not_found", "There is no such account."


class AddressNotFound(Problem):
    status, code, detail = 404, "address_not_found", "There is no such address."


class EmailTaken(Problem):
    status, code, detail = 409, "email_taken", "There is an account with this mail address."


class WrongCredentials(Problem):
    status, code, detail = 401, "wrong_credentials", "Mail address or password is wrong."


class WrongPassword(Problem):
    status, code, detail = 422, "wrong_password", "This is not the password of the account."


class TooManyWrongPasswords(Problem):
    status, code = 429, "too_many_wrong_passwords"
    detail = "Too many wrong passwords for this mail address: wait, or have a mail sent to set a new one."


class SignInOverloaded(Problem):
    status, code, detail = 503, "sign_in_overloaded", "Too many are signing in at this moment; try again shortly."


class RefreshTokenRefused(Problem):
    status, code, detail = 401, "refresh_token_refused", "The refresh token is unknown, expired or used; sign in again."


class PasswordResetNotFound(Problem):
    status, code, detail = 404, "password_reset_not_found", "There is no such password reset, or it is over."


class ResetSecretRefused(Problem):
    status, code, detail = 422, "reset_secret_refused", "The secret is unknown, expired or used; ask for another mail."


class HasOtherRoles(Problem):
    status, code, detail = 409, "has_other_roles", "Only a customer's account is erased: have its other roles revoked."


class ErasureNotFound(Problem):
    status, code, detail = 404, "erasure_not_found", "There is no such erasure."
