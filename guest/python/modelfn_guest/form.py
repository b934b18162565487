"""Forms with files: `multipart/form-data` (RFC 7578)."""

from collections.abc import Iterator
from dataclasses import dataclass

from modelfn_guest.problem import Problem

# Most parts of a form: each costs objects, and a body of 16 MiB could hold a million of them.
MAX_PARTS = 1000

# Most bytes of the header lines of one part.
MAX_HEADER_BYTES = 8 << 10


@dataclass(frozen=True, slots=True)
class Part:
    """A field or a file of a form. `filename` is what the client calls the file, and None for a field."""

    name: str
    filename: str | None
    content_type: str
    data: bytes

    def text(self) -> str:
        """The content as UTF-8; raises `Problem` 400 where it is none."""
        try:
            return self.data.decode()
        except UnicodeDecodeError:
            raise Problem.bad_request(f"the form's field '{self.name}' is not UTF-8 text") from None


class Form:
    """The parts of a form, in their order."""

    def __init__(self, parts: list[Part]):
        self._parts = parts

    def __iter__(self) -> Iterator[Part]:
        return iter(self._parts)

    def __len__(self) -> int:
        return len(self._parts)

    def __contains__(self, name: object) -> bool:
        return any(part.name == name for part in self._parts)

    def file(self, name: str) -> Part:
        """The first file of that name; raises `Problem` 400 where the form lacks it and where it is empty."""
        part = self._part(name, f"-F {name}=@FILE")
        if not part.data:
            raise Problem.bad_request(f"the file in the form's field '{name}' is empty; choose another")
        return part

    def text(self, name: str) -> str:
        """The first field of that name as text; raises `Problem` 400 where the form lacks it or it is not UTF-8."""
        return self._part(name, f"-F {name}=VALUE").text()

    def _part(self, name: str, example: str) -> Part:
        for part in self._parts:
            if part.name == name:
                return part
        raise Problem.bad_request(f"the form has no field '{name}'; try: curl {example} URL")

    @classmethod
    def parse(cls, body: bytes, content_type: str) -> "Form":
        """Splits a body at the boundary that its type names; raises `Problem` 400 where it is broken or cut off."""
        boundary = parameters(content_type).get("boundary")
        if not boundary:
            raise Problem.bad_request("the multipart Content-Type has no boundary; let the HTTP client set it")
        delimiter = b"\r\n--" + boundary.encode("latin-1", "replace")
        # A preamble may stand before the first delimiter, which needs no line before it (RFC 2046, section 5.1.1).
        at = 0 if body.startswith(delimiter[2:]) else body.find(delimiter) + 2
        if at == 1:
            raise Problem.bad_request("the form does not hold the boundary that its Content-Type names")
        parts: list[Part] = []
        at += len(delimiter) - 2
        while not body.startswith(b"--", at):
            line_end, end = body.find(b"\r\n", at), body.find(delimiter, at)
            if line_end < 0 or end < 0:
                raise Problem.bad_request("the form is cut off: its closing boundary is missing; send it again")
            if len(parts) == MAX_PARTS:
                raise Problem.too_large(f"the form has more than {MAX_PARTS:,} parts; send fewer")
            parts.append(_part(body, line_end + 2, end))
            at = end + len(delimiter)
        return cls(parts)


def _part(body: bytes, start: int, end: int) -> Part:
    """The part whose header lines begin at `start` and whose content ends at `end`."""
    # A part without header lines begins with the empty line that ends them.
    head_end = start - 2 if body.startswith(b"\r\n", start, end) else body.find(b"\r\n\r\n", start, end)
    if head_end < start - 2 or head_end - start > MAX_HEADER_BYTES:
        raise Problem.bad_request("a part of the form has broken header lines")
    headers: dict[str, str] = {}
    for line in body[start : max(start, head_end)].decode(errors="replace").split("\r\n"):
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    disposition = parameters(headers.get("content-disposition", ""))
    filename = disposition.get("filename")
    kind = headers.get("content-type") or ("text/plain" if filename is None else "application/octet-stream")
    return Part(disposition.get("name", ""), filename, kind, body[head_end + 4 : end])


def essence(content_type: str) -> str:
    """The media type without its parameters, in lower case."""
    return content_type.partition(";")[0].strip().lower()


def parameters(header: str) -> dict[str, str]:
    """The parameters of a header such as `form-data; name="a"`, by names in lower case; the first of each name.

    Quoted strings are parsed, so that a file called `a; name="b"` adds no parameter.
    """
    found: dict[str, str] = {}
    rest = header.partition(";")[2]
    while rest:
        name, equals, rest = rest.partition("=")
        if not equals:
            break
        value, rest = _value(rest.lstrip())
        found.setdefault(name.strip().lower(), value)
        rest = rest.partition(";")[2]
    return found


def _value(text: str) -> tuple[str, str]:
    """Splits off a token or a quoted string: its value, and the text that follows."""
    if not text.startswith('"'):
        end = text.find(";")
        end = len(text) if end < 0 else end
        return text[:end].strip(), text[end:]
    value, at = [], 1
    while at < len(text) and text[at] != '"':
        at += text[at] == "\\"
        value.append(text[at : at + 1])
        at += 1
    return "".join(value), text[at + 1 :]
