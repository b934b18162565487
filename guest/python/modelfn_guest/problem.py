"""Failed requests, as the client is told them: `application/problem+json` (RFC 9457)."""

from http import HTTPStatus
from typing import Any

# The one phrase that newer RFCs changed (9110, section 15.5.14) and that Python's table has in two forms.
_TITLES = {status.value: status.phrase for status in HTTPStatus} | {
    413: "Content Too Large",
    422: "Unprocessable Content",
}
_RESERVED = frozenset({"type", "title", "status", "detail"})


class Problem(Exception):  # noqa: N818, the name is that of RFC 9457
    """A failed request: a status of 400 to 599, and one sentence for the person who sent it.

    Raise it anywhere in a handler; it ends the request. The detail should name the remedy, and never quote the body of
    the request. `members` are further members of the document:

        raise Problem(409, "this picture is already there; choose another name", name="cat")
    """

    def __init__(self, status: int, detail: str, /, **members: Any):
        """Raises ValueError for a status that is no error and for members that the RFC has itself."""
        if not 400 <= status <= 599:
            raise ValueError(f"a problem's status is 400 to 599, not {status}")
        if taken := _RESERVED & members.keys():
            raise ValueError(f"'{min(taken)}' is a member of every problem document; choose another name")
        super().__init__(status, detail)
        self.status = status
        self.detail = detail
        self.members = members
        self.headers: list[tuple[str, str]] = []

    def __str__(self) -> str:
        return self.detail

    def document(self) -> dict[str, Any]:
        """The body of the response. Its type is `about:blank`: the status says what kind of problem it is."""
        title = _TITLES.get(self.status, "Error")
        return {"type": "about:blank", "title": title, "status": self.status, "detail": self.detail} | self.members

    @classmethod
    def bad_request(cls, detail: str) -> "Problem":
        """400: the request cannot be understood as it is."""
        return cls(400, detail)

    @classmethod
    def not_found(cls, detail: str) -> "Problem":
        """404: no such path; the detail should say which there are."""
        return cls(404, detail)

    @classmethod
    def method_not_allowed(cls, allow: str) -> "Problem":
        """405: the path exists, but answers other methods; `allow` lists them: `GET, HEAD`."""
        problem = cls(405, f"this path answers {allow} only")
        problem.headers.append(("allow", allow))
        return problem

    @classmethod
    def request_timeout(cls, detail: str) -> "Problem":
        """408: the client was too slow."""
        return cls(408, detail)

    @classmethod
    def too_large(cls, detail: str) -> "Problem":
        """413: the body, or what it decodes to, is too large."""
        return cls(413, detail)

    @classmethod
    def unsupported_media(cls, detail: str) -> "Problem":
        """415: a body of a type or format that the function does not read."""
        return cls(415, detail)

    @classmethod
    def unprocessable(cls, detail: str) -> "Problem":
        """422: a body of the right form, whose content the function cannot work with."""
        return cls(422, detail)

    @classmethod
    def internal(cls, detail: str) -> "Problem":
        """500: the function, or the model's card, is wrong; the client can only report it."""
        return cls(500, detail)

    @classmethod
    def bad_gateway(cls, detail: str) -> "Problem":
        """502: the host's engine failed."""
        return cls(502, detail)

    @classmethod
    def unavailable(cls, detail: str) -> "Problem":
        """503: the host does not have the model."""
        return cls(503, detail)

    @classmethod
    def gateway_timeout(cls, detail: str) -> "Problem":
        """504: the host gave the computation up."""
        return cls(504, detail)

    @classmethod
    def insufficient_storage(cls, detail: str) -> "Problem":
        """507: there is not enough memory."""
        return cls(507, detail)
