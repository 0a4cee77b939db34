"""What can go wrong with accounts, tokens and addresses."""

from chassis.errors import Problem


class AccountNotFound(Problem):
    status, code, detail = 404, "account_not_found", "There is no such account."


class AddressNotFound(Problem):
    status, code, detail = 404, "address_not_found", "There is no such address."


class EmailTaken(Problem):
    status, code, detail = 409, "email_taken", "There is an account with this mail address."


class WrongCredentials(Problem):
    status, code, detail = 401, "wrong_credentials", "Mail address or password is wrong."


class RefreshTokenRefused(Problem):
    status, code, detail = 401, "refresh_token_refused", "The refresh token is unknown, expired or used; sign in again."
