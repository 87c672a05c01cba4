"""
A multipart body, and typed access to parameters whether they came as JSON or as the fields of a form.

The form's limits are far beyond OpenAI's (16 images below 50 MB), so that it is OpenAI's rules that answer and not a
parser's.
"""

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Final

from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from gateway.sandbox import errors
from gateway.sandbox.call import Call

_MAX_FIELDS: Final = 256
_MAX_FIELD_BYTES: Final = 4 << 20


@dataclass(frozen=True, slots=True)
class Upload:
    """A file part: its field, its name and its bytes."""

    field: str
    filename: str
    data: bytes


@dataclass(slots=True)
class Params:
    """
    The parameters of a call.

    Args:
        values: JSON values, or the fields' texts.
        is_form: texts stand for numbers and booleans, as a form has them.
    """

    values: dict[str, object]
    uploads: list[Upload] = field(default_factory=list)
    is_form: bool = False

    def files(self, *names: str) -> list[Upload]:
        """The file parts of these names, also spelled `name[]` and `name[0]`, in the order they came."""
        return [upload for upload in self.uploads if upload.field.partition("[")[0] in names]

    def text(self, name: str) -> str | None:
        """
        A string.

        Raises:
            ApiError: 400 `invalid_type`.
        """
        value = self.values.get(name)
        if value is None or isinstance(value, str):
            return value
        raise errors.wrong_type(name, "a string", value)

    def number(self, name: str, low: int, high: int) -> int | None:
        """
        A whole number within these bounds.

        Raises:
            ApiError: 400 `invalid_type`, or `invalid_value` outside the bounds.
        """
        value = self.values.get(name)
        if self.is_form and isinstance(value, str) and value.lstrip("-").isdigit():
            value = int(value)
        if value is None:
            return None
        if not isinstance(value, int) or isinstance(value, bool):
            raise errors.wrong_type(name, "an integer", value)
        if not low <= value <= high:
            raise errors.invalid(name, value, f"{low} to {high}")
        return value

    def flag(self, name: str) -> bool:
        """
        A boolean; absent is false.

        Raises:
            ApiError: 400 `invalid_type`.
        """
        value = self.values.get(name)
        if self.is_form and isinstance(value, str):
            value = {"true": True, "false": False}.get(value.lower(), value)
        if value is None or isinstance(value, bool):
            return bool(value)
        raise errors.wrong_type(name, "a boolean", value)

    def choice(self, name: str, known: tuple[str, ...], default: str) -> str:
        """
        One of these words.

        Raises:
            ApiError: 400 `invalid_type` or `invalid_value`.
        """
        value = self.text(name)
        if value is None:
            return default
        if value not in known:
            raise errors.invalid(name, value, ", ".join(f"'{word}'" for word in known))
        return value


async def params_of(call: Call) -> Params:
    """
    The parameters of a call, by its content type.

    Raises:
        ApiError: 400 for a body that is neither JSON nor a form.
    """
    if not call.is_form():
        return Params(call.payload())
    return await _form(call)


async def _form(call: Call) -> Params:
    headers = Headers(raw=call.scope["headers"])
    parser = MultiPartParser(
        headers,
        _once(call.body),
        max_files=_MAX_FIELDS,
        max_fields=_MAX_FIELDS,
        max_part_size=_MAX_FIELD_BYTES,
    )
    try:
        form = await parser.parse()
    except (MultiPartException, KeyError) as error:
        raise errors.ApiError(400, f"Could not parse multipart form: {error}.") from error
    found = Params({}, is_form=True)
    for name, value in form.multi_items():
        if isinstance(value, UploadFile):
            found.uploads.append(Upload(name, value.filename or "upload", await value.read()))
        else:
            found.values[name] = value
    await form.close()
    return found


async def _once(body: bytes) -> AsyncGenerator[bytes, None]:
    yield body
