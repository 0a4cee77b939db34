"""Accounts, tokens, roles and addresses, as clients and other services see them."""

import asyncio
import threading
import time
from datetime import timedelta
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from chassis.database import new_id
from chassis.testing import Launched
from contracts.notification import Notify, Template
from contracts.user import UserRegistered
from user import passwords
from user.models import Account, Address, RefreshToken, SigningKey

from .conftest import PASSWORD, SignedIn, problem, refresh, register, register_customer, sign_in

HOME = {"name": "Ada", "street": "Main St 1", "postcode": "10115", "city": "Berlin", "country": "DE"}


async def test_a_registration_sends_messages_without_personal_data(user: Launched) -> None:
    answer = await register(user, " Ada@Example.org ")
    assert answer.status_code == 201
    assert answer.json() == {
        "id": answer.json()["id"],
        "email": "ada@example.org",
        "name": "Ada",
        "roles": ["customer"],
    }
    await user.settled()
    id = answer.json()["id"]
    assert await user.sent() == [
        UserRegistered(user_id=id),
        Notify(user_id=id, cause_id=id, template=Template.WELCOME),
    ]
    (account,) = await user.rows(Account)
    assert PASSWORD not in account.password_hash
    assert account.password_hash.startswith("$argon2id$")


async def test_a_mail_address_has_one_account_whatever_its_case(user: Launched) -> None:
    answers = await asyncio.gather(*[register(user, email) for email in ("ada@x.org", "ADA@x.org", "Ada@X.org")])
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409]
    (taken, *_) = [answer.json() for answer in answers if answer.status_code == 409]
    assert (taken["code"], taken["errors"][0]["field"]) == ("email_taken", "email")
    assert len(await user.rows(Account)) == 1


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("email", "ada"),
        ("email", "ada@exa mple.org"),
        ("email", f"{'a' * 250}@x.org"),
        ("password", "1234567"),
        ("password", "x" * 129),
        ("name", "  "),
        ("name", "Ada\x00"),
        ("name", "\x85"),  # a new line, which no screen shows
        ("roles", ["operator"]),
    ],
)
async def test_an_invalid_account_is_refused(user: Launched, field: str, value: Any) -> None:
    answer = await register(user, **{"email": "ada@example.org", field: value})
    assert problem(answer) == (422, "invalid_input")
    assert [error["field"] for error in answer.json()["errors"]] == [field]
    assert await user.rows(Account) == []


async def test_an_access_token_can_be_checked_with_the_published_key(user: Launched, ada: SignedIn) -> None:
    before = time.time()
    answer = await sign_in(user, "ADA@example.org")
    assert answer.headers["cache-control"] == "no-store"
    async with user.client() as client:
        published = (await client.get("/.well-known/jwks.json")).json()
    assert all("d" not in key for key in published["keys"])
    token = jwt.decode(answer.json()["access_token"], KeySet.import_key_set(published), algorithms=["EdDSA"])
    assert token.header["kid"] == published["keys"][0]["kid"]
    claims = {"iss": "user", "sub": str(ada.id), "roles": ["customer"]}
    assert token.claims == {**claims, "iat": token.claims["iat"], "exp": token.claims["iat"] + 900}
    assert int(before) <= token.claims["iat"] <= time.time()
    assert (await ada.client.get("/me")).json()["id"] == str(ada.id)


async def test_concurrent_first_requests_make_one_key(user: Launched) -> None:
    async with user.client() as client:
        answers = await asyncio.gather(*[client.get("/.well-known/jwks.json") for _ in range(8)])
    (made,) = await user.rows(SigningKey)
    assert all([key["kid"] for key in answer.json()["keys"]] == [made.kid] for answer in answers)


async def test_a_wrong_password_and_an_unknown_account_look_the_same(
    user: Launched, ada: SignedIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[str] = []
    verify = passwords.HASHER.verify

    def recorded(password: str, hash: str) -> bool:
        compared.append(hash)
        return verify(password, hash)

    monkeypatch.setattr(passwords.HASHER, "verify", recorded)
    wrong, unknown = await sign_in(user, "ada@example.org", "wrong"), await sign_in(user, "bob@example.org")
    assert wrong.json() == unknown.json()
    assert problem(wrong) == (401, "wrong_credentials")
    parameters = [hash.split("$")[1:4] for hash in compared]
    assert len(parameters) == 2
    assert parameters[0] == parameters[1]


async def test_hashing_leaves_the_event_loop_free_and_keeps_to_its_slots(
    user: Launched, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashing, most, lock = 0, 0, threading.Lock()
    started, may_end = threading.Semaphore(0), threading.Event()

    def slow(password: str, hash: str) -> bool:
        nonlocal hashing, most
        with lock:
            hashing += 1
            most = max(most, hashing)
        started.release()
        may_end.wait(60)
        with lock:
            hashing -= 1
        return False

    monkeypatch.setattr(passwords.HASHER, "verify", slow)
    sign_ins = asyncio.gather(*[sign_in(user, "ada@example.org") for _ in range(6)])
    for _ in range(passwords.HASHING_SLOTS):
        assert await asyncio.to_thread(started.acquire, timeout=60)
    async with user.client() as client:
        assert (await client.get("/readyz")).status_code == 200
    assert not sign_ins.done()
    may_end.set()
    await sign_ins
    assert most == passwords.HASHING_SLOTS


async def test_a_refresh_token_is_valid_once_and_a_second_use_ends_the_session(user: Launched, ada: SignedIn) -> None:
    other = await sign_in(user, "ada@example.org")
    second = await refresh(user, ada.refresh_token)
    assert second.status_code == 200
    assert ada.refresh_token not in str(await user.rows(RefreshToken))
    assert problem(await refresh(user, ada.refresh_token)) == (401, "refresh_token_refused")
    assert problem(await refresh(user, second.json()["refresh_token"])) == (401, "refresh_token_refused")
    assert (await refresh(user, other.json()["refresh_token"])).status_code == 200  # another session goes on


async def test_a_session_that_ends_while_it_is_refreshed_ends(user: Launched, ada: SignedIn) -> None:
    second = (await refresh(user, ada.refresh_token)).json()["refresh_token"]
    await asyncio.gather(refresh(user, second), refresh(user, ada.refresh_token))
    assert await user.rows(RefreshToken) == []


async def test_a_refresh_token_that_is_used_twice_at_once_works_once(user: Launched, ada: SignedIn) -> None:
    answers = await asyncio.gather(*[refresh(user, ada.refresh_token) for _ in range(2)])
    assert sorted(answer.status_code for answer in answers) == [200, 401]


async def test_an_expired_refresh_token_is_refused_and_removed(user: Launched, ada: SignedIn) -> None:
    async with user.instance.database.work() as work:
        for row in await work.lock(RefreshToken, account_id=[ada.id]):
            row.expires_at = work.now - timedelta(seconds=1)
    assert problem(await refresh(user, ada.refresh_token)) == (401, "refresh_token_refused")
    await user.settled()
    assert await user.rows(RefreshToken) == []


async def test_a_granted_role_is_in_the_next_token_until_it_is_revoked(user: Launched, ada: SignedIn) -> None:
    body = {"email": "ADA@example.org", "role": "operator"}
    assert problem(await ada.client.post("/role-grants", json=body)) == (403, "forbidden")
    async with user.as_service() as client:
        assert (await client.post("/role-grants", json=body)).json()["roles"] == ["customer", "operator"]
    tokens = (await refresh(user, ada.refresh_token)).json()
    async with user.client(tokens["access_token"]) as operator:
        assert (await operator.post("/role-grants", json=body | {"role": "staff"})).status_code == 200
        assert (await operator.post("/role-revocations", json=body)).json()["roles"] == ["customer", "staff"]
        unknown = await operator.post("/role-grants", json=body | {"email": "bob@example.org"})
        assert problem(unknown) == (404, "account_not_found")
        assert problem(await operator.post("/role-grants", json=body | {"role": "king"})) == (422, "invalid_input")


async def test_addresses_belong_to_their_account(user: Launched, ada: SignedIn) -> None:
    bob = await register_customer(user, "bob@example.org")
    added = await ada.client.post("/me/addresses", json=HOME)
    assert (added.status_code, added.json()) == (201, {"id": added.json()["id"], **HOME})
    assert (await ada.client.get("/me/addresses")).json() == [added.json()]
    assert (await bob.client.get("/me/addresses")).json() == []
    path = f"/addresses/{added.json()['id']}"
    assert problem(await ada.client.get(path)) == (403, "forbidden")
    async with user.as_service() as shipping:
        assert (await shipping.get(path)).json() == added.json()
        assert (await shipping.get(path, params={"customer_id": str(ada.id)})).json() == added.json()
        for missing in (f"{path}?customer_id={bob.id}", f"/addresses/{new_id()}"):
            assert problem(await shipping.get(missing)) == (404, "address_not_found")


@pytest.mark.parametrize(
    ("field", "value"),
    [("country", "Germany"), ("country", "de"), ("postcode", "!"), ("city", ""), ("street", "a\nb"), ("id", "1")],
)
async def test_an_invalid_address_is_refused(user: Launched, ada: SignedIn, field: str, value: str) -> None:
    answer = await ada.client.post("/me/addresses", json={**HOME, field: value})
    assert problem(answer) == (422, "invalid_input")
    assert [error["field"] for error in answer.json()["errors"]] == [field]
    assert await user.rows(Address) == []
