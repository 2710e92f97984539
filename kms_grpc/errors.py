"""The errors of the service: one class per AWS KMS error name.

A class states its facts once: the gRPC status (by name, so that nothing below the doors knows grpc), AWS's HTTP
status, and whether the same call may succeed later (`retryable`). Doors read these facts and nothing else. Texts are
AWS's where AWS's are known; otherwise they name the key, its state and the way out, and never a secret.

Source: https://docs.aws.amazon.com/kms/latest/APIReference/CommonErrors.html and the errors of each operation there.
"""

from __future__ import annotations

from typing import ClassVar, Final

TEXT_BYTES: Final = 800
"""Longest text of an error. gRPC sends it twice in trailers of 4 KiB: percent-encoded and in base64."""
DEADLINE_PASSED: Final = "The call's deadline had passed before it was begun."
"""Text of the DependencyTimeoutException for a call that is not begun for this reason."""


class KMSError(Exception):
    """Base of all errors a caller can see. `text` is the message sent to the caller; it may be empty."""

    status: ClassVar[str] = "INTERNAL"
    http_status: ClassVar[int] = 400
    retryable: ClassVar[bool] = False
    pushback_ms: ClassVar[int | None] = None
    """What `grpc-retry-pushback-ms` says: -1 tells clients not to retry at all; None leaves the choice to them."""

    region: str | None = None
    request_id: str | None = None
    """Where and under which id a call was refused: read by the client from the answer, unset in the server."""

    def __init__(self, text: str = "", *, key: str | None = None, state: str | None = None) -> None:
        super().__init__(text)
        self.text = text
        self.key = key
        self.state = state

    @property
    def code(self) -> str:
        """AWS's name of the error, as sent in ErrorInfo.reason."""
        return type(self).__name__


# --- the request itself ------------------------------------------------------------------------------------------


class ValidationException(KMSError):
    status = "INVALID_ARGUMENT"


class InvalidArnException(KMSError):
    status = "INVALID_ARGUMENT"


class InvalidAliasNameException(KMSError):
    status = "INVALID_ARGUMENT"


class InvalidMarkerException(KMSError):
    status = "INVALID_ARGUMENT"


class TagException(KMSError):
    status = "INVALID_ARGUMENT"


class MalformedPolicyDocumentException(KMSError):
    status = "INVALID_ARGUMENT"


class InvalidGrantTokenException(KMSError):
    status = "INVALID_ARGUMENT"


class InvalidGrantIdException(KMSError):
    status = "INVALID_ARGUMENT"


class SerializationException(KMSError):
    """The body is not what the operation's shape says."""

    status = "INVALID_ARGUMENT"


class UnknownOperationException(KMSError):
    status = "UNIMPLEMENTED"


class RequestEntityTooLargeException(KMSError):
    status = "INVALID_ARGUMENT"
    http_status = 413


# --- who is calling, and what may they do ------------------------------------------------------------------------


class MissingAuthenticationTokenException(KMSError):
    status = "UNAUTHENTICATED"


class UnrecognizedClientException(KMSError):
    status = "UNAUTHENTICATED"


class IncompleteSignatureException(KMSError):
    status = "UNAUTHENTICATED"


class InvalidSignatureException(KMSError):
    """Wrong, expired, or not over what it has to be."""

    status = "UNAUTHENTICATED"


class ExpiredTokenException(KMSError):
    status = "UNAUTHENTICATED"


class AccessDeniedException(KMSError):
    status = "PERMISSION_DENIED"


class NotAuthorizedException(KMSError):
    status = "PERMISSION_DENIED"


# --- what is named -----------------------------------------------------------------------------------------------


class NotFoundException(KMSError):
    status = "NOT_FOUND"


class AlreadyExistsException(KMSError):
    status = "ALREADY_EXISTS"


# --- what the key is, and which state it is in -------------------------------------------------------------------


class DisabledException(KMSError):
    status = "FAILED_PRECONDITION"


class KMSInvalidStateException(KMSError):
    status = "FAILED_PRECONDITION"


class InvalidKeyUsageException(KMSError):
    status = "FAILED_PRECONDITION"


class UnsupportedOperationException(KMSError):
    status = "FAILED_PRECONDITION"


class KeyUnavailableException(KMSError):
    """The key cannot be used as it is stored (its row or material was changed on disk). Retrying does not help, so it
    is HTTP 400, where AWS's own is a fault: SDKs repeat calls that were answered 5xx."""

    status = "UNAVAILABLE"
    pushback_ms = -1


# --- what was sent -----------------------------------------------------------------------------------------------


class InvalidCiphertextException(KMSError):
    """Authentication failed, wrong encryption context, corrupt blob. The text is always empty, as AWS's is."""

    status = "INVALID_ARGUMENT"


class IncorrectKeyException(KMSError):
    status = "INVALID_ARGUMENT"


class IncorrectKeyMaterialException(KMSError):
    status = "INVALID_ARGUMENT"


class ExpiredImportTokenException(KMSError):
    status = "FAILED_PRECONDITION"


class InvalidImportTokenException(KMSError):
    status = "INVALID_ARGUMENT"


# --- quotas and rates --------------------------------------------------------------------------------------------


class LimitExceededException(KMSError):
    status = "RESOURCE_EXHAUSTED"


class ThrottlingException(KMSError):
    """The only RESOURCE_EXHAUSTED that carries RetryInfo."""

    status = "RESOURCE_EXHAUSTED"
    retryable = True


class ConflictException(KMSError):
    status = "ABORTED"


class DryRunOperationException(KMSError):
    status = "ABORTED"


# --- the service itself ------------------------------------------------------------------------------------------


class DependencyTimeoutException(KMSError):
    """Something below (the registry's disk, the audit log) does not answer for now."""

    status = "UNAVAILABLE"
    http_status = 500
    retryable = True


class KMSInternalException(KMSError):
    status = "INTERNAL"
    http_status = 500
    retryable = True


INCORRECT_KEY = "The key ID in the request does not identify a CMK that can perform this operation."
DRY_RUN_SUCCEEDS = "The request would have succeeded, but the DryRun option is set."
