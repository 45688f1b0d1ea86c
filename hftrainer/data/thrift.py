"""Thrift's compact protocol, as far as Parquet's footers and page headers use it; read from untrusted bytes.

Source: Apache Thrift, ``thrift-compact-protocol.md``; Apache Parquet, ``parquet.thrift``.
"""

from __future__ import annotations

import struct
from typing import Any

#: Structures within structures; Parquet has no more than a handful.
_DEPTH = 16
_STOP, _TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = 0, 1, 2, 3, 7, 8, 9, 10, 11, 12


class Reader:
    """Reads one structure after the other from a buffer.

    Args:
        data: bytes, or a memory map.
        at: where to begin.
        end: where the buffer ends.

    Attributes:
        at: the first byte that was not read.

    Raises:
        ValueError: from every method, where the bytes are no such thing or end too early.

    >>> Reader(bytes([0x15, 0x0E, 0x00]), 0, 3).structure()
    {1: 7}
    """

    def __init__(self, data: Any, at: int, end: int) -> None:
        self._data, self.at, self._end = data, at, end

    def _take(self, count: int) -> bytes:
        if not 0 <= count <= self._end - self.at:
            raise ValueError(f"{count} bytes are declared where {self._end - self.at} are left")
        self.at += count
        return bytes(self._data[self.at - count : self.at])

    def _varint(self) -> int:
        value = 0
        for shift in range(0, 70, 7):
            byte = self._take(1)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
        raise ValueError("a number is too long")

    def _number(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)

    def structure(self, depth: int = 0) -> dict[int, Any]:
        """Field number -> value; values are ints, floats, bools, bytes, lists and structures."""
        if depth > _DEPTH:
            raise ValueError("structures lie too deep")
        found: dict[int, Any] = {}
        field = 0
        while True:
            head = self._take(1)[0]
            if head == _STOP:
                return found
            field = field + (head >> 4) if head >> 4 else self._number()
            kind = head & 15
            found[field] = kind == _TRUE if kind in (_TRUE, _FALSE) else self._value(kind, depth)

    def _value(self, kind: int, depth: int) -> Any:
        if kind in (_TRUE, _FALSE):  # within a list each is a byte
            return self._take(1)[0] == _TRUE
        if kind == _BYTE:
            return self._take(1)[0]
        if kind < _DOUBLE and kind != _STOP:
            return self._number()
        if kind == _DOUBLE:
            return struct.unpack("<d", self._take(8))[0]
        if kind == _BINARY:
            return self._take(self._varint())
        if kind in (_LIST, _SET):
            head = self._take(1)[0]
            count = self._varint() if head >> 4 == 15 else head >> 4
            if count > self._end - self.at:
                raise ValueError(f"a list of {count} is declared where {self._end - self.at} bytes are left")
            return [self._value(head & 15, depth) for _ in range(count)]
        if kind == _STRUCT:
            return self.structure(depth + 1)
        raise ValueError(f"there is a field of kind {kind}, which Parquet has not")
