"""XML from anywhere, read as a stream: no entities, nothing fetched, bounded depth, size and tokens."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Protocol
from xml.parsers import expat  # its handlers below refuse what makes XML dangerous

from reprise.lib.annotations.stream import Reject
from reprise.lib.errors import InputError
from reprise.lib.playlists.entries import Entry

MAX_BYTES = 512 << 20
"""An iTunes library of 100,000 tracks has about 150 MB."""
MAX_DEPTH = 128
MAX_TEXT = 1 << 16
"""Characters kept of an element's text; the rest of a longer one is dropped."""
_READ_BYTES = 1 << 16
_MAX_TOKEN = 1 << 20


@dataclass
class Element:
    """An element: the names from the root down to itself, its attributes, first line and, at its end, its own text."""

    path: tuple[str, ...]
    attributes: dict[str, str]
    line: int
    text: str = ""


class XmlReader(Protocol):
    """What makes entries of elements."""

    def start(self, element: Element) -> None:
        """Take the start of an element; raises InputError for a root that is not this reader's."""

    def end(self, element: Element) -> None:
        """Take the end of an element."""

    def take(self) -> list[Entry | Reject]:
        """Hand over, once, what is ready."""

    def close(self) -> Iterator[Entry | Reject]:
        """Yield what could only be known at the end."""


def read_xml(stream: BinaryIO, reader: XmlReader) -> Iterator[Entry | Reject]:
    """Entries and rejects that ``reader`` makes of a document; one that breaks off gives what came before, and why.

    Raises
    ------
    InputError
        ``xml_entities`` for a document that declares anything of its own, ``xml_too_large``, ``xml_too_deep``;
        ``broken_xml`` when it breaks before there is anything to give.
    """
    events = _Events(reader)
    is_empty = True
    try:
        for _ in events.feed(stream):
            for item in reader.take():
                is_empty = False
                yield item
        fault = None
    except (expat.ExpatError, ValueError, LookupError) as error:  # the last two: encodings that are none
        text = f"is no whole XML from line {events.parser.CurrentLineNumber} on: {str(error).split(':')[0]}"
        fault = Reject(events.parser.CurrentLineNumber, "broken_xml", text, "")
    for item in (*reader.take(), *reader.close()):
        is_empty = False
        yield item
    if fault is not None:
        if is_empty:
            raise InputError(fault.kind, fault.message)
        yield fault


class _Events:
    """Expat's events, checked and turned into those of an XmlReader."""

    def __init__(self, reader: XmlReader) -> None:
        self.reader = reader
        self.open: list[Element] = []
        self.parser = expat.ParserCreate()
        self.parser.buffer_text = True
        self.parser.StartDoctypeDeclHandler = self._doctype
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._text

    def feed(self, stream: BinaryIO) -> Iterator[None]:
        """Parse a stream piece by piece; yields after each."""
        size = 0
        while piece := stream.read(_READ_BYTES):
            size += len(piece)
            if size > MAX_BYTES:
                raise InputError("xml_too_large", f"expected at most {MAX_BYTES >> 20} MiB of XML")
            self.parser.Parse(piece, False)
            # expat scans an unfinished token again with every piece: without a bound that is quadratic
            if size - max(self.parser.CurrentByteIndex, 0) > _MAX_TOKEN:
                raise InputError("broken_xml", f"expected no tag or comment of more than {_MAX_TOKEN >> 20} MiB")
            yield
        self.parser.Parse(b"", True)
        yield

    def _doctype(self, _name: str, _system_id: str | None, _public_id: str | None, has_own: int) -> None:
        # iTunes names Apple's DTD, which expat does not fetch; declarations in the file itself only serve attacks
        if has_own:
            raise InputError("xml_entities", "expected XML without declarations of its own (<!DOCTYPE … [ … ]>)")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        path = (*self.open[-1].path, name) if self.open else (name,)
        if len(path) > MAX_DEPTH:
            raise InputError("xml_too_deep", f"expected at most {MAX_DEPTH} elements in one another")
        self.open.append(Element(path, attributes, self.parser.CurrentLineNumber))
        self.reader.start(self.open[-1])

    def _text(self, text: str) -> None:
        element = self.open[-1]
        if len(element.text) < MAX_TEXT:
            element.text = (element.text + text)[:MAX_TEXT]

    def _end(self, _name: str) -> None:
        self.reader.end(self.open.pop())
