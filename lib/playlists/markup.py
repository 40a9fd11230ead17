"""Streaming reader of untrusted XML: rejects entities, opens no external files, limits size, depth and token length."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Protocol
from xml.parsers import expat  # the handlers below reject entities and other dangerous XML

from reprise.lib.annotations.stream import Reject
from reprise.lib.errors import InputError
from reprise.lib.playlists.entries import Entry

MAX_BYTES = 512 << 20
"""Largest size of a document in bytes. An iTunes collection of 100,000 tracks has about 150 MB."""
MAX_DEPTH = 128
MAX_TEXT = 1 << 16
"""Largest number of characters in an element's text. Longer text is truncated."""
_READ_BYTES = 1 << 16
_MAX_TOKEN = 1 << 20


@dataclass
class Element:
    """An element: names of the elements from the root to it, attributes, first line, and the text read so far."""

    path: tuple[str, ...]
    attributes: dict[str, str]
    line: int
    text: str = ""


class XmlReader(Protocol):
    """Interface of classes that convert elements to entries."""

    def start(self, element: Element) -> None:
        """Handle the start of an element. Raise InputError for the root element of another format."""

    def end(self, element: Element) -> None:
        """Handle the end of an element, whose text is now complete. Raise InputError for a file in another format."""

    def take(self) -> list[Entry | Reject]:
        """Return the entries and rejects that are ready, and remove them from this reader."""

    def close(self) -> Iterator[Entry | Reject]:
        """Yield the entries and rejects that are known only at the end of the document."""


def read_xml(stream: BinaryIO, reader: XmlReader) -> Iterator[Entry | Reject]:
    """Yield the entries and rejects of a document. If it is invalid after its first item, yield one reject last.

    Raises
    ------
    InputError
        ``xml_entities`` for a document with an internal DTD subset, ``xml_too_large``, ``xml_too_deep``;
        ``broken_xml`` for invalid XML before the first item, or a tag or comment over 1 MiB; and the errors of
        ``reader``.
    """
    parser = _ExpatParser(reader)
    is_empty = True
    try:
        for _ in parser.feed(stream):
            for item in reader.take():
                is_empty = False
                yield item
        fault = None
    except (expat.ExpatError, ValueError, LookupError) as error:  # unknown encodings: ValueError or LookupError
        line = parser.expat.CurrentLineNumber
        fault = Reject(
            line,
            "broken_xml",
            f"the file is not valid XML from line {line} on ({str(error).split(':')[0]}): export it again",
            "",
        )
    for item in (*reader.take(), *reader.close()):
        is_empty = False
        yield item
    if fault is not None:
        if is_empty:
            raise InputError(fault.kind, fault.message)
        yield fault


class _ExpatParser:
    """Expat parser that checks the limits and passes elements to an XmlReader."""

    def __init__(self, reader: XmlReader) -> None:
        self.reader = reader
        self.open: list[Element] = []
        self.expat = expat.ParserCreate()
        self.expat.buffer_text = True
        self.expat.StartDoctypeDeclHandler = self._doctype
        self.expat.StartElementHandler = self._start
        self.expat.EndElementHandler = self._end
        self.expat.CharacterDataHandler = self._text

    def feed(self, stream: BinaryIO) -> Iterator[None]:
        """Parse a stream piece by piece. Yield None after each piece."""
        size = 0
        while piece := stream.read(_READ_BYTES):
            size += len(piece)
            if size > MAX_BYTES:
                raise InputError("xml_too_large", f"expected at most {MAX_BYTES >> 20} MiB of XML: export fewer tracks")
            self.expat.Parse(piece, False)
            # expat scans an unfinished token again with each piece: without a limit, the time would be quadratic
            if size - max(self.expat.CurrentByteIndex, 0) > _MAX_TOKEN:
                raise InputError("broken_xml", f"expected each tag or comment to have at most {_MAX_TOKEN >> 20} MiB")
            yield
        self.expat.Parse(b"", True)
        yield

    def _doctype(self, _name: str, _system_id: str | None, _public_id: str | None, has_own: int) -> None:
        # A reference to Apple's DTD, as iTunes writes it, is allowed: expat does not fetch it. Declarations inside the
        # file are rejected: playlists do not need them, and attacks use them
        if has_own:
            raise InputError("xml_entities", "the file contains its own declarations (<!DOCTYPE … [ … ]>): remove them")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        path = (*self.open[-1].path, name) if self.open else (name,)
        if len(path) > MAX_DEPTH:
            raise InputError("xml_too_deep", f"expected at most {MAX_DEPTH} nested elements: remove the file")
        self.open.append(Element(path, attributes, self.expat.CurrentLineNumber))
        self.reader.start(self.open[-1])

    def _text(self, text: str) -> None:
        element = self.open[-1]
        if len(element.text) < MAX_TEXT:
            element.text = (element.text + text)[:MAX_TEXT]

    def _end(self, _name: str) -> None:
        self.reader.end(self.open.pop())
