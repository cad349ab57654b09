"""Damage that keeps a file's form, so that it gets past the first check: tables, JSON, TOML, npz, Parquet ..."""

import io
import json
import re
import sqlite3
import tempfile
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

ODD_TEXT = (
    "",
    " ",
    "nan",
    "inf",
    "-inf",
    "-1",
    "0",
    "-0.0",
    "1e309",
    "1e-400",
    "9" * 400,
    "9" * 5000,
    "1_000",
    "0x10",
    "١٢",
    "²",
    "\x00",
    "\x1b[2J",
    "\u2028",
    "\ufeff",
    "\ud7ff",
    "a" * 5000,
    '"',
    "'",
    ";",
    ",",
    "\t",
    "\r",
    "\n",
    "#",
    "..",
    "../../../x",
    "/",
    "{data}",
    "{out}",
    "%s",
    "null",
    "true",
    "[",
    "{",
    "[" * 3000,
    "𝔘",
    "é",
    "=",
    "\\",
    "\\u0000",
)
ODD_VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    1,
    -1,
    2,
    255,
    1 << 31,
    1 << 63,
    1 << 70,
    10**400,
    0.0,
    0.5,
    -1.5,
    1e308,
    float("nan"),
    float("inf"),
    "",
    "x",
    "single",
    "multi",
    "a" * 5000,
    [],
    [1],
    ["x"],
    [[]],
    {},
    {"x": 1},
    [None] * 300,
    "\n",
    "/m/x",
)
ODD_TOML = (
    "true",
    "0",
    "-1",
    "1e999",
    "nan",
    "inf",
    '""',
    '"x"',
    "[]",
    "[[]]",
    "[1]",
    '["x", 1]',
    "{}",
    "{x = 1}",
    "2020-01-01",
    "9" * 5000,
    '"""\na\n"""',
    "[" * 3000,
    "[" * 400 + "]" * 400,
    '"\\u0000"',
    "0x" + "f" * 300,
    "12:00:00",
    '"\'"',
)


def table_cell(separator: str) -> Callable[[bytes, Random], bytes]:
    """Odd text in a cell, or a cell, or a line, gone or there twice."""

    def mutate(data: bytes, rng: Random) -> bytes:
        lines = data.decode(errors="surrogateescape").split("\n")
        at = rng.randrange(len(lines))
        cells = lines[at].split(separator)
        cell = rng.randrange(len(cells))
        match rng.randrange(6):
            case 0:
                del cells[cell]
            case 1:
                cells.insert(cell, rng.choice(ODD_TEXT))
            case 2:
                lines.insert(rng.randrange(len(lines)), lines[at])
            case 3:
                cells = []
            case _:
                cells[cell] = rng.choice(ODD_TEXT)
        lines[at] = separator.join(cells)
        return "\n".join(lines).encode(errors="surrogateescape")

    return mutate


def toml_value(data: bytes, rng: Random) -> bytes:
    """Another value behind an equals sign, or a line gone or there twice."""
    lines = data.decode(errors="surrogateescape").split("\n")
    at = rng.choice([i for i, line in enumerate(lines) if line.strip()] or [0])
    name, equals, _ = lines[at].partition("=")
    match rng.randrange(5):
        case 0:
            del lines[at]
        case 1:
            lines.insert(rng.randrange(len(lines)), lines[at])
        case _:
            lines[at] = f"{name}= {rng.choice(ODD_TOML)}" if equals else lines[at] + rng.choice(ODD_TEXT)
    return "\n".join(lines).encode(errors="surrogateescape")


def json_node(data: bytes, rng: Random) -> bytes:
    """Another value somewhere in the tree, or a member gone or there twice."""
    try:
        tree = json.loads(data)
    except (ValueError, RecursionError):
        return data
    nodes: list[tuple[Any, Any]] = []
    pending = [tree] if isinstance(tree, (dict, list)) else []  # an earlier mutation may have left but a number
    while pending:
        node = pending.pop()
        members = list(node.items()) if isinstance(node, dict) else list(enumerate(node))
        nodes += [(node, name) for name, _ in members]
        pending += [value for _, value in members if isinstance(value, (dict, list))]
    if not nodes:
        return json.dumps(rng.choice(ODD_VALUES)).encode()
    node, name = rng.choice(nodes)
    match rng.randrange(6):
        case 0:
            del node[name]
        case 1 if isinstance(node, dict):
            node[str(rng.choice(ODD_TEXT))] = node.pop(name)
        case 2 if isinstance(node, list) and len(node) < 100:
            node.extend(list(node) * rng.choice((1, 30)))
        case 3 if isinstance(node[name], (int, float)) and abs(node[name]) < 1e18:
            node[name] = node[name] * rng.choice((-1, 2, 1.5, 1000, 10**18))
        case _:
            node[name] = rng.choice(ODD_VALUES)
    return json.dumps(tree).encode(errors="surrogatepass")


def npz_array(data: bytes, rng: Random) -> bytes:
    """An array of another type, shape or with odd values in it, or gone, or another's."""
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            arrays = {name: array for name, array in file.items() if isinstance(array, np.ndarray)}
    except Exception:  # damaged by an earlier mutation
        return data
    name = rng.choice(sorted(arrays) or [""])
    if not name:
        return data
    array = arrays[name]
    match rng.randrange(7):
        case 0:
            del arrays[name]
        case 1:
            arrays[name] = arrays[rng.choice(sorted(arrays))]
        case 2:
            arrays[name] = array.reshape(-1)[: rng.randrange(array.size + 1)]
        case 3:
            arrays[name] = np.array([array] * rng.choice((0, 2)))
        case 4:
            arrays[name] = np.array(rng.choice(("x", 0, -1, 1 << 40, 1.5, np.nan, np.inf, True, 1j)))
        case 5 if array.dtype.kind in "fiu" and array.size:
            flat = array.copy().reshape(-1)
            with np.errstate(all="ignore"):
                flat[rng.randrange(flat.size)] = np.array(rng.choice((0, -1, 120, 2**31, 1e30, np.nan, np.inf))).astype(
                    array.dtype
                )
            arrays[name] = flat.reshape(array.shape)
        case _ if array.dtype.kind in "fiu":
            with np.errstate(all="ignore"):
                arrays[name] = array.astype(rng.choice(("u1", "f2", "f8", "i8", "c8", "S4", "U9", "M8[s]")))
        case _:
            arrays[name] = np.array("svc\0" * rng.randrange(3))
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def npy_array(data: bytes, rng: Random) -> bytes:
    """The same for a file of one array."""
    change: Callable[[Any], Any] = rng.choice((
        lambda array: array.astype("f8"),
        lambda array: array.reshape(-1)[:0],
        lambda array: array[..., None],
        lambda array: array.astype("U8"),
        lambda array: np.array(3),
    ))  # fmt: skip
    buffer = io.BytesIO()
    try:
        np.save(buffer, change(np.load(io.BytesIO(data), allow_pickle=False)))
    except Exception:  # damaged by an earlier mutation
        return data
    return buffer.getvalue()


def tfrecord_payload(data: bytes, rng: Random) -> bytes:
    """A damaged record with the right length and checksums around it."""
    from ingest.audioset.tfrecord import read_records, write_records
    from tests.fuzz import BYTES

    records = list(read_records(io.BytesIO(data), "", lambda _: None))
    if not records:
        return data
    at = rng.randrange(len(records))
    records[at] = rng.choice(BYTES)(records[at] or b"\0", rng)
    buffer = io.BytesIO()
    write_records(buffer, records)
    return buffer.getvalue()


def parquet_column(data: bytes, rng: Random) -> bytes:
    """A column of another type, with nulls or odd values, rows twice or none, or a column gone."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(pa.BufferReader(data), use_threads=False)
        schema, rows = table.schema, table.to_pylist()
        name = rng.choice(schema.names)
        at = schema.get_field_index(name)
        match rng.randrange(6):
            case 0:
                table = table.drop_columns([name])
            case 1:
                table = pa.concat_tables([table] * rng.choice((2, 3)))
            case 2:
                table = table.slice(0, rng.randrange(table.num_rows + 1))
            case 3:
                kind = rng.choice(
                    (pa.string(), pa.int8(), pa.int64(), pa.float32(), pa.list_(pa.string()), pa.binary())
                )
                table = table.set_column(at, name, pa.nulls(table.num_rows, kind))
            case 4:
                row, kind = rng.choice(rows), schema.field(name).type
                odd = {
                    "string": rng.choice(ODD_TEXT),
                    "double": rng.choice((float("nan"), float("inf"), -1.0, 1e300)),
                    "int32": rng.choice((-1, 0, 2**31 - 1, -(2**31))),
                    "binary": rng.choice((b"", b"x", b"\0" * 4096)),
                }.get(str(kind), rng.choice(([], None, [""], [None])))
                row[name] = odd
                table = pa.Table.from_pylist(rows, schema=schema)
            case _:
                rows[rng.randrange(len(rows))][name] = None
                table = pa.Table.from_pylist(rows, schema=schema)
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, row_group_size=rng.choice((1, 2, 1000)))
        return bytes(sink.getvalue())
    except Exception:  # damaged by an earlier mutation, or a value that the type does not take
        return data


def sqlite_value(data: bytes, rng: Random) -> bytes:
    """An odd value in the ledger, past its own checks, or a table, column or index gone."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x"
        path.write_bytes(data)
        db = sqlite3.connect(path)
        try:
            db.execute("PRAGMA ignore_check_constraints = ON")
            table = rng.choice([name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")])
            column = rng.choice([row[1] for row in db.execute(f"PRAGMA table_info({table})")])
            odd = rng.choice((None, "", "x", "[", "[1]", "{}", "null", -1, 0, 2**62, 1e308, b"\xff", "done", "waiting"))
            match rng.randrange(5):
                case 0:
                    statement: tuple[Any, ...] = (f"DROP TABLE {table}",)
                case 1:
                    statement = (f"ALTER TABLE {table} RENAME COLUMN {column} TO x",)
                case 2:
                    statement = (f"PRAGMA user_version = {rng.choice((0, 1, 3, -1, 2**31 - 1))}",)
                case _:
                    statement = (f"UPDATE OR IGNORE {table} SET {column} = ? WHERE abs(random()) % 2 = 0", (odd,))
            db.execute(*statement)
            db.commit()
        except (sqlite3.Error, IndexError, UnicodeDecodeError, re.error):
            pass  # damaged by an earlier mutation
        finally:
            db.close()
        return path.read_bytes()
