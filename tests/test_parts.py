from vlp.parts import drawn_by_hash


def test_the_same_items_are_drawn_in_any_order() -> None:
    items = [f"id/{i}" for i in range(50)]
    assert drawn_by_hash(items, 5) == drawn_by_hash(items[::-1], 5)
