"""The unit of work on a real database: it finds what changed and writes it at once, or nothing at all."""

import asyncio
from typing import Any

import asyncpg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy.ext.asyncio import create_async_engine

from chassis.database import UnitOfWork, rows
from chassis.database.identity_map import NotLoaded, ReadOnlyRow
from chassis.database.loading import load_rows
from chassis.database.pool import Database
from chassis.database.schema import include
from chassis.message import MAX_MESSAGE_BYTES, MessageTooLarge
from chassis.service import Service, installed
from chassis.testing import Launched, empty_database
from ledger.main import service as ledger_service
from ledger.messages import Booked
from ledger.models import Account, Note


@pytest.fixture
def database(ledger: Launched) -> Database:
    return ledger.instance.database


async def keep(database: Database, *rows: Account | Note) -> None:
    async with database.work() as work:
        for row in rows:
            work.add(row)


def notes(count: int) -> list[Note]:
    return [Note.new(account="a", number=number, text="old") for number in range(count)]


async def test_one_flush_inserts_updates_deletes_and_sends(ledger: Launched, database: Database) -> None:
    await keep(database, *notes(4))
    async with database.work() as work:
        first, second, third, _ = await work.lock(Note, account=["a"])
        first.text = "new"
        work.remove(second)
        third.data = {"deep": [1, {"x": None}]}
        work.add(Note.new(account="b", number=1, data=[]))
        work.send(Booked(account="a", number=1, balance=2), Booked(account="a", number=2, balance=3))
    await ledger.settled()
    found = {(note.account, note.number): (note.text, note.data) for note in await ledger.rows(Note)}
    assert found == {
        ("a", 0): ("new", None),
        ("a", 2): ("old", {"deep": [1, {"x": None}]}),
        ("a", 3): ("old", None),
        ("b", 1): (None, []),
    }
    assert [message.model_dump()["number"] for message in await ledger.sent()] == [1, 2]


async def test_rows_that_are_only_read_are_read_by_many_at_once(ledger: Launched, database: Database) -> None:
    await keep(database, *notes(1))
    needs = [(Booked(account="a", number=0, balance=0), [rows(Note, account="account", lock=False)])]
    async with database.work() as one, database.work() as other, database.work() as writer:
        (locked,) = await writer.lock(Note, account=["a"])
        for work in (one, other):
            await load_rows(work, needs)
            assert [note.text for note in work.loaded(Note)] == ["old"]
        locked.text = "new"
    assert [note.text for note in await ledger.rows(Note)] == ["new"]


async def test_a_row_that_was_not_declared_is_an_error_and_not_a_missing_row(database: Database) -> None:
    await keep(database, *notes(2))
    async with database.work() as work:
        with pytest.raises(NotLoaded, match=r"declare needs=rows\(Note, account, number=…\)"):
            work.get(Note, "a", 0)
        with pytest.raises(NotLoaded, match="no Account was loaded"):
            work.loaded(Account)
        await load_rows(work, [(Booked(account="a", number=0, balance=0), [rows(Note, account="account")])])
        assert work.get(Note, "a", 0) is not None
        assert work.get(Note, "a", 7) is None  # asked for with its account, and not there
        with pytest.raises(NotLoaded):
            work.get(Note, "b", 0)
        await work.lock(Note, number=[5])
        assert work.get(Note, "b", 5) is None  # asked for by a column that may lead to any account
        await load_rows(work, [(None, [rows(Account, id=lambda *_: [])])])
        assert work.loaded(Account) == []  # declared for no account


async def test_a_row_that_was_removed_or_added_needs_no_declaration(database: Database) -> None:
    async with database.work() as work:
        (note,) = notes(1)
        assert work.add(note) is work.get(Note, "a", 0)
        work.remove(note)
        assert work.get(Note, "a", 0) is None


async def test_a_row_that_was_loaded_without_a_lock_cannot_be_written(ledger: Launched, database: Database) -> None:
    await keep(database, *notes(1))
    with pytest.raises(ReadOnlyRow, match="lock it before you change it"):
        async with database.work() as work:
            (note,) = await work.load(Note, account=["a"])
            note.text = "new"
    with pytest.raises(ReadOnlyRow):
        async with database.work() as work:
            work.remove(*await work.load(Note, account=["a"]))
    assert [note.text for note in await ledger.rows(Note)] == ["old"]


async def test_a_lock_refreshes_a_row_that_was_loaded_before(ledger: Launched, database: Database) -> None:
    await keep(database, *notes(1))
    async with database.work() as work:
        (read,) = await work.load(Note, account=["a"])
        async with database.work() as other:
            (theirs,) = await other.lock(Note, account=["a"])
            theirs.text = "theirs"
        (locked,) = await work.lock(Note, account=["a"])
        assert (locked is read, read.text) == (True, "theirs")
        read.text = "mine"
    assert [note.text for note in await ledger.rows(Note)] == ["mine"]


async def test_a_row_that_has_to_be_there_is_locked_or_the_given_error_is_raised(database: Database) -> None:
    await keep(database, *notes(1))
    async with database.work() as work:
        assert (await work.lock_one(Note, KeyError, account="a")).number == 0
        with pytest.raises(KeyError):
            await work.lock_one(Note, KeyError, account="b")


async def test_who_watches_a_table_is_told_of_the_rows_that_a_commit_wrote(database: Database) -> None:
    told: list[list[Any]] = []
    database.watch(Note, lambda rows: told.append([(row.number, row.text) for row in rows]))
    await keep(database, *notes(2))
    async with database.work() as work:
        first, second = await work.lock(Note, account=["a"])
        first.text = "new"
        work.remove(second)
    async with database.work() as work:
        await work.lock(Note, account=["a"])
    with pytest.raises(ZeroDivisionError):
        async with database.work() as work:
            work.add(Note.new(account="b", number=1))
            _ = 1 // 0
    assert told == [[(0, "old"), (1, "old")], [(0, "new")]]


@pytest.mark.parametrize("data", [None, [], [[1, 2], [3]], {}, {"a": None}, "text", 0, False, [None], ["ü\\n", 1.5]])
async def test_json_comes_back_as_it_was(ledger: Launched, database: Database, data: Any) -> None:
    await keep(database, Note.new(account="a", number=1, data=data), Note.new(account="a", number=2, data=[1]))
    async with database.work() as work:
        for note in await work.lock(Note, account=["a"]):
            assert note.data == (data if note.number == 1 else [1])
            note.data = [note.data]
    assert sorted((note.number, note.data) for note in await ledger.rows(Note)) == [(1, [data]), (2, [[1]])]


async def test_a_value_becomes_null(ledger: Launched, database: Database) -> None:
    await keep(database, Note.new(account="a", number=1, text="text", data={}))
    async with database.work() as work:
        (note,) = await work.lock(Note, account=["a"])
        note.text = note.data = None
    (note,) = await ledger.rows(Note)
    assert (note.text, note.data) == (None, None)


async def test_an_exception_undoes_all(ledger: Launched, database: Database) -> None:
    await keep(database, *notes(1))

    async def fail() -> None:
        async with database.work() as work:
            (note,) = await work.lock(Note, account=["a"])
            note.text = "new"
            await work.execute("UPDATE notes SET data = '1'")
            work.add(Note.new(account="b", number=1))
            work.send(Booked(account="a", number=1, balance=2))
            raise RuntimeError("after everything")

    with pytest.raises(RuntimeError, match="after everything"):
        await fail()
    assert [(note.text, note.data) for note in await ledger.rows(Note)] == [("old", None)]
    assert await ledger.sent() == []


async def test_a_row_that_did_not_change_is_not_written(database: Database) -> None:
    await keep(database, *notes(2))
    async with database.work() as work:
        before = await work.read("SELECT number, xmin::text FROM notes")
    async with database.work() as work:
        first, second = await work.lock(Note, account=["a"])
        first.text, second.text = "old", "new"
    async with database.work() as work:
        after = await work.read("SELECT number, xmin::text FROM notes ORDER BY number")
    assert before[0] == after[0]
    assert before[1] != after[1]


async def test_locked_rows_are_locked_in_the_order_of_their_key(database: Database) -> None:
    """Two that lock the same rows, named in opposite order, never deadlock, and lose no change."""
    await keep(database, *(Account.new(id=id, history=[]) for id in "abc"))

    async def add(ids: list[str], number: int) -> None:
        async with database.work() as work:
            for account in await work.lock(Account, id=ids):
                account.history = [*account.history, number]
                await asyncio.sleep(0)

    await asyncio.gather(*(add(list("abc")[:: (-1) ** number], number) for number in range(40)))
    async with database.work() as work:
        histories = [account.history for account in await work.lock(Account, id=list("abc"))]
    assert sorted(histories[0]) == list(range(40))
    assert histories[0] == histories[1] == histories[2]


async def test_what_was_locked_or_added_is_found_again(database: Database) -> None:
    await keep(database, *notes(2))
    async with database.work() as work:
        first, second = await work.lock(Note, account=["a"])
        assert (await work.lock(Note, account=["a"]))[0] is first
        work.remove(first)
        third = work.add(Note.new(account="a", number=2, text="new"))
        assert work.get(Note, "a", 0) is None
        assert work.get(Note, "a", 2) is third
        assert work.loaded(Note, text="old") == [second]


async def test_what_was_removed_stays_removed_when_it_is_locked_again(ledger: Launched, database: Database) -> None:
    await keep(database, *notes(1))
    async with database.work() as work:
        (note,) = await work.lock(Note, account=["a"])
        work.remove(note)
        assert await work.lock(Note, account=["a"]) == []
    assert await ledger.rows(Note) == []


async def test_a_key_does_not_change(ledger: Launched, database: Database) -> None:
    await keep(database, *notes(1))

    async def move(work: UnitOfWork) -> None:
        (note,) = await work.lock(Note, account=["a"])
        note.account = "b"

    with pytest.raises(ValueError, match="key"):
        async with database.work() as work:
            await move(work)
    assert [note.account for note in await ledger.rows(Note)] == ["a"]


async def test_a_message_that_is_too_large_is_refused_before_anything_is_written(
    ledger: Launched, database: Database
) -> None:
    account = "a" * MAX_MESSAGE_BYTES
    with pytest.raises(MessageTooLarge):
        async with database.work() as work:
            await work.begin()
            work.add(Note.new(account="a", number=1))
            work.send(Booked(account=account, number=1, balance=1))
    assert await ledger.rows(Note) == []


async def test_time_is_the_databases_and_stands_still_in_a_transaction(database: Database) -> None:
    async with database.work() as work:
        with pytest.raises(RuntimeError, match="begun"):
            assert work.now
        await work.begin()
        (row,) = await work.execute("SELECT now() AS now FROM pg_sleep(0.01)")
        assert work.now == row["now"]


async def test_a_failing_commit_is_an_error_and_harms_no_later_work(ledger: Launched, database: Database) -> None:
    for _ in range(20):  # more often than there are connections
        with pytest.raises(asyncpg.CheckViolationError):
            async with database.work() as work:
                await work.begin()
                work.add(Account.new(id="a", balance=-1, history=[]))
    assert await ledger.rows(Account) == []


@pytest.mark.parametrize("service", [ledger_service, *installed().values()], ids=lambda service: service.name)
async def test_migrations_make_what_the_models_say(service: Service) -> None:
    assert service.schema is not None
    metadata = service.schema.metadata
    assert service.schema is not None
    metadata = service.schema.metadata
    url = (await empty_database(service)).replace("postgresql://", "postgresql+asyncpg://")
    engine = create_async_engine(url)
    async with engine.connect() as connection:
        differences = await connection.run_sync(
            lambda it: compare_metadata(
                MigrationContext.configure(it, opts={"compare_type": True, "include_object": include}),
                metadata,
            )
        )
    await engine.dispose()
    assert differences == []
