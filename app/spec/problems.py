"""Bad content found while reading a client's bytes, as an exception that knows its HTTP answer."""

from typing import Any

TITLES = {
    413: "Content too large",
    415: "Unsupported media type",
    422: "Unprocessable content",
}


class Refused(Exception):
    """A client's file, or the part of it at `pointer`, cannot be accepted.

    Readers and workers raise it; the API answers with it, or keeps it as a resource's `error`.
    It pickles, so it crosses the border of a process.
    """

    def __init__(
        self,
        status: int,
        code: str,
        title: str,
        detail: str,
        hint: str | None = None,
        pointer: str | None = None,
    ) -> None:
        super().__init__(status, code, title, detail, hint, pointer)
        self.status = status
        self.code = code
        self.title = title
        self.detail = detail
        self.hint = hint
        self.pointer = pointer

    def __str__(self) -> str:
        return f"{self.code}: {self.detail}"

    @classmethod
    def invalid(
        cls, code: str, detail: str, hint: str | None = None, pointer: str | None = None
    ) -> "Refused":
        """422: it was read, and it is wrong."""
        return cls(422, code, TITLES[422], detail, hint, pointer)

    @classmethod
    def too_large(cls, code: str, detail: str, hint: str | None = None) -> "Refused":
        """413: more bytes, rows or tensors than the service reads."""
        return cls(413, code, TITLES[413], detail, hint)

    @classmethod
    def unsupported(cls, code: str, detail: str, hint: str | None = None) -> "Refused":
        """415: a format the service does not open."""
        return cls(415, code, TITLES[415], detail, hint)

    def at(self, pointer: str) -> "Refused":
        """The same, found in what the request names at `pointer`."""
        return Refused(self.status, self.code, self.title, self.detail, self.hint, pointer)

    def inside(self, name: str) -> "Refused":
        """The same, of one of several files; without a name as it is."""
        detail = f"{self.detail.removesuffix('.')} (in {name})." if name else self.detail
        return Refused(self.status, self.code, self.title, detail, self.hint, self.pointer)

    def as_problem(self) -> dict[str, Any]:
        """The members of every problem; no request is being answered, so `request_id` is null."""
        problem: dict[str, Any] = {
            "type": "about:blank",
            "title": self.title,
            "status": self.status,
            "detail": f"{self.detail} {self.hint}" if self.hint else self.detail,
            "code": self.code,
            "request_id": None,
            "retryable": False,
        }
        if self.pointer is not None:
            problem["errors"] = [
                {"pointer": self.pointer, "code": self.code, "detail": self.detail}
            ]
        elif self.status == 422:
            problem["errors"] = []
        return problem
