"""`seed`: a catalogue of plausible products, the same one every time."""

import random
from collections.abc import Iterator
from typing import Annotated, Any
from uuid import NAMESPACE_URL, uuid5

import typer
from rich.progress import Progress

from cli._system import internal_gateway

app = typer.Typer()
BATCH = 250

# category: nouns, and the range of their prices in whole units
CATALOGUE = {
    "Lighting": (["Desk Lamp", "Floor Lamp", "Pendant Light", "Wall Light", "Reading Lamp", "Lantern"], (25, 240)),
    "Furniture": (["Bookcase", "Side Table", "Armchair", "Stool", "Sideboard", "Bench", "Desk"], (49, 890)),
    "Kitchen": (["Saucepan", "Chef's Knife", "Cutting Board", "Teapot", "Mixing Bowl", "Carafe"], (12, 160)),
    "Textiles": (["Blanket", "Cushion", "Bath Towel", "Tablecloth", "Rug", "Bed Linen"], (9, 310)),
    "Garden": (["Planter", "Watering Can", "Folding Chair", "Pruning Shears", "Bird Bath"], (14, 180)),
    "Stationery": (["Notebook", "Fountain Pen", "Letter Tray", "Pencil Case", "Desk Pad"], (4, 95)),
    "Storage": (["Basket", "Wall Shelf", "Coat Rack", "Storage Box", "Hook Rail"], (8, 140)),
}
GRAMS = {
    "Lighting": (600, 4_500),
    "Furniture": (3_000, 24_000),
    "Kitchen": (250, 2_800),
    "Textiles": (200, 2_500),
    "Garden": (400, 6_000),
    "Stationery": (60, 900),
    "Storage": (300, 5_000),
}
MAKERS = [
    "Alder",
    "Brook",
    "Cinder",
    "Dune",
    "Ember",
    "Fjord",
    "Grove",
    "Harbour",
    "Iris",
    "Juniper",
    "Kestrel",
    "Linden",
]
MATERIALS = [
    "Oak",
    "Ash",
    "Brass",
    "Copper",
    "Linen",
    "Wool",
    "Stoneware",
    "Glass",
    "Steel",
    "Walnut",
    "Cotton",
    "Slate",
]
USES = ["for every day", "for small rooms", "for long evenings", "made to last", "for two", "easy to repair"]


def products(size: int) -> Iterator[dict[str, Any]]:
    """The first `size` products of the catalogue."""
    for number in range(size):
        chance = random.Random(number)
        category = chance.choice(list(CATALOGUE))
        nouns, (least, most) = CATALOGUE[category]
        maker, material, noun = chance.choice(MAKERS), chance.choice(MATERIALS), chance.choice(nouns)
        yield {
            "id": str(uuid5(NAMESPACE_URL, f"seed:{number}")),
            "name": f"{maker} {material} {noun} No. {number + 1}",
            "description": f"{noun} of {material.lower()} from the {maker} series, {chance.choice(USES)}.",
            "category": category,
            "price_cents": chance.randint(least, most) * 100 - chance.choice([0, 1, 5, 10, 50]),
            "currency": "EUR",
            "on_hand": chance.randint(200, 900),
            "weight_grams": chance.randint(*GRAMS[category]) // 10 * 10,
        }


@app.command()
def seed(size: Annotated[int, typer.Option(min=1, max=1_000_000, help="How many products.")] = 1000) -> None:
    """Create products in the running system. Products that exist already are left unchanged."""
    gateway = internal_gateway()
    with Progress() as progress:
        task = progress.add_task("products", total=size)
        batch: list[dict[str, Any]] = []
        for number, it in enumerate(products(size), start=1):
            batch.append(it)
            if len(batch) == BATCH or number == size:
                gateway.call("POST", "/product/products", json=batch)
                progress.advance(task, len(batch))
                batch = []
