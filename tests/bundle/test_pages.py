from vlp.bundle import pages

PAGE = """<h2>Results</h2><h3>Retrieval</h3>
<table><thead><tr><th>metric</th><th>value</th></tr></thead>
<tbody><tr><td><a href="#x">TR@1</a></td><td><b>41.50</b><svg><text>9</text></svg></td></tr></tbody></table>
<h2>Data</h2><details><summary>more</summary><dl><div><dt>images</dt><dd>2,000</dd></div></dl></details>
<article><h3>R@1</h3><p>28.2<small>%</small></p></article>"""


def test_tables_facts_and_cards_with_the_headings_above_them() -> None:
    found = [(grid.name, grid.rows) for grid in pages.grids(PAGE)]
    assert found == [
        ("Results / Retrieval", [["metric", "value"], ["TR@1", "41.50"]]),
        ("Data / more", [["images", "2,000"]]),
        ("Data / more", [["R@1", "28.2%"]]),
    ]


def test_each_cell_that_differs_is_named() -> None:
    assert pages.differences(PAGE, PAGE) == (8, [])
    count, wrong = pages.differences(PAGE, PAGE.replace("41.50", "42.00"))
    assert count == 8
    assert wrong == ["Results / Retrieval, row 2 (TR@1), column 2 (value): '41.50', computed again '42.00'"]
    assert pages.differences(PAGE, PAGE.replace("<svg><text>9", "<svg><text>8"))[1] == []


def test_a_row_and_a_table_too_few_are_named() -> None:
    row = '<tr><td><a href="#x">TR@1</a></td><td><b>41.50</b><svg><text>9</text></svg></td></tr>'
    assert "Results / Retrieval: 2 rows, 1 when computed again" in pages.differences(PAGE, PAGE.replace(row, ""))[1]
    assert any("is not there" in w for w in pages.differences(PAGE, PAGE[: PAGE.index("<article>")])[1])
