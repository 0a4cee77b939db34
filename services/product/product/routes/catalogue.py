"""HTTP in: the catalogue, to read for any caller and to change for staff."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import Query
from pydantic import Field

from chassis.web import (
    Caller,
    Cursor,
    InvalidCursor,
    Limit,
    Page,
    Router,
    ServiceCaller,
    Staff,
    Work,
    decode_cursor,
    page,
    raises,
)
from contracts.product import AddProduct, CategoryView, ChangeProduct, PriceView, ProductChanged, ProductView
from contracts.product_api import ProductNotFound
from product import queries
from product.config import ProductSettings
from product.handlers import update_low_stock
from product.models import Product, Stock
from product.routes.ids import MAX_IDS, Ids

router = Router(tags=["Catalogue"])
MAX_NEW_PRODUCTS = 500
ADD_PRODUCTS_LOCK = 0x0ADD  # an advisory lock: two requests may add the same product at the same time

SearchText = Annotated[
    str | None,
    Query(
        max_length=100,
        pattern=r"^[^\x00]*$",
        description="Words in the name or the description; the beginning of a word is enough, and all must match.",
        examples=["desk lam"],
    ),
]
CategoryFilter = Annotated[
    str | None,
    Query(max_length=100, pattern=r"^[^\x00]*$", description="Only products of this category.", examples=["Lamps"]),
]


@router.get("/products", responses=raises(InvalidCursor))
async def list_products(
    work: Work[ProductSettings],
    _: Caller,
    ids: Ids,
    q: SearchText = None,
    category: CategoryFilter = None,
    cursor: Cursor = None,
    limit: Limit = 20,
) -> Page[ProductView]:
    """Products that are sold, by name

    Filter by words, by category or by ids. An empty `q` or `category` is no filter.
    """
    if ids is not None:
        found = await queries.products_by_ids(work, ids)
        return page(found, MAX_IDS, _product_view, lambda product: (product.id,))
    found = await queries.products_by_name(work, q, category, decode_cursor(cursor, queries.START_BY_NAME), limit + 1)
    return page(found, limit, _product_view, lambda product: (product.name, product.id))


@router.get("/products/{product_id}", responses=raises(ProductNotFound))
async def get_product(product_id: UUID, work: Work[ProductSettings], _: Caller) -> ProductView:
    """A product

    A withdrawn product is not found.
    """
    return _product_view(await queries.product_by_id(work, product_id))


@router.get("/products/{product_id}/prices", responses=raises(ProductNotFound))
async def list_prices(product_id: UUID, work: Work[ProductSettings], _: Caller) -> list[PriceView]:
    """The price history of a product

    The oldest price comes first, and each holds until the next one. The history is kept for good, also that of a
    withdrawn product, so that the price in an old order can be checked.
    """
    return await queries.prices_of_product(work, product_id)


@router.get("/exports/products", responses=raises(InvalidCursor))
async def export_products(
    work: Work[ProductSettings], _: ServiceCaller, cursor: Cursor = None, limit: Limit = 100
) -> Page[ProductView]:
    """Every product that is sold, by id

    Services rebuild their read models from this export. Changes that are made meanwhile arrive as ProductChanged.
    """
    (after,) = decode_cursor(cursor, queries.START_BY_ID)
    found = await queries.products_after(work, after, limit + 1)
    return page(found, limit, _product_view, lambda product: (product.id,))


@router.get("/categories")
async def list_categories(work: Work[ProductSettings], _: Caller) -> list[CategoryView]:
    """The categories of the products that are sold, by name

    Each comes with the number of its products.
    """
    return await queries.categories(work)


@router.post("/products", status_code=201)
async def add_products(
    body: Annotated[list[AddProduct], Field(max_length=MAX_NEW_PRODUCTS)], work: Work[ProductSettings], _: Staff
) -> list[ProductView]:
    """Add products

    A product whose id is already sold stays as it is, so the request can be repeated. A withdrawn product is sold
    again with the given fields, but keeps the stock that it has. The answer lists the products as they are now.
    """
    await work.execute("SELECT pg_advisory_xact_lock($1)", ADD_PRODUCTS_LOCK)
    ids = [new.id for new in body]
    await work.lock(Product, id=ids)
    await work.lock(Stock, product_id=ids)
    return [_product_view(_add_product(new, work)) for new in body]


def _add_product(new: AddProduct, work: Work[ProductSettings]) -> Product:
    given = new.model_dump(exclude={"on_hand"})
    product, stock = work.get(Product, new.id), work.get(Stock, new.id)
    if product is None or stock is None:
        product = work.add(Product.new(**given))
        stock = work.add(Stock.new(product_id=new.id, on_hand=new.on_hand))
    elif not product.withdrawn:
        return product
    else:
        _update_product(product, withdrawn=False, **given)
        stock.withdrawn = False
    update_low_stock(stock, work)
    work.send(_changed_event(product))
    return product


@router.patch("/products/{product_id}", responses=raises(ProductNotFound))
async def change_product(product_id: UUID, body: ChangeProduct, work: Work[ProductSettings], _: Staff) -> ProductView:
    """Change a product

    Fields that are absent keep their values. A request that changes nothing makes no new version.
    """
    found = await _lock_product(product_id, work)
    changes = {name: value for name, value in body if value is not None and value != getattr(found, name)}
    if changes:
        _update_product(found, **changes)
        work.send(_changed_event(found))
    return _product_view(found)


@router.delete("/products/{product_id}", status_code=204, responses=raises(ProductNotFound))
async def withdraw_product(product_id: UUID, work: Work[ProductSettings], _: Staff) -> None:
    """Stop selling a product

    Orders keep the pieces that are reserved for them. A customer with the product in the cart learns at checkout that
    it is no longer sold. Add the product again to sell it again.
    """
    found, stock = (
        await _lock_product(product_id, work),
        await work.lock_one(Stock, ProductNotFound, product_id=product_id),
    )
    _update_product(found, withdrawn=True)
    stock.withdrawn = True
    update_low_stock(stock, work)
    work.send(_changed_event(found))


async def _lock_product(id: UUID, work: Work[ProductSettings]) -> Product:
    found = await work.lock_one(Product, ProductNotFound, id=id)
    if found.withdrawn:
        raise ProductNotFound()
    return found


def _update_product(product: Product, **values: Any) -> None:
    for name, value in values.items():
        setattr(product, name, value)
    product.version += 1


def _product_view(product: Product) -> ProductView:
    return ProductView.model_validate(product, from_attributes=True)


def _changed_event(product: Product) -> ProductChanged:
    return ProductChanged(product_id=product.id, **product.model_dump(exclude={"id"}))
