"""The errors of the service: one class for each AWS KMS error name.

A class states the gRPC status (by name, because this module does not import grpc), AWS's HTTP status, and whether the
same call may succeed later (`retryable`). The doors read nothing else. Texts are AWS's where those are known. Other
texts name the key, its state and what to do, and never contain a secret.

Source: https://docs.aws.amazon.com/kms/latest/APIReference/CommonErrors.html and the errors of each operation there.
"""

from __future__ import annotations

import copyreg
from typing import Any, ClassVar, Final

DOMAIN: Final = "kms_grpc.v1"
"""ErrorInfo.domain of the errors of the service, in gRPC responses."""
TEXT_BYTES: Final = 800
"""Longest text of an error. gRPC sends it twice in trailers of 4 KiB: percent-encoded and in base64."""
DEADLINE_PASSED: Final = "The deadline of the call passed before the call started."
"""Text of DeadlineExceeded for a call that does not start for this reason."""


class Portable(Exception):
    """Base of exceptions that pickle and copy make again without their constructors, which take different arguments."""

    def __reduce__(self) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__  # type: ignore[attr-defined]


class KMSError(Portable):
    """Base of the errors that a caller can get. `text` is the message sent to the caller; it may be empty."""

    status: ClassVar[str] = "INTERNAL"
    http_status: ClassVar[int] = 400
    retryable: ClassVar[bool] = False
    pushback_ms: ClassVar[int | None] = None
    """Value of `grpc-retry-pushback-ms`: -1 tells clients not to retry; None leaves the choice to them."""

    region: str | None = None
    """Region that refused the call. Set by the client library only."""
    request_id: str | None = None
    """Id of the refused call. Set by the client library only."""

    def __init__(self, text: str = "", *, key: str | None = None, state: str | None = None) -> None:
        super().__init__(text)
        self.text = text
        self.key = key
        self.state = state

    @property
    def code(self) -> str:
        """AWS's name of the error, as sent in ErrorInfo.reason."""
        return type(self).__name__


# --- malformed requests ------------------------------------------------------------------------------------------


class ValidationException(KMSError):
    """The request violates a limit, or a rule between its members. The text lists all violated limits."""

    status = "INVALID_ARGUMENT"


class InvalidArnException(KMSError):
    """The ARN is malformed."""

    status = "INVALID_ARGUMENT"


class InvalidAliasNameException(KMSError):
    """AWS's error for an alias name that is not valid. This service answers ValidationException, as AWS was seen to."""

    status = "INVALID_ARGUMENT"


class InvalidMarkerException(KMSError):
    """The marker is not from the previous page of the same listing."""

    status = "INVALID_ARGUMENT"


class TagException(KMSError):
    """A tag key is given twice or begins with `aws:`, or the key would have more than 50 tags."""

    status = "INVALID_ARGUMENT"


class MalformedPolicyDocumentException(KMSError):
    """The key policy is not valid, or would not let its author replace it again."""

    status = "INVALID_ARGUMENT"


class InvalidGrantTokenException(KMSError):
    """The text is no grant token of this region, or RetireGrant was called with the token of a grant that is gone."""

    status = "INVALID_ARGUMENT"


class InvalidGrantIdException(KMSError):
    """No grant can have this id."""

    status = "INVALID_ARGUMENT"


class SerializationException(KMSError):
    """The request body does not have the shape of the operation."""

    status = "INVALID_ARGUMENT"


class UnknownOperationException(KMSError):
    """AWS KMS has no operation of this name."""

    status = "UNIMPLEMENTED"


class RequestEntityTooLargeException(KMSError):
    """The HTTP request's body is larger than `limits.http_body_bytes`."""

    status = "INVALID_ARGUMENT"
    http_status = 413


# --- authentication and authorization ----------------------------------------------------------------------------


class MissingAuthenticationTokenException(KMSError):
    """The request has neither a bearer token nor a signature."""

    status = "UNAUTHENTICATED"


class UnrecognizedClientException(KMSError):
    """The bearer token or the access key is unknown, not yet valid, or for another audience."""

    status = "UNAUTHENTICATED"


class IncompleteSignatureException(KMSError):
    """The Authorization header or the date is malformed, or the form of signing is not supported."""

    status = "UNAUTHENTICATED"


class InvalidSignatureException(KMSError):
    """The signature is wrong, has expired, or does not cover what it must cover."""

    status = "UNAUTHENTICATED"


class ExpiredTokenException(KMSError):
    """The token has expired. For a bearer token the text gives the server's time."""

    status = "UNAUTHENTICATED"


class AccessDeniedException(KMSError):
    """The caller may not call the operation on this key, or another account has no such key. The text is the same."""

    status = "PERMISSION_DENIED"


class NotAuthorizedException(KMSError):
    """The alias's name is under `alias/aws/`. The text is always empty, like AWS's."""

    status = "PERMISSION_DENIED"


# --- names -------------------------------------------------------------------------------------------------------


class NotFoundException(KMSError):
    """The caller's account has no such key, alias or key material in the called region."""

    status = "NOT_FOUND"


class AlreadyExistsException(KMSError):
    """The account has an alias of this name in the called region."""

    status = "ALREADY_EXISTS"


# --- state and type of the key -----------------------------------------------------------------------------------


class DisabledException(KMSError):
    """The key is disabled."""

    status = "FAILED_PRECONDITION"


class KMSInvalidStateException(KMSError):
    """The key's state does not allow the operation."""

    status = "FAILED_PRECONDITION"


class InvalidKeyUsageException(KMSError):
    """The key has another usage than the operation needs."""

    status = "FAILED_PRECONDITION"


class UnsupportedOperationException(KMSError):
    """The key's origin or spec does not allow the operation, or the operation or a member of it is not built."""

    status = "FAILED_PRECONDITION"


class KeyUnavailableException(KMSError):
    """The key cannot be used because its row or key material was changed on disk. A retry does not help. AWS's HTTP
    status is 500; this one is 400, because SDKs retry calls that got 5xx."""

    status = "UNAVAILABLE"
    pushback_ms = -1


# --- ciphertexts and imported key material -----------------------------------------------------------------------


class InvalidCiphertextException(KMSError):
    """The ciphertext was changed, or the encryption context differs. The text is always empty, like AWS's."""

    status = "INVALID_ARGUMENT"


class IncorrectKeyException(KMSError):
    """The key that the request names did not make the ciphertext."""

    status = "INVALID_ARGUMENT"


class IncorrectKeyMaterialException(KMSError):
    """The key material is not the one that the key had before, or the key has it already."""

    status = "INVALID_ARGUMENT"


class ExpiredImportTokenException(KMSError):
    """The import token is older than 24 hours."""

    status = "FAILED_PRECONDITION"


class InvalidImportTokenException(KMSError):
    """The import token is damaged, is for another key, or was used before."""

    status = "INVALID_ARGUMENT"


# --- quotas and rates --------------------------------------------------------------------------------------------


class LimitExceededException(KMSError):
    """A quota is used up: keys of the account, aliases of the key, or on-demand rotations of the key."""

    status = "RESOURCE_EXHAUSTED"


class ThrottlingException(KMSError):
    """Too many calls at a time. The only RESOURCE_EXHAUSTED error with RetryInfo."""

    status = "RESOURCE_EXHAUSTED"
    retryable = True


class ConflictException(KMSError):
    """An automatic rotation of the key is due within 20 minutes, or another call changed the same row meanwhile."""

    status = "ABORTED"


class DryRunOperationException(KMSError):
    """The call was a dry run and would have succeeded."""

    status = "ABORTED"


# --- the service itself ------------------------------------------------------------------------------------------


class DependencyTimeoutException(KMSError):
    """A part that the service depends on (registry, audit log) does not respond at the moment."""

    status = "UNAVAILABLE"
    http_status = 500
    retryable = True


class Cancelled(KMSError):
    """The caller ended the call before its answer. It is recorded and counted; nobody receives it."""

    status = "CANCELLED"


class DeadlineExceeded(KMSError):
    """The call did not start, or its request did not arrive, in time."""

    status = "DEADLINE_EXCEEDED"


class KMSInternalException(KMSError):
    """An internal error. The server's log has the cause, by the request id."""

    status = "INTERNAL"
    http_status = 500
    retryable = True


INCORRECT_KEY = "The key ID in the request does not identify a CMK that can perform this operation."
DRY_RUN_SUCCEEDS = "The request would have succeeded, but the DryRun option is set."
