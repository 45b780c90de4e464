"""Region files of the field that are not those read here, known by their first line or their folder."""

from __future__ import annotations

from pathlib import Path

_ROWS = (
    "Write lines of id, number of rows, base64 of the rows, each a region's features and x1/W, y1/H, x2/W, y2/H, w/W, "
    "h/H of its box."
)


def of_line(cells: list[bytes]) -> tuple[str, str] | None:
    """What the cells of a line of features.tsv look like, and a remedy; None: no known form."""
    if len(cells) == 6 and all(cell.strip().isdigit() for cell in cells[1:4]):
        return "bottom-up-attention's TSV (image_id, image_w, image_h, num_boxes, boxes, features)", _ROWS
    if len(cells) == 10 and cells[7].strip().isdigit():
        return "LXMERT's TSV (img_id, img_h, img_w, ..., num_boxes, boxes, features)", _ROWS
    text = cells[1].lstrip() if len(cells) > 1 else b""
    if text.startswith((b"{", b"[")):
        if b'"num_boxes"' in text[:4096] and b'"features"' in text[:4096]:
            return "Oscar's TSV for captioning (id, JSON of num_boxes and features)", _ROWS
        if b'"feature"' in text:
            return "what VinVL's detector writes (id, JSON of objects with their features)", _ROWS
        return "predictions.tsv (id, JSON)", "Exchange the names of the two files."
    if cells[0].startswith((b"\x80", b"PK", b"\x89HDF", b"\x93NUMPY")):
        return "a file of torch, numpy or HDF5, as Oscar's *.pt", _ROWS
    return None


def of_folder(folder: Path) -> tuple[str, str] | None:
    """What a folder without features.tsv looks like."""
    if (folder / "data.mdb").exists() or any(folder.glob("*/data.mdb")):
        return "UNITER's LMDB database", _ROWS
    for ending, name in (
        ("*.npz", "UNITER's or bottom-up-attention's .npz files"),
        ("*.npy", "bottom-up-attention's .npy files"),
        ("*.pt", "Oscar's .pt files"),
        ("*.tsv", "a folder of TSV files with other names"),
        ("*.h5", "a store or another HDF5 file"),
    ):
        if any(folder.glob(ending)):
            return name, "Name them features.tsv and predictions.tsv." if ending == "*.tsv" else _ROWS
    return None
