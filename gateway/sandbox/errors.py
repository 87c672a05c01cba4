"""
What can be wrong with a call, in OpenAI's words.

Every function makes one error; raising is the caller's. Sources: recorded answers of the API, named where the
wording comes from one. `code` is what clients decide by; `type` varies between endpoints for the same code.
"""

from dataclasses import dataclass, field

INVALID = "invalid_request_error"
IMAGE_USER = "image_generation_user_error"


@dataclass(slots=True)
class ApiError(Exception):
    """An answer with a status of 400 or more and OpenAI's `{"error": {...}}` body."""

    status: int
    message: str
    type: str = INVALID
    param: str | None = None
    code: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    moderation: dict[str, object] | None = None

    def inner(self) -> dict[str, object]:
        """What stands under `error`."""
        found: dict[str, object] = {
            "message": self.message,
            "type": self.type,
            "param": self.param,
            "code": self.code,
        }
        if self.moderation is not None:
            found["moderation_details"] = self.moderation
        return found

    def body(self) -> dict[str, object]:
        """The whole JSON body."""
        return {"error": self.inner()}


def missing(param: str) -> ApiError:
    """A required parameter is absent."""
    return ApiError(
        400, f"Missing required parameter: '{param}'.", param=param, code="missing_required_parameter"
    )


def wrong_type(param: str, wanted: str, got: object) -> ApiError:
    """A parameter has another JSON type than its schema says."""
    return ApiError(
        400,
        f"Invalid type for '{param}': expected {wanted}, but got {type(got).__name__} instead.",
        param=param,
        code="invalid_type",
    )


def invalid(param: str, value: object, supported: str, *, kind: str = INVALID) -> ApiError:
    """A parameter has a value outside its range or list."""
    return ApiError(
        400,
        f"Invalid value: '{value}'. Supported values are: {supported}.",
        type=kind,
        param=param,
        code="invalid_value",
    )


def unknown_parameter(param: str) -> ApiError:
    """A parameter that this model does not take."""
    return ApiError(400, f"Unknown parameter: '{param}'.", param=param, code="unknown_parameter")


def no_image_model(model: str) -> ApiError:
    """The images endpoints' words for a model that is not there (recorded 2026-09)."""
    return ApiError(
        400, f"The model '{model}' does not exist.", type=IMAGE_USER, param="model", code="invalid_value"
    )


def no_model(model: str) -> ApiError:
    """The other endpoints' words for a model that is not there."""
    return ApiError(
        404,
        f"The model `{model}` does not exist or you do not have access to it.",
        param="model",
        code="model_not_found",
    )


def blocked(request_id: str, *, stage: str = "input") -> ApiError:
    """The safety system's refusal."""
    return ApiError(
        400,
        "Your request was rejected by the safety system. If you believe this is an error, contact us at "
        f"help.openai.com and include the request ID {request_id}.",
        type=IMAGE_USER,
        code="moderation_blocked",
        moderation={"moderation_stage": stage, "categories": ["other"]},
    )


def not_downloaded(url: str) -> ApiError:
    """An input image by URL that could not be had. The sandbox never fetches anything from elsewhere."""
    return ApiError(
        400,
        f"Failed to download image from {url[:200]}. The sandbox serves its own /_sandbox/images/ only.",
        param="url",
        code="failed_to_download_image",
    )


def not_found(message: str, *, param: str | None = None) -> ApiError:
    """An object that is not there; the message is the endpoint's."""
    return ApiError(404, message, param=param)


def steering(message: str) -> ApiError:
    """The X-Sandbox header could not be understood."""
    return ApiError(400, f"X-Sandbox: {message}", param="X-Sandbox", code="invalid_steering")


_STATUS_WORDS: dict[int, tuple[str, str, str | None]] = {
    400: ("The request was refused, as the sandbox was asked to.", INVALID, None),
    401: ("Incorrect API key provided: sk-****.", INVALID, "invalid_api_key"),
    403: ("Your organization must be verified to use this model.", INVALID, None),
    404: ("The requested resource was not found.", INVALID, None),
    429: (
        "Rate limit reached on images per min: Limit 5, Used 5, Requested 1.",
        "requests",
        "rate_limit_exceeded",
    ),
    503: ("The server is currently overloaded with other requests.", "server_error", None),
}
_TOO_MANY = 429


def asked_for(status: int) -> ApiError:
    """The failure a test asked for by `fail=status=N`."""
    message, kind, code = _STATUS_WORDS.get(
        status,
        (
            "The server had an error while processing your request. Sorry about that!",
            "server_error",
            "server_error",
        ),
    )
    headers = {"retry-after": "1", "retry-after-ms": "534"} if status == _TOO_MANY else {}
    return ApiError(status, message, type=kind, code=code, headers=headers)
