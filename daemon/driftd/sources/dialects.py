"""How the text of a file is written: separator, decimal sign, encoding and compression; and files opened as UTF-8."""

from __future__ import annotations

import codecs
import io
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

import pyarrow as pa

Compression = Literal["auto", "none", "gzip", "bz2", "zstd", "lz4"]
SUFFIXES = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd", ".lz4": "lz4"}
_DISCARDED_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class Dialect:
    """How text is written. `separator` None: a tab in `.tsv`, else a comma. `auto` goes by the suffix of the file."""

    separator: str | None = None
    decimal: str = "."
    encoding: str = "utf-8"
    compression: Compression = "auto"

    def separator_of(self, path: str) -> str:
        """The separator of one file."""
        if self.separator is not None:
            return self.separator
        return "\t" if ".tsv" in Path(path.lower()).suffixes else ","

    def compression_of(self, path: str) -> str | None:
        """The codec of one file, None when it is not compressed."""
        if self.compression == "auto":
            return SUFFIXES.get(Path(path).suffix.lower())
        return None if self.compression == "none" else self.compression

    @property
    def recodes_stream(self) -> bool:
        """Whether line ends are not single bytes, as in UTF-16: the file is recoded as a whole then."""
        return "\n".encode(self.encoding) != b"\n"

    def is_plain(self, path: str) -> bool:
        """Whether offsets in the text are offsets in the file."""
        return self.compression_of(path) is None and not self.recodes_stream

    def as_utf8(self, lines: bytes) -> bytes:
        """Lines as valid UTF-8 without a byte order mark; what is not of the encoding becomes U+FFFD."""
        lines = lines.removeprefix(codecs.BOM_UTF8)
        if self.recodes_stream:
            return lines
        if lines.isascii():
            return lines
        try:
            text = lines.decode(self.encoding)
        except UnicodeDecodeError:
            text = lines.decode(self.encoding, errors="replace")
        return text.encode(errors="replace")


def open_text(path: str, dialect: Dialect) -> BinaryIO:
    """A text file whose offsets count bytes after decompression (and recoding of UTF-16 and UTF-32).

    Raises OSError when the file cannot be opened; reading raises OSError where the compressed data are broken.
    """
    if dialect.is_plain(path):
        return Path(path).open("rb")
    return io.BufferedReader(RecodedFile(path, dialect))


class RecodedFile(io.RawIOBase):
    """A compressed or recoded file; seeking forward reads, seeking backward begins anew."""

    def __init__(self, path: str, dialect: Dialect) -> None:
        super().__init__()
        self._path, self._dialect = path, dialect
        self._begin()

    def _begin(self) -> None:
        compression = self._dialect.compression_of(self._path)
        self._raw = pa.input_stream(self._path, compression=compression)
        self._decoder = (
            codecs.getincrementaldecoder(self._dialect.encoding)("replace") if self._dialect.recodes_stream else None
        )
        self._waiting = b""
        self._place = 0

    def readable(self) -> bool:
        """See `io.IOBase`."""
        return True

    def seekable(self) -> bool:
        """See `io.IOBase`."""
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]  # any writable buffer does
        """See `io.RawIOBase`."""
        while not self._waiting:
            raw = self._raw.read(max(len(buffer), 4096))
            if not raw:
                return 0
            self._waiting = raw if self._decoder is None else self._decoder.decode(raw).encode(errors="replace")
        size = min(len(buffer), len(self._waiting))
        buffer[:size] = self._waiting[:size]
        self._waiting = self._waiting[size:]
        self._place += size
        return size

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Only to an offset from the beginning."""
        if whence == io.SEEK_CUR:
            offset += self._place
        elif whence != io.SEEK_SET:
            raise io.UnsupportedOperation("the end of a compressed file is not known before it is read")
        if offset < self._place:
            self._raw.close()
            self._begin()
        buffer = bytearray(_DISCARDED_BYTES)
        while self._place < offset:
            if not self.readinto(memoryview(buffer)[: min(len(buffer), offset - self._place)]):
                break
        return self._place

    def tell(self) -> int:
        """The offset of the next byte."""
        return self._place

    def close(self) -> None:
        """Close the file below."""
        if not self.closed:
            self._raw.close()
        super().close()
