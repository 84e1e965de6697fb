"""What the API answers when it refuses, as the `Status` object that clients parse.

Reasons and codes are those of the Kubernetes API conventions (kubernetes/community, api-conventions.md,
"Response Status Kind"); messages follow the real server's wording, because people grep for it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from resync.lab.api.objects import JsonObject


@dataclass(frozen=True, slots=True)
class Cause:
    """One field that is wrong: `reason` is a FieldValue* word, `path` the field in dotted form."""

    reason: str
    path: str
    message: str

    def as_json(self) -> JsonObject:
        """The cause in the form of `Status.details.causes`."""
        return {"reason": self.reason, "message": self.message, "field": self.path}


@dataclass(frozen=True, slots=True)
class Subject:
    """What a refusal is about."""

    group: str = ""
    plural: str = ""
    kind: str = ""
    name: str = ""

    @property
    def label(self) -> str:
        """`pods`, or `networkchaos.chaos-mesh.org` for a kind outside the core group."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def kind_label(self) -> str:
        """`Pod`, or `NetworkChaos.chaos-mesh.org`."""
        return f"{self.kind}.{self.group}" if self.group else self.kind


@dataclass(slots=True)
class ApiError(Exception):
    """A refusal: nothing was written. `code` is the HTTP status, `reason` the machine-readable word."""

    code: int
    reason: str
    message: str
    subject: Subject = field(default_factory=Subject)
    causes: Sequence[Cause] = ()

    def __str__(self) -> str:
        return self.message

    def status(self) -> JsonObject:
        """The `Status` object a client receives."""
        return {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "details": self._details(),
            "code": self.code,
        }

    def _details(self) -> JsonObject:
        details: JsonObject = {
            "name": self.subject.name,
            "group": self.subject.group,
            "kind": self.subject.kind if self.reason == "Invalid" else self.subject.plural,
            "causes": [cause.as_json() for cause in self.causes],
        }
        return {word: value for word, value in details.items() if value}


def not_found(subject: Subject) -> ApiError:
    """404: no such object."""
    return ApiError(404, "NotFound", f'{subject.label} "{subject.name}" not found', subject)


def no_such_path() -> ApiError:
    """404: the server knows no such resource; the object part is not even looked at."""
    return ApiError(404, "NotFound", "the server could not find the requested resource")


def already_exists(subject: Subject) -> ApiError:
    """409: create of a name that is taken."""
    return ApiError(409, "AlreadyExists", f'{subject.label} "{subject.name}" already exists', subject)


def modified(subject: Subject) -> ApiError:
    """409: the write was based on an older version."""
    text = "the object has been modified; please apply your changes to the latest version and try again"
    return conflict(subject, text)


def conflict(subject: Subject, why: str) -> ApiError:
    """409: the object is not in the state the request assumes."""
    return ApiError(
        409, "Conflict", f'Operation cannot be fulfilled on {subject.label} "{subject.name}": {why}', subject
    )


def invalid(subject: Subject, causes: Sequence[Cause]) -> ApiError:
    """422: fields are wrong; every one is listed."""
    texts = [f"{cause.path}: {cause.message}" for cause in causes]
    joined = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    return ApiError(
        422, "Invalid", f'{subject.kind_label} "{subject.name}" is invalid: {joined}', subject, causes
    )


def unprocessable(message: str, subject: Subject | None = None) -> ApiError:
    """422: a patch that cannot be applied to the object as it is."""
    return ApiError(422, "Invalid", message, subject or Subject())


def bad_request(message: str) -> ApiError:
    """400: the request itself is malformed."""
    return ApiError(400, "BadRequest", message)


def forbidden(message: str, subject: Subject | None = None) -> ApiError:
    """403: understood and refused."""
    return ApiError(403, "Forbidden", message, subject or Subject())


def unauthorized() -> ApiError:
    """401: no token, or not this lab's."""
    return ApiError(401, "Unauthorized", "Unauthorized")


def method_not_allowed() -> ApiError:
    """405: the resource exists and does not do this."""
    return ApiError(
        405, "MethodNotAllowed", "the server does not allow this method on the requested resource"
    )


def not_acceptable() -> ApiError:
    """406: none of the encodings the client accepts is spoken here."""
    return ApiError(406, "NotAcceptable", "only the following media types are accepted: application/json")


def unsupported_media(content_type: str, accepted: Sequence[str]) -> ApiError:
    """415: the body is in a form this resource does not take."""
    text = (
        f"the body of the request was in an unknown format ({content_type}) - accepted media types include: "
    )
    return ApiError(415, "UnsupportedMediaType", text + ", ".join(accepted))


def unavailable(message: str) -> ApiError:
    """Nobody behind the API could be reached."""
    return ApiError(503, "ServiceUnavailable", message)


def too_large() -> ApiError:
    """413: the body is over the limit."""
    return ApiError(413, "RequestEntityTooLarge", "limit is 3145728")


def expired(asked: int, oldest: int) -> ApiError:
    """410: the changes since the version asked for are no longer kept; list again and watch from there."""
    return ApiError(410, "Expired", f"too old resource version: {asked} ({oldest})")


def internal(why: str) -> ApiError:
    """500: the fault is the server's, or of somebody it had to ask."""
    return ApiError(500, "InternalError", f"Internal error occurred: {why}")


def in_the_future(asked: int, newest: int) -> ApiError:
    """504: a version that has not happened yet."""
    cause = Cause("ResourceVersionTooLarge", "", "Too large resource version")
    text = f"Too large resource version: {asked}, current: {newest}"
    return ApiError(504, "Timeout", text, causes=(cause,))
