"""Parquet shards: tables of rows that are written whole, read a few rows at a time, and believed in nothing.

A shard holds plain pages only (no compression, no dictionary, no null), so that reading one cannot take more than its
bytes: a small file that declares a large table is refused before anything is made for it. Pages carry a checksum. Files
are mapped into memory; a group of rows is read without the others, and a value without those of its group.

Writing is pyarrow's; reading is our own code: a damaged footer makes pyarrow 26 end the process, and a view of the
mapped file needs no copy.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import zlib
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hftrainer.data.thrift import Reader
from hftrainer.errors import ArtifactError

#: What a column may be: Parquet's number of the kind, the bytes that a value has at least, and what NumPy calls it.
_KINDS = {"text": (6, 4, ""), "bytes": (6, 4, ""), "int32": (1, 4, "<i4"), "int64": (2, 8, "<i8"),
          "float64": (5, 8, "<f8")}  # fmt: skip
_MAGIC, _PLAIN, _LEVELS, _UTF8 = b"PAR1", 0, 3, 0
#: The key of a shard's own notes.
_NOTES = b"hftrainer"


def arrow() -> Any:
    """The package pyarrow.

    Raises:
        ModuleNotFoundError: it is not installed; the message says how it is.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "Parquet must have the package pyarrow; it is not installed. pip install 'hftrainer[parquet]'."
        ) from error
    return pyarrow


def _schema(columns: Mapping[str, str]) -> Any:
    pa = arrow()
    kinds = {"text": pa.string(), "bytes": pa.binary(), "int32": pa.int32(), "int64": pa.int64(),
             "float64": pa.float64()}  # fmt: skip
    fields = [pa.field(name, kinds[kind], nullable=False) for name, kind in columns.items()]
    return pa.schema(fields)


class ShardWriter:
    """Writes rows to a Parquet file, a group at a time; the same rows give the same bytes.

    Args:
        path: where; the caller sees to it that the file appears whole.
        columns: name -> ``"text"``, ``"bytes"``, ``"int32"``, ``"int64"`` or ``"float64"``.
        notes: JSON values kept in the file's metadata.
        group: rows that are read together.
        pages: each value has a page of its own, so that it can be read alone; for large values.

    Attributes:
        rows: written so far.
        bytes: of text and bytes written so far.

    >>> import tempfile
    >>> where = Path(tempfile.mkdtemp()) / "a.parquet"
    >>> with ShardWriter(where, {"id": "text", "frames": "int32"}, {"fps": 20}) as shard:
    ...     shard.add(id="walk", frames=40)
    >>> Shard(where, {"id": "text", "frames": "int32"}).group(0)
    {'id': ['walk'], 'frames': [40]}
    """

    def __init__(
        self, path: str | Path, columns: Mapping[str, str], notes: Mapping[str, Any] | None = None, group: int = 4,
        pages: bool = False,
    ) -> None:  # fmt: skip
        self._schema, self._group = _schema(columns), group
        self._waiting: list[Mapping[str, Any]] = []
        self.rows = self.bytes = 0
        self._writer = arrow().parquet.ParquetWriter(
            str(path), self._schema, compression="NONE", use_dictionary=False, write_statistics=False,
            write_page_checksum=True, store_schema=False, version="2.6",
            **({"write_batch_size": 1, "data_page_size": 1} if pages else {}),
        )  # fmt: skip
        said = json.dumps(notes or {}, ensure_ascii=False, sort_keys=True)
        self._writer.add_key_value_metadata({_NOTES: said.encode()})

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def add(self, **row: Any) -> None:
        """One row, a value for each column."""
        self._waiting.append(row)
        self.rows += 1
        self.bytes += sum(len(value) for value in row.values() if isinstance(value, str | bytes))
        if len(self._waiting) == self._group:
            self._flush()

    def _flush(self) -> None:
        if self._waiting:
            columns = [[row[name] for row in self._waiting] for name in self._schema.names]
            self._writer.write_table(arrow().table(columns, schema=self._schema), row_group_size=self._group)
            self._waiting = []

    def close(self) -> None:
        """Write what waits, and the footer."""
        self._flush()
        self._writer.close()


def write_rows(
    path: str | Path, columns: Mapping[str, str], rows: Iterable[Mapping[str, Any]],
    notes: Mapping[str, Any] | None = None, group: int = 4,
) -> None:  # fmt: skip
    """Write a shard of rows; see ``ShardWriter``."""
    with ShardWriter(path, columns, notes, group) as shard:
        for row in rows:
            shard.add(**row)


class Shard:
    """A Parquet file that ``ShardWriter`` wrote, mapped into memory and read by our own code.

    What it declares is compared with what is there before anything is read by it. Only the pages of asked columns of an
    asked group are touched.

    Args:
        path: the file.
        columns: what it must hold, as for ``ShardWriter``; more columns are refused too.

    Attributes:
        path: the file.
        rows: of the whole file.
        starts: the first row of each group, and after the last the number of rows.
        notes: what the writer noted.
        bytes_read: of columns, so far.

    Raises:
        ArtifactError: no whole Parquet file, other columns, or sizes that the file cannot hold.
        FileNotFoundError: there is none.

    Source: Apache Parquet's format, version 2.6: plain pages of the first kind, required columns.
    """

    def __init__(self, path: str | Path, columns: Mapping[str, str]) -> None:
        self.path, self._kinds = Path(path), dict(columns)
        self.bytes_read = 0
        if not self.path.is_file():
            raise FileNotFoundError(f"{self.path} must be a Parquet file; there is none. Copy the whole folder again.")
        with self.path.open("rb") as file:
            self._size = os.fstat(file.fileno()).st_size
            if self._size < 12:
                raise self._damaged("it is too short")
            self._data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        length = int.from_bytes(self._data[-8:-4], "little")
        if self._data[:4] != _MAGIC or self._data[-4:] != _MAGIC or length > self._size - 12:
            raise self._damaged("its ends are not those of one")
        self._footer_at = self._size - 8 - length
        try:
            about = Reader(self._data, self._footer_at, self._size - 8).structure()
            self._check_columns(about[2])
            self._chunks = [[self._chunk(column, group[3]) for column in group[1]] for group in about[4]]
            self.starts = [0]
            for group in about[4]:
                self.starts.append(self.starts[-1] + group[3])
            self.rows: int = self.starts[-1]
            declared = about[3]
            noted = {pair[1]: pair.get(2, b"{}") for pair in about.get(5, ())}
            self.notes: dict[str, Any] = dict(json.loads(noted.get(_NOTES, b"{}")))
        except ArtifactError:
            raise
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise self._damaged(f"its footer cannot be read ({error})") from error
        if declared != self.rows or any(len(chunks) != len(self._kinds) for chunks in self._chunks):
            raise self._wrong(f"its groups have {self.rows} rows, the file says {declared}")

    def _damaged(self, why: str) -> ArtifactError:
        return ArtifactError(f"{self.path} must be a whole Parquet file; {why}. It was cut or changed; make it anew.")

    def _wrong(self, why: str) -> ArtifactError:
        return ArtifactError(f"{self.path} must hold plain columns of the size that it declares; {why}. Make it anew.")

    def _check_columns(self, schema: list[dict[int, Any]]) -> None:
        found = []
        for element in schema[1:]:
            told = "text" if element.get(6) == _UTF8 else "bytes"
            kind = next((k for k, (n, *_) in _KINDS.items() if n == element.get(1) and (n != 6 or k == told)), "other")
            optional = "" if element.get(3) == 0 else " (may be absent)"
            found.append((element[4].decode("utf-8", "replace"), kind + optional))
        if sorted(found) != sorted(self._kinds.items()):
            has, must = (", ".join(f"{name} {kind}" for name, kind in c) for c in (found, self._kinds.items()))
            raise ArtifactError(f"{self.path} must have the columns {must}; got {has[:300]}. Make it anew.")
        self._names = [name for name, _ in found]

    def _chunk(self, column: dict[int, Any], rows: int) -> tuple[int, int]:
        """Where a column of a group begins and ends; refuses what a reader could be made to spend memory on."""
        about = column[3]
        name, start, size = about[3][0].decode("utf-8", "replace"), about[9], about[7]
        if about[4] != 0 or 11 in about or not set(about[2]) <= {_PLAIN, _LEVELS}:
            raise self._wrong(f"{name[:40]} is packed or has a dictionary")
        least = _KINDS[self._kinds[name]][1] * rows
        if rows < 0 or about[5] != rows or least > size or not 4 <= start <= start + size <= self._footer_at:
            raise self._wrong(f"{name} declares {about[5]} values in {size} bytes, for {rows} rows")
        return start, start + size

    @property
    def groups(self) -> int:
        """How many groups of rows there are."""
        return len(self.starts) - 1

    def group(self, number: int, columns: Sequence[str] | None = None) -> dict[str, list[Any]]:
        """Some columns of one group of rows; the others are not touched.

        Returns:
            Name -> one value for each row: ``str``, ``int``, ``float``, or, for bytes, a view of the mapped file.

        Raises:
            ArtifactError: the pages are damaged.
        """
        rows = self.starts[number + 1] - self.starts[number]
        return {
            name: self._column(self._kinds[name], *self._chunks[number][self._names.index(name)], rows)
            for name in (self._kinds if columns is None else columns)
        }

    def value(self, column: str, row: int) -> Any:
        """One value; of its group the heads of pages are read, and the page that holds it.

        Raises:
            ArtifactError: the page is damaged.
            IndexError: there is no such row.
        """
        number, before = self.place(row)
        rows = self.starts[number + 1] - self.starts[number]
        chunk = self._chunks[number][self._names.index(column)]
        try:
            for body, count in self._pages(*chunk, rows, skip=before):
                if before < count:
                    return _values(self._kinds[column], body, count)[before]
                before -= count
        except (ValueError, KeyError, TypeError) as error:
            raise self._damaged(str(error)) from error
        raise self._damaged(f"a column has no value for row {row}")

    def _column(self, kind: str, start: int, end: int, rows: int) -> list[Any]:
        found: list[Any] = []
        try:
            for body, count in self._pages(start, end, rows):
                found += _values(kind, body, count)
        except (ValueError, KeyError, TypeError) as error:
            raise self._damaged(str(error)) from error
        if len(found) != rows:
            raise self._damaged(f"a column has {len(found)} values for {rows} rows")
        return found

    def _pages(self, start: int, end: int, rows: int, skip: int = 0) -> Iterator[tuple[memoryview, int]]:
        """The pages of a column of a group and how many values each has; the sums of those before ``skip`` values are
        not looked at, because they are passed over.

        Raises:
            ValueError: a page is not as it should be.
        """
        seen = 0
        while start < end and seen < rows:
            head = Reader(self._data, start, end)
            page = head.structure()
            count, after = page[5][1], head.at + page[3]
            if page[1] != 0 or page[2] != page[3] or page[5][2] != _PLAIN or not head.at <= after <= end:
                raise ValueError("a page is not as the footer says")
            if not 0 < count <= rows - seen:
                raise ValueError(f"a page declares {count} values")
            body = memoryview(self._data)[head.at : after]
            self.bytes_read += head.at - start
            if seen + count > skip:
                self.bytes_read += len(body)
                if 4 in page and zlib.crc32(body) != page[4] & 0xFFFFFFFF:
                    raise ValueError("a page has another sum than it declares")
            yield body, count
            start, seen = after, seen + count

    def place(self, row: int) -> tuple[int, int]:
        """The group of a row, and where in it the row is.

        Raises:
            IndexError: there is no such row.
        """
        if not 0 <= row < self.rows:
            raise IndexError(f"{self.path} must have row {row}; it has {self.rows}.")
        group = bisect_right(self.starts, row) - 1
        return group, row - self.starts[group]


def _values(kind: str, body: memoryview, count: int) -> list[Any]:
    """The values of a plain page."""
    number, least, dtype = _KINDS[kind]
    if dtype:
        if len(body) != least * count:
            raise ValueError(f"a page of {count} numbers has {len(body)} bytes")
        return list(np.frombuffer(body, dtype).tolist())
    found, at = [], 0
    for _ in range(count):
        length = int.from_bytes(body[at : at + 4], "little")
        value = body[at + 4 : at + 4 + length]
        if len(value) != length or at + 4 > len(body):
            raise ValueError(f"a value of {length} bytes is declared where {len(body) - at} are left")
        found.append(str(value, "utf-8") if kind == "text" else value)
        at += 4 + length
    return found


def sha256_of(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def folder_bytes(folder: str | os.PathLike[str]) -> int:
    """Bytes of the files in a folder and below.

    >>> import tempfile
    >>> folder_bytes(tempfile.mkdtemp())
    0
    """
    return sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())
