"""The validator of requests: AWS's error texts, limits, unknown fields, features that are not built."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from kms_grpc.aws_members import is_map
from kms_grpc.errors import TEXT_BYTES, KMSError, UnsupportedOperationException, ValidationException
from kms_grpc.operations.contract.conditions import fits
from kms_grpc.operations.contract.constraints import SHOWN_VALUE_BYTES, violations
from kms_grpc.operations.contract.descriptors import descriptor, field_named, limits
from kms_grpc.operations.contract.validation import decode, refuse_unknown_fields, refuse_unsupported, validator_for
from kms_grpc.v1 import envelope_pb2, keys_pb2
from kms_grpc.v1 import key_management_pb2 as pb
from tests.aws_facts import MODEL, SHAPES, limits_of
from tests.bad_requests import NAMES, World, bad_requests, put, valid
from tests.examples import METHODS, request_class

FAILED = "failed to satisfy constraint:"
WORLD = World()
ALGORITHMS = "[SYMMETRIC_DEFAULT, RSAES_OAEP_SHA_1, RSAES_OAEP_SHA_256, SM2PKE]"


def refusal(message: Message) -> KMSError | None:
    try:
        validator_for(type(message))(message)
    except KMSError as error:
        return error
    return None


def one(detail: str) -> str:
    return f"1 validation error detected: {detail}"


def encrypt(**changes: Any) -> pb.EncryptRequest:
    return pb.EncryptRequest(**{"key_id": "k", "plaintext": b"p", **changes})


def imported(**changes: Any) -> pb.ImportKeyMaterialRequest:
    given = {"key_id": "k", "import_token": b"t", "encrypted_key_material": b"m"}
    return pb.ImportKeyMaterialRequest(**{**given, **changes})


# --- texts -------------------------------------------------------------------------------------------------------

TEXTS = [
    (
        encrypt(key_id=""),
        one("Value null at 'keyId' failed to satisfy constraint: Member must not be null"),
        "an empty string has no presence of its own: it is missing",
    ),
    (
        encrypt(plaintext=b""),
        one("Value at 'plaintext' failed to satisfy constraint: Member must have length greater than or equal to 1"),
        "an empty blob is there, and too short; no value is shown for a blob",
    ),
    (
        encrypt(plaintext=b"p" * 4097),
        one("Value at 'plaintext' failed to satisfy constraint: Member must have length less than or equal to 4096"),
        "recorded on AWS",
    ),
    (
        pb.EncryptRequest(),
        "2 validation errors detected: Value null at 'keyId' failed to satisfy constraint: Member must not be null; "
        "Value null at 'plaintext' failed to satisfy constraint: Member must not be null",
        "all of them at once, counted",
    ),
    (
        pb.GenerateRandomRequest(number_of_bytes=0),
        one(
            "Value '0' at 'numberOfBytes' failed to satisfy constraint: "
            "Member must have value greater than or equal to 1"
        ),
        "recorded on AWS; a number has a value, no length",
    ),
    (pb.GenerateRandomRequest(), "NumberOfBytes is required.", "recorded on AWS: not the usual text"),
    (
        encrypt(encryption_algorithm=9),
        one(
            "Value '9' at 'encryptionAlgorithm' failed to satisfy constraint: "
            f"Member must satisfy enum value set: {ALGORITHMS}"
        ),
        "an unknown enum number; AWS's spelling of those it could be",
    ),
    (
        pb.CreateKeyRequest(
            tags=[keys_pb2.Tag(tag_key="ok", tag_value=""), keys_pb2.Tag(tag_key="a" * 129, tag_value="")]
        ),
        one(
            f"Value '{'a' * 129}' at 'tags.2.member.tagKey' failed to satisfy constraint: "
            "Member must have length less than or equal to 128"
        ),
        "recorded on AWS: list positions count from 1",
    ),
    (
        pb.CreateKeyRequest(tags=[keys_pb2.Tag(tag_key="a")]),
        one("Value null at 'tags.1.member.tagValue' failed to satisfy constraint: Member must not be null"),
        "AWS requires the value; an empty one would do",
    ),
    (
        encrypt(grant_tokens=["t" * 8193]),
        one(
            "Value at 'grantTokens' failed to satisfy constraint: Member must satisfy constraint: "
            "[Member must have length less than or equal to 8192, Member must have length greater than or equal to 1]"
        ),
        "items of a list are reported for the list; tokens are not shown",
    ),
    (
        pb.ListKeysRequest(resource_owners=[keys_pb2.RESOURCE_OWNER_TYPE_UNSPECIFIED]),
        one(
            "Value '[0]' at 'resourceOwners' failed to satisfy constraint: Member must satisfy constraint: "
            "[Member must satisfy enum value set: [SELF, OTHER_ACCOUNTS_VIA_RAM]]"
        ),
        "an item can't be absent",
    ),
    (
        pb.DeleteAliasRequest(alias_name="alias/a?"),
        one(
            "Value 'alias/a?' at 'aliasName' failed to satisfy constraint: "
            "Member must satisfy regular expression pattern: ^[a-zA-Z0-9:/_-]+$"
        ),
        "characters that no alias may have",
    ),
    (
        pb.UpdateKeyDescriptionRequest(key_id="k"),
        one("Value null at 'description' failed to satisfy constraint: Member must not be null"),
        "missing is not empty: an empty description is a good one",
    ),
    (
        pb.DecryptRequest(key_id="k"),
        one("Value null at 'ciphertextBlob' failed to satisfy constraint: Member must not be null"),
        "required, save in a dry run that ignores it",
    ),
    (
        pb.GenerateDataKeyRequest(key_id="k"),
        "Please specify either number of bytes or key spec.",
        "neither length",
    ),
    (
        pb.ScheduleKeyDeletionRequest(key_id="k", pending_window_in_days=6),
        one(
            "Value '6' at 'pendingWindowInDays' failed to satisfy constraint: "
            "Member must have value greater than or equal to 7"
        ),
        "a day less than the shortest window",
    ),
    (
        imported(),
        "A validTo date must be set if the ExpirationModel is KEY_MATERIAL_EXPIRES",
        "recorded on AWS: expiring is the default",
    ),
    (
        imported(expiration_model=1),
        "A validTo date must be set if the ExpirationModel is KEY_MATERIAL_EXPIRES",
        "recorded on AWS",
    ),
    (
        imported(expiration_model=2, valid_to=Timestamp()),
        "A validTo date must not be set if the ExpirationModel is KEY_MATERIAL_DOES_NOT_EXPIRE",
        "a date without a meaning",
    ),
    (
        imported(valid_to=Timestamp(nanos=10**9)),
        "The validTo date is invalid: its nanos must be between 0 and 999,999,999",
        "google.protobuf.Timestamp has no such nanos, and would be another time when read again",
    ),
    (
        imported(valid_to=Timestamp(nanos=-1)),
        "The validTo date is invalid: its nanos must be between 0 and 999,999,999",
        "the same, below",
    ),
    (
        imported(valid_to=Timestamp(), import_type=1, key_material_id="0" * 64),
        "A KeyMaterialId must not be set if the ImportType is NEW_KEY_MATERIAL",
        "AWS's documentation: material that is new has no id to name",
    ),
    (
        imported(valid_to=Timestamp(), key_material_description="a*"),
        one(
            "Value 'a*' at 'keyMaterialDescription' failed to satisfy constraint: "
            "Member must satisfy regular expression pattern: ^[a-zA-Z0-9:/_ \\t\\n\\f\\r.-]*$"
        ),
        "a character that no description may have",
    ),
    (
        pb.GenerateDataKeyRequest(key_id="k", number_of_bytes=32, key_spec=keys_pb2.DATA_KEY_SPEC_AES_256),
        "Please specify either number of bytes or key spec.",
        "both lengths, even if they are the same",
    ),
    (
        pb.CreateKeyRequest(key_spec=1, customer_master_key_spec=1),
        "You cannot specify KeySpec and CustomerMasterKeySpec in the same request. "
        "CustomerMasterKeySpec is deprecated.",
        "two names of one thing",
    ),
    (
        pb.CreateKeyRequest(key_spec=keys_pb2.KEY_SPEC_RSA_2048, key_usage=keys_pb2.KEY_USAGE_TYPE_KEY_AGREEMENT),
        "KeyUsage KEY_AGREEMENT is not compatible with KeySpec RSA_2048",
        "recorded on AWS: a combination that is impossible is not reported as one that is not built",
    ),
    (
        pb.CreateKeyRequest(customer_master_key_spec=keys_pb2.KEY_SPEC_HMAC_256),
        "You must specify a KeyUsage value for all KMS keys except for symmetric encryption keys.",
        "recorded on AWS",
    ),
    (
        pb.CreateKeyRequest(key_usage=keys_pb2.KEY_USAGE_TYPE_SIGN_VERIFY),
        "KeyUsage SIGN_VERIFY is not compatible with KeySpec SYMMETRIC_DEFAULT",
        "the default spec counts",
    ),
]


@pytest.mark.parametrize(("message", "text", "reason"), TEXTS)
def test_a_violation_has_the_text_of_aws(message: Message, text: str, reason: str) -> None:
    error = refusal(message)
    assert (type(error), error and error.text) == (ValidationException, text), reason


def test_a_text_shows_no_secret_and_fits_into_the_trailers() -> None:
    """A name is shown whole up to 257 bytes and cut beyond; a text with many violations is cut as well."""
    whole, longer = "alias/" + "?" * (SHOWN_VALUE_BYTES - 6), "alias/" + "\u2603" * 900
    assert f"'{whole}'" in str(refusal(pb.DeleteAliasRequest(alias_name=whole)))
    assert longer[:50] in str(refusal(pb.DeleteAliasRequest(alias_name=longer)))
    tags = [keys_pb2.Tag(tag_key="\u2603" * 129)] * 50
    for message in (
        pb.DeleteAliasRequest(alias_name=longer),
        pb.CreateKeyRequest(tags=tags, description="d" * 100_000),
    ):
        assert len(str(refusal(message)).encode()) <= TEXT_BYTES + len("…".encode())
    assert str(refusal(pb.CreateKeyRequest(tags=tags))).startswith("100 validation errors detected: ")
    secret = pb.EncryptRequest(plaintext=b"secret" * 1000, grant_tokens=["secret" * 2000])
    assert "secret" not in str(refusal(secret))


# --- limits ------------------------------------------------------------------------------------------------------


def limits_of_aws() -> Iterator[tuple[str, str, int, int]]:
    """(operation, field, smallest, largest) for every limit that AWS's model gives a member that is built."""
    for name in NAMES:
        shape = MODEL["operations"].get(name, {}).get("input")
        for field in METHODS[name].input_type.fields if shape else ():
            member = SHAPES[shape]["members"].get(field.json_name)
            if member is None:
                continue  # test_aws_names.py refuses it
            smallest, largest = limits_of(field.containing_type.name, field.json_name, member)
            if member == "ServicePrincipalType":
                smallest = len("a.a.a")  # which its pattern asks for
            if largest is not None and not field.is_repeated and not limits(field).unsupported:
                yield name, field.name, smallest or 0, largest


LIMITS = [
    ("ExplainDecision", "principal", 1, 2048),
    ("ExplainDecision", "action", 1, 128),
    ("ExplainDecision", "key_id", 1, 2048),
    *limits_of_aws(),
    ("EncryptBatch", "key_id", 0, 2048),
    ("DecryptBatch", "key_id", 0, 2048),
    ("ReEncryptBatch", "destination_key_id", 0, 2048),
    ("ReEncryptBatch", "source_key_id", 0, 2048),
    ("GenerateDataKeyBatch", "key_id", 0, 2048),
    ("GenerateDataKeyBatch", "number_of_bytes", 1, 1024),
]
"""A batch has the limits of the single operation, but its items or their blobs may name the key instead."""


INSTEAD: dict[tuple[str, str], Any] = {
    ("CreateGrant", "grantee_service_principal"): pb.CreateGrantRequest(
        key_id="k",
        operations=[1],
        constraints=keys_pb2.GrantConstraints(source_arn="arn:aws:s3:eu-central-1:111122223333:bucket"),
        retiring_principal="p",
    ),
    ("ListRetirableGrants", "retiring_principal"): pb.ListRetirableGrantsRequest(),
    ("RetireGrant", "grant_token"): pb.RetireGrantRequest(),
}
"""Requests to put a field into that is not sent together with those of the example."""


def of_size(field: FieldDescriptor, size: int) -> Any:
    if field.name.endswith("service_principal") and size > len("a.a."):
        return "a.a." + "a" * (size - len("a.a."))
    return {FieldDescriptor.TYPE_STRING: "a" * size, FieldDescriptor.TYPE_BYTES: b"a" * size}.get(field.type, size)


@pytest.mark.parametrize(("operation", "name", "smallest", "largest"), LIMITS)
def test_values_at_a_limit_are_taken_and_beyond_it_refused(
    operation: str, name: str, smallest: int, largest: int
) -> None:
    request = INSTEAD.get((operation, name)) or valid(operation, WORLD)
    field = field_named(type(request), name)
    for size, is_good in ((smallest - 1, False), (smallest, True), (largest, True), (largest + 1, False)):
        if size >= 0:
            put(request, field, of_size(field, size))
            assert (refusal(request) is None) is is_good, size


def test_the_table_above_has_every_limit() -> None:
    sized = {
        (name, field.name)
        for name in NAMES
        for field in METHODS[name].input_type.fields
        if (limits(field).HasField("max") or limits(field).min)
        and not limits(field).unsupported
        and not field.is_repeated
    }
    assert sized == {(operation, name) for operation, name, _, _ in LIMITS}


def test_strings_are_measured_in_characters() -> None:
    """8,192 snowmen have 24,576 bytes in UTF-8, and fit into a description."""
    assert refusal(pb.CreateKeyRequest(description="\u2603" * 8192)) is None


ENDLESS = [
    (pb.CreateKeyRequest(tags=[keys_pb2.Tag()] * 2_000), "tags", 200, "two thousand violations in one error text"),
    (pb.CreateKeyRequest.FromString(b"\x42\x00" * 201), "tags", 200, "one beyond"),
    (
        pb.DecryptRequest(ciphertext_blob=b"c", dry_run_modifiers=[1] * 2_000),
        "dryRunModifiers",
        10,
        "all of them good",
    ),
    (pb.ListKeysRequest(resource_owners=[9] * 2_000), "resourceOwners", 2, "none of them good"),
    (encrypt(grant_tokens=[""] * 2_000), "grantTokens", 10, "none of them good, and none shown"),
    (pb.UntagResourceRequest(key_id="k", tag_keys=["k"] * 201), "tagKeys", 200, "one beyond"),
    (
        envelope_pb2.EncryptBatchRequest.FromString(b"\x1a\x00" * 10_001),
        "items",
        10_000,
        "one beyond, and all of them bad",
    ),
]


@pytest.mark.parametrize(("message", "member", "largest", "reason"), ENDLESS)
def test_a_list_that_is_too_long_is_refused_before_its_items_are_checked(
    message: Message, member: str, largest: int, reason: str
) -> None:
    error = refusal(message)
    assert isinstance(error, ValidationException)
    assert error.text.startswith("1 validation error detected: "), reason
    assert error.text.endswith(f"at '{member}' {FAILED} Member must have length less than or equal to {largest}")


def test_a_door_can_have_a_limit_of_its_own() -> None:
    """The AWS door takes blobs of up to 6,144 bytes, as AWS does."""
    validate = validator_for(pb.DecryptRequest, (("ciphertext_blob", 6144),))
    validate(pb.DecryptRequest(ciphertext_blob=b"c" * 6144))
    with pytest.raises(ValidationException, match=r"at 'ciphertextBlob' .* less than or equal to 6144$"):
        validate(pb.DecryptRequest(ciphertext_blob=b"c" * 6145))
    assert refusal(pb.DecryptRequest(ciphertext_blob=b"c" * 6145)) is None


FIELDS = [(name, field) for name in NAMES for field in METHODS[name].input_type.fields]


@given(choice=st.sampled_from(FIELDS), data=st.data())
def test_a_value_out_of_range_is_refused_by_name(choice: tuple[str, FieldDescriptor], data: st.DataObject) -> None:
    name, field = choice
    request, camel_case = valid(name, WORLD), field.json_name[0].lower() + field.json_name[1:]
    put(request, field, data.draw(out_of_range(field)))
    error = refusal(request)
    if limits(field).HasField("max") or field.enum_type is not None:
        assert error is not None
        assert f"at '{camel_case}" in error.text or f"{field.json_name} " in error.text


def out_of_range(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    """Returns values beyond the field's limits, or any values where it has no limit."""
    rule = limits(field)
    if field.enum_type is not None:
        unknown = st.integers(max(value.number for value in field.enum_type.values) + 1, 2**31 - 1) | st.integers(
            -(2**31), -1
        )
        return st.lists(unknown, min_size=1, max_size=3) if field.is_repeated else unknown
    if is_map(field):
        return st.just({})
    if field.is_repeated:
        item = field.message_type._concrete_class() if field.message_type is not None else "t"
        return st.integers(rule.max + 1, rule.max + 40).map(lambda count: [item] * count)
    if field.message_type is not None:
        return st.just(field.message_type._concrete_class())
    if field.type == FieldDescriptor.TYPE_INT32:
        return st.integers(rule.max + 1, 2**31 - 1) | st.integers(-(2**31), rule.min - 1)
    if field.type == FieldDescriptor.TYPE_BOOL:
        return st.just(True)
    return st.integers(rule.max + 1, rule.max + 5000).map(lambda size: of_size(field, size))


# --- unknown fields, features that are not built -----------------------------------------------------------------

UNKNOWN = [
    (
        pb.EncryptRequest,
        b"\xf8\x7f\x01",
        "EncryptRequest: unknown field, number 2047.",
        "a field that may come one day",
    ),
    (
        pb.EncryptRequest,
        b"\x08\x01",
        "EncryptRequest: KeyId is not encoded as its type says.",
        "a varint where text belongs",
    ),
    (
        pb.EncryptRequest,
        b"\x12\x09\x0a\x01k\x12\x01v\x1a\x01x",
        "EncryptRequest: EncryptionContext is not encoded as its type says.",
        "a third member in a pair of the context",
    ),
    (pb.CreateKeyRequest, b"\x42\x03\xf8\x7f\x01", "Tag: unknown field, number 2047.", "within a message of a list"),
    (pb.DecryptRequest, b"\x5a\x03\xf8\x7f\x01", "RecipientInfo: unknown field, number 2047.", "within a message"),
    (pb.DecryptRequest, b"\xfb\x7f\xfc\x7f", "DecryptRequest: unknown field, number 2047.", "a group"),
    (
        envelope_pb2.EncryptBatchRequest,
        b"\x1a\x00\x1a\x03\xf8\x7f\x01",
        "EncryptBatchItem: unknown field, number 2047.",
        "within an item that is judged apart",
    ),
]


@pytest.mark.parametrize(("message_class", "raw", "text", "reason"), UNKNOWN)
def test_unknown_fields_and_values_are_refused(message_class: Any, raw: bytes, text: str, reason: str) -> None:
    """They are refused before the rest of the request is checked."""
    error = refusal(decode(message_class, raw))
    assert (type(error), error and error.text) == (ValidationException, text), reason


UNREADABLE = [
    (b"\x0a\x05abc", "cut within a string"),
    (b"\x0a", "cut before a length"),
    (b"\x0a\x02\xc3\x28", "a key id that is not UTF-8"),
    (b"\x12\x07\x0a\x02\xed\xa0\x12\x01v", "half a surrogate pair in the context"),
    (b"\x00\x00", "field number 0"),
    (b"\x0e", "an undefined wire type"),
    (b"\x0a\xff\xff\xff\xff\x07", "a length prefix of more than the message has"),
    (b"\xfb\x7f" * 5000, "groups in groups"),
]


@pytest.mark.parametrize(("raw", "reason"), UNREADABLE)
def test_bytes_that_are_not_a_message_are_a_validation_error(raw: bytes, reason: str) -> None:
    with pytest.raises(ValidationException, match=r"^The request can't be read as kms_grpc\.v1\.EncryptRequest: "):
        decode(pb.EncryptRequest, raw)


NOT_BUILT = [
    (
        encrypt(encryption_algorithm=keys_pb2.ENCRYPTION_ALGORITHM_SPEC_RSAES_OAEP_SHA_256),
        "EncryptionAlgorithm RSAES_OAEP_SHA_256 is not supported yet; supported: SYMMETRIC_DEFAULT.",
    ),
    (pb.DecryptRequest(ciphertext_blob=b"c", recipient=keys_pb2.RecipientInfo()), "Recipient is not"),
    (pb.DecryptRequest(dry_run=True, dry_run_modifiers=[1]), "DryRunModifiers is not"),
    (pb.DecryptRequest(ciphertext_blob=b"c", dry_run_modifiers=[1]), "DryRunModifiers is not"),
    (
        pb.ReEncryptRequest(destination_key_id="k", ciphertext_blob=b"c", source_encryption_algorithm=2),
        "SourceEncryptionAlgorithm",
    ),
    (
        pb.ReEncryptRequest(destination_key_id="k", ciphertext_blob=b"c", destination_encryption_algorithm=4),
        "DestinationEncryption",
    ),
    (pb.CreateKeyRequest(multi_region=True), "MultiRegion is not"),
    (pb.CreateKeyRequest(custom_key_store_id="cks-1"), "CustomKeyStoreId is not"),
    (pb.CreateKeyRequest(xks_key_id="x"), "XksKeyId is not"),
    (pb.CreateKeyRequest(origin=keys_pb2.ORIGIN_TYPE_AWS_CLOUDHSM), "Origin AWS_CLOUDHSM is not"),
    (pb.CreateKeyRequest(origin=keys_pb2.ORIGIN_TYPE_EXTERNAL_KEY_STORE), "Origin EXTERNAL_KEY_STORE is not"),
    (
        pb.GetParametersForImportRequest(key_id="k", wrapping_algorithm=1, wrapping_key_spec=1),
        "WrappingAlgorithm RSAES_PKCS1_V1_5 is not",
    ),
    (
        pb.GetParametersForImportRequest(key_id="k", wrapping_algorithm=6, wrapping_key_spec=1),
        "WrappingAlgorithm SM2PKE is not",
    ),
    (
        pb.GetParametersForImportRequest(key_id="k", wrapping_algorithm=2, wrapping_key_spec=4),
        "WrappingKeySpec SM2 is not",
    ),
    (pb.CreateKeyRequest(key_spec=2, key_usage=1), "KeySpec RSA_2048 is not"),
    (pb.CreateKeyRequest(customer_master_key_spec=2, key_usage=1), "CustomerMasterKeySpec RSA_2048 is not"),
    (pb.GenerateRandomRequest(number_of_bytes=1, custom_key_store_id="cks-1"), "CustomKeyStoreId is not"),
    (pb.ListKeysRequest(resource_owners=[1, 2]), "ResourceOwners OTHER_ACCOUNTS_VIA_RAM is not"),
]


@pytest.mark.parametrize(("message", "text"), NOT_BUILT)
def test_a_feature_that_is_not_built_is_refused_by_name(message: Message, text: str) -> None:
    error = refusal(message)
    assert isinstance(error, UnsupportedOperationException)
    assert error.text.startswith(text)


UNUSED = [
    (pb.CreateKeyRequest(multi_region=False, bypass_policy_lockout_safety_check=False), "false asks for nothing"),
    (pb.CreateKeyRequest(key_spec=1, key_usage=1, origin=1), "the values that are built"),
    (pb.CreateKeyRequest(origin=2, tags=[keys_pb2.Tag(tag_key="k", tag_value="")]), "an external key with a tag"),
    (pb.CreateKeyRequest(customer_master_key_spec=1), "the former name alone"),
    (pb.ListKeysRequest(resource_owners=[1]), "SELF is the default"),
    (encrypt(encryption_algorithm=1, dry_run=True), "a dry run is built"),
]


@pytest.mark.parametrize(("message", "reason"), UNUSED)
def test_a_field_of_a_feature_that_is_not_built_may_be_empty(message: Message, reason: str) -> None:
    assert refusal(message) is None, reason


# --- the compiled expression and the texts -----------------------------------------------------------------------


def has_violation(request: Message) -> bool:
    """Says whether the code that writes the error texts finds a violation in a single field."""
    try:
        refuse_unknown_fields(request)
        if any(True for _ in violations(request, {})):
            return True
        refuse_unsupported(request)
    except KMSError:
        return True
    return False


def test_the_expression_and_the_texts_agree_on_every_bad_request() -> None:
    """A request passes the expression if, and only if, the code that writes the error texts finds no violation."""
    seen = {True: 0, False: 0}
    for case in bad_requests(seed=20261124):
        message_class = request_class(case.operation)
        try:
            request = decode(message_class, case.raw)
        except ValidationException:
            continue
        passes = fits(descriptor(request), {})(request)
        assert passes is not has_violation(request), case.what
        seen[passes] += 1
    assert min(seen.values()) > 500, seen


TAGS = [
    ([keys_pb2.Tag(tag_key="k", tag_value="")], True),
    ([keys_pb2.Tag(tag_key="k", tag_value="v"), keys_pb2.Tag(tag_key="", tag_value="v")], False),
    ([keys_pb2.Tag(tag_key="k")], False),
    ([keys_pb2.Tag(tag_key="k", tag_value="v" * 257)], False),
    ([keys_pb2.Tag.FromString(b"\x0a\x01k\x12\x01v\xf8\x7f\x01")], False),
    ([], True),
]


@pytest.mark.parametrize(("tags", "is_good"), TAGS)
def test_the_expression_checks_nested_messages(tags: list[keys_pb2.Tag], is_good: bool) -> None:
    assert fits(descriptor(pb.CreateKeyRequest), {})(pb.CreateKeyRequest(tags=tags)) is is_good
