"""Identity policies at work: denied calls, what callers and the audit learn of them, condition keys, and Permits."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import pytest

from kms_grpc.operations.admission.request_facts import RequestFacts
from kms_grpc.operations.recording import open_call
from kms_grpc.operations.table import TABLE
from tests.operations.service import ALICE, BOB, EVE, HOME, OPERATIONS, Host, Worker, refusal_of, request

Make = Callable[..., Host]
UNKNOWN = "00000000-0000-4000-8000-000000000000"
OURS = f"arn:aws:kms:{HOME}:{ALICE.account}:key/"


def document(*statements: dict[str, Any]) -> str:
    whole = {"Action": "kms:*", "Resource": "*", "Effect": "Allow"}
    return json.dumps({"Version": "2012-10-17", "Statement": [whole | statement for statement in statements]})


def when(operator: str, key: str, value: Any) -> dict[str, Any]:
    return {"Condition": {operator: {key: value}}}


@pytest.fixture
def ruled(make_host: Make) -> Callable[..., Worker]:
    """Makes a service in which alice has the given policies, and bob and eve full access."""

    def make(*policies: str, tags: dict[str, str] | None = None, **changes: Any) -> Worker:
        callers = [{**caller._asdict(), "arn": caller.arn, "policies": ["full-access"]} for caller in (ALICE, BOB, EVE)]
        callers[0] |= {"policies": list(policies), "tags": tags or {}}
        return make_host(principals=callers, **changes).worker()

    return make


# --- denied calls ----------------------------------------------------------------------------------------------------


def test_a_denied_call_reads_the_same_whether_the_key_exists_or_not(ruled: Callable[..., Worker]) -> None:
    worker = ruled("reader")
    key = worker.create(by=BOB, alias="alias/there")
    names = [key.key_id, key.arn, UNKNOWN, OURS + UNKNOWN, "alias/there", "alias/not-there", "no-id"]
    refusals = {worker.refusal("Encrypt", key_id=name, plaintext=b"p") for name in names}
    assert [refusal.code for refusal in refusals] == ["AccessDeniedException"], refusals
    said = f"User: {ALICE.arn} is not authorized to perform: kms:Encrypt on this resource because the resource does not"
    assert refusals.pop().text.startswith(said)
    blob = worker.encrypt(key.key_id, by=BOB)
    for fields in ({}, {"key_id": UNKNOWN}, {"key_id": key.key_id}):
        assert worker.refusal("Decrypt", ciphertext_blob=blob, **fields).code == "AccessDeniedException"


def test_who_may_use_a_key_is_told_that_it_does_not_exist(ruled: Callable[..., Worker]) -> None:
    worker = ruled("user", document({"Action": "kms:DisableKey", "Resource": OURS + UNKNOWN}))
    assert worker.refusal("Encrypt", key_id=UNKNOWN, plaintext=b"p").code == "NotFoundException"
    assert worker.refusal("DisableKey", key_id=UNKNOWN).code == "NotFoundException"
    assert worker.refusal("DisableKey", key_id=UNKNOWN[:-1] + "1").code == "AccessDeniedException"
    assert worker.refusal("EnableKey", key_id=UNKNOWN).code == "AccessDeniedException"


def test_a_principal_without_policies_may_do_nothing_yet(ruled: Callable[..., Worker]) -> None:
    """The default key policy names nobody but the account, and actions without a key need an identity policy."""
    worker = ruled()
    key = worker.create(by=BOB)
    assert worker.refusal("CreateKey").code == "AccessDeniedException"
    assert worker.refusal("ListKeys").code == "AccessDeniedException"
    assert worker.refusal("DescribeKey", key_id=key.key_id).code == "AccessDeniedException"
    assert worker.call("GetLimits")


NAMED = [
    ("administrator", "DisableKey", True), ("administrator", "Encrypt", False),
    ("user", "Encrypt", True), ("user", "DisableKey", False),
    ("reader", "DescribeKey", True), ("reader", "Encrypt", False),
    ("auditor", "DescribeKey", True), ("auditor", "DisableKey", False),
]  # fmt: skip


@pytest.mark.parametrize(("name", "operation", "allowed"), NAMED)
def test_named_policies(ruled: Callable[..., Worker], name: str, operation: str, allowed: bool) -> None:
    worker = ruled(name)
    fields = {"key_id": worker.create(by=BOB).key_id} | ({"plaintext": b"p"} if operation == "Encrypt" else {})
    if allowed:
        assert worker.call(operation, **fields)
    else:
        assert worker.refusal(operation, **fields).code == "AccessDeniedException"


def test_a_policy_of_a_file(ruled: Callable[..., Worker], tmp_path: Any) -> None:
    file = tmp_path / "use.json"
    file.write_text(document({"Action": "kms:DescribeKey"}))
    worker = ruled(str(file))
    key = worker.create(by=BOB)
    assert worker.call("DescribeKey", key_id=key.key_id)
    assert worker.refusal("DisableKey", key_id=key.key_id).code == "AccessDeniedException"


def test_another_account_still_gets_nothing(ruled: Callable[..., Worker]) -> None:
    """Full access is to the keys of one's own account: the default key policy names no other."""
    worker = ruled("full-access")
    key = worker.create()
    assert worker.refusal("Encrypt", by=EVE, key_id=key.arn, plaintext=b"p").code == "AccessDeniedException"
    assert worker.refusal("DescribeKey", by=EVE, key_id=key.arn).code == "AccessDeniedException"


# --- the audit -------------------------------------------------------------------------------------------------------

NEVER = document({}, {"Effect": "Deny", "Sid": "Never", "Action": "kms:Encrypt"})
RECORDED = [
    ((NEVER,), "Encrypt", {"decision": "explicitDeny", "policyType": "identity policy", "policy": "policies[0]",
                           "statement": 1, "line": 1, "sid": "Never"}),
    (("reader",), "Encrypt", {"decision": "noIdentityPolicyAllows"}),
    (("reader",), "CreateKey", {"decision": "noIdentityPolicyAllows"}),
]  # fmt: skip


@pytest.mark.parametrize(("policies", "operation", "recorded"), RECORDED)
def test_the_record_names_the_deciding_statement(
    ruled: Callable[..., Worker], policies: tuple[str, ...], operation: str, recorded: dict[str, Any]
) -> None:
    worker = ruled(*policies)
    key = worker.create(by=BOB)
    worker.audit()
    refusal = worker.refusal(operation, **({"key_id": key.key_id, "plaintext": b"p"} if operation == "Encrypt" else {}))
    (record,) = worker.audit()
    assert record["additionalEventData"] == {"authorization": recorded}
    assert "Never" not in refusal.text


def test_the_record_of_a_foreign_call_names_the_key_policy(ruled: Callable[..., Worker]) -> None:
    worker = ruled("full-access")
    key = worker.create()
    worker.audit()
    worker.refusal("Encrypt", by=EVE, key_id=key.arn, plaintext=b"p")
    worker.encrypt(key.key_id)
    denied, allowed = worker.audit()
    assert denied["additionalEventData"] == {"authorization": {"decision": "noKeyPolicyAllows"}}
    assert list(allowed["additionalEventData"]) == ["keyMaterialId"]


@pytest.mark.parametrize("own", ["administrator", "reader"])
def test_only_who_would_be_told_that_a_key_is_missing_is_told_of_its_policy(
    ruled: Callable[..., Worker], own: str
) -> None:
    """The key's policy names bob alone. Alice's own policies would let an administrator disable it, a reader not."""
    worker = ruled(own)
    policy = document({"Principal": {"AWS": BOB.arn}})
    key = worker.call("CreateKey", by=BOB, policy=policy).key_metadata
    worker.audit()
    refused, missing = (worker.refusal("DisableKey", key_id=name) for name in (key.key_id, UNKNOWN))
    (record, _) = worker.audit()
    assert record["additionalEventData"] == {"authorization": {"decision": "noKeyPolicyAllows"}}
    assert refused.code == "AccessDeniedException"
    names_key = refused.text.endswith("because no resource-based policy allows the kms:DisableKey action")
    assert names_key is (own == "administrator")
    assert missing.code == ("NotFoundException" if own == "administrator" else "AccessDeniedException")
    if own == "reader":
        assert refused.text == missing.text


# --- condition keys --------------------------------------------------------------------------------------------------

FACTS = [
    ("aws:RequestedRegion", HOME, "Encrypt", {}),
    ("aws:UserAgent", "tests/1.0", "Encrypt", {}),
    ("aws:SecureTransport", "false", "Encrypt", {}),
    ("aws:CurrentTime", "2027-01-15T08:00:00Z", "Encrypt", {}),
    ("aws:EpochTime", "1800000000", "Encrypt", {}),
    ("aws:ResourceTag/Team", "blue", "Encrypt", {}),
    ("aws:PrincipalTag/Team", "blue", "Encrypt", {}),
    ("kms:ResourceAliases", "alias/mine", "Encrypt", {}),
    ("kms:RequestAlias", "alias/mine", "Encrypt", {"key_id": "alias/mine"}),
    ("kms:RequestAlias", "alias/mine", "Encrypt", {"key_id": f"arn:aws:kms:{HOME}:{ALICE.account}:alias/mine"}),
    ("kms:EncryptionAlgorithm", "SYMMETRIC_DEFAULT", "Encrypt", {}),
    ("kms:EncryptionContext:App", "a", "Encrypt", {"encryption_context": {"app": "a"}}),
    ("kms:EncryptionContextKeys", "app", "Encrypt", {"encryption_context": {"app": "a"}}),
    ("kms:KeySpec", "SYMMETRIC_DEFAULT", "Encrypt", {}),
    ("kms:KeySpec", "SYMMETRIC_DEFAULT", "CreateKey", {}),
    ("kms:KeyUsage", "ENCRYPT_DECRYPT", "CreateKey", {}),
    ("kms:KeyOrigin", "EXTERNAL", "CreateKey", {"origin": 2}),
    ("kms:MultiRegion", "false", "CreateKey", {}),
    ("aws:RequestTag/Team", "blue", "CreateKey", {"tags": [{"tag_key": "team", "tag_value": "blue"}]}),
    ("aws:TagKeys", "team", "TagResource", {"tags": [{"tag_key": "team", "tag_value": "x"}]}),
    ("aws:TagKeys", "team", "UntagResource", {"tag_keys": ["team"]}),
    ("kms:ScheduleKeyDeletionPendingWindowInDays", "7", "ScheduleKeyDeletion", {"pending_window_in_days": 7}),
    ("kms:ScheduleKeyDeletionPendingWindowInDays", "30", "ScheduleKeyDeletion", {}),
    ("kms:RotationPeriodInDays", "90", "EnableKeyRotation", {"rotation_period_in_days": 90}),
    ("kms:RotationPeriodInDays", "365", "EnableKeyRotation", {}),
]  # fmt: skip


@pytest.mark.parametrize(("key", "value", "operation", "fields"), FACTS, ids=[f"{row[0]} {row[2]}" for row in FACTS])
def test_a_condition_key_has_the_value_of_the_call(
    ruled: Callable[..., Worker], key: str, value: str, operation: str, fields: dict[str, Any]
) -> None:
    """Denied where the key has this value; allowed where the policy denies another value."""
    answers = []
    for denied in (value, "another"):
        denying = {"Effect": "Deny", "Action": f"kms:{operation}", **when("StringEquals", key, denied)}
        worker = ruled(document({}, denying), tags={"team": "blue"})
        made = worker.create(by=BOB, alias="alias/mine").key_id
        worker.call("TagResource", by=BOB, key_id=made, tags=[{"tag_key": "team", "tag_value": "blue"}])
        named = {} if operation == "CreateKey" else {"key_id": made}
        asked = named | ({"plaintext": b"p"} if operation == "Encrypt" else {}) | fields
        answers.append(worker.refusal(operation, **asked).code if denied == value else worker.call(operation, **asked))
    assert answers[0] == "AccessDeniedException"
    assert answers[1] is not None


def test_every_condition_key_of_a_call_can_be_asked_of_every_operation(ruled: Callable[..., Worker]) -> None:
    """A policy may name any of them, whatever the operation is."""
    keys = [
        "kms:KeySpec", "kms:KeyUsage", "kms:KeyOrigin", "kms:MultiRegion", "kms:RequestAlias", "kms:ResourceAliases",
        "kms:EncryptionAlgorithm", "kms:ReEncryptOnSameKey", "kms:WrappingAlgorithm", "kms:WrappingKeySpec",
        "kms:ExpirationModel", "kms:ValidTo", "kms:RotationPeriodInDays", "kms:ViaService", "aws:ResourceTag/a",
        "kms:ScheduleKeyDeletionPendingWindowInDays", "aws:RequestTag/a", "aws:TagKeys", "aws:SourceIp",
    ]  # fmt: skip
    worker = ruled(document({}, *({"Effect": "Deny", **when("StringEquals", key, "no such value")} for key in keys)))
    key = worker.create()
    blob = worker.encrypt(key.key_id)
    assert worker.call("ReEncrypt", ciphertext_blob=blob, destination_key_id=key.key_id)
    assert worker.call("ListKeys")
    assert worker.call("ListAliases")
    assert worker.call("DescribeKey", key_id=key.key_id)
    assert worker.refusal("DescribeKey", key_id=UNKNOWN).code == "NotFoundException"


def test_reencrypt_to_the_same_key(ruled: Callable[..., Worker]) -> None:
    same = when("Bool", "kms:ReEncryptOnSameKey", "true")
    worker = ruled(document({}, {"Effect": "Deny", "Action": "kms:ReEncryptTo", **same}))
    one, other = worker.create(), worker.create()
    blob = worker.encrypt(one.key_id)
    assert worker.call("ReEncrypt", ciphertext_blob=blob, destination_key_id=other.key_id)
    refusal = worker.refusal("ReEncrypt", ciphertext_blob=blob, destination_key_id=one.key_id)
    assert refusal.code == "AccessDeniedException"


# --- Permits ---------------------------------------------------------------------------------------------------------

WITH_CONTEXTS = ["kms:Encrypt", "kms:Decrypt", "kms:GenerateDataKey*", "kms:ReEncrypt*"]
NOT_HR = when("StringNotEquals", "kms:EncryptionContext:dept", "hr")
HR_ONLY = document({}, {"Effect": "Deny", "Action": WITH_CONTEXTS, **NOT_HR})
HR, IT = {"dept": "hr"}, {"dept": "it"}


def test_the_operations_with_contexts_are_those_below() -> None:
    named = {row.name for row in TABLE if any(key.context for key in row.keys) and not row.streams and not row.batches}
    assert named == {"Encrypt", "Decrypt", "ReEncrypt", "GenerateDataKey", "GenerateDataKeyWithoutPlaintext"}


@pytest.mark.parametrize("by", [ALICE, BOB], ids=["conditioned", "unconditioned"])
@pytest.mark.parametrize(
    "name", ["Encrypt", "Decrypt", "ReEncrypt", "GenerateDataKey", "GenerateDataKeyWithoutPlaintext"]
)
def test_no_permit_answers_for_another_context(ruled: Callable[..., Worker], name: str, by: Any) -> None:
    """A call with an allowed context is made thrice and is warm, and then one that differs in its context alone. Of the
    caller whose policy reads no context, that call is warm too."""
    worker = ruled(HR_ONLY)
    key = worker.create(by=BOB)
    blobs = {dept: worker.encrypt(key.key_id, by=BOB, encryption_context={"dept": dept}) for dept in ("hr", "it")}

    def fields(context: dict[str, str]) -> dict[str, Any]:
        if name == "Decrypt":
            return {"ciphertext_blob": blobs[context["dept"]], "encryption_context": context}
        if name == "ReEncrypt":
            return {
                "ciphertext_blob": blobs["hr"], "source_encryption_context": HR, "destination_key_id": key.key_id,
                "destination_encryption_context": context,
            }  # fmt: skip
        more = {"plaintext": b"p"} if name == "Encrypt" else {"number_of_bytes": 16}
        return {"key_id": key.key_id, "encryption_context": context, **more}

    for _ in range(3):
        assert worker.call(name, by=by, **fields(HR))
    assert worker.is_warm(name, by=by, **fields(HR))
    if by == ALICE:
        assert not worker.is_warm(name, by=by, **fields(IT))
        assert worker.refusal(name, by=by, **fields(IT)).code == "AccessDeniedException"
    else:
        assert worker.call(name, by=by, **fields(IT))
        assert worker.is_warm(name, by=by, **fields(IT))


def batch_of(name: str, worker: Worker, key: Any, contexts: list[dict[str, str]]) -> dict[str, Any]:
    """Returns a batch with one item for each context. What its items open was made in their contexts."""
    if name == "GenerateDataKeyBatch":
        items = [{"encryption_context": context} for context in contexts]
        return {"key_id": key.key_id, "number_of_bytes": 16, "items": items}
    if name == "EncryptBatch":
        items = [{"plaintext": b"p", "encryption_context": context} for context in contexts]
        return {"key_id": key.key_id, "items": items}
    blobs = [worker.encrypt(key.key_id, by=BOB, encryption_context=context) for context in contexts]
    named = "source_encryption_context" if name == "ReEncryptBatch" else "encryption_context"
    items = [{"ciphertext_blob": blob, named: context} for blob, context in zip(blobs, contexts, strict=True)]
    if name == "DecryptBatch":
        return {"items": items}
    return {"destination_key_id": key.key_id, "destination_encryption_context": HR, "items": items}


BATCHES = ["EncryptBatch", "DecryptBatch", "ReEncryptBatch", "GenerateDataKeyBatch"]


def test_the_batches_are_those_above() -> None:
    assert {row.name for row in TABLE if row.batches} == set(BATCHES)


@pytest.mark.parametrize("name", BATCHES)
def test_items_of_a_batch_are_judged_by_their_own_contexts(ruled: Callable[..., Worker], name: str) -> None:
    """Each batch has a key of its own, so that its first time is the first for the key."""
    worker = ruled(HR_ONLY)
    for contexts in ([HR], [HR, HR], [HR, IT, HR, {}], [IT], [IT, HR], [HR, {"dept": "hr", "more": "x"}, IT]):
        fields = batch_of(name, worker, worker.create(by=BOB), contexts)
        for _ in range(2):
            answer = worker.call(name, **fields)
            allowed = [not result.HasField("error") for result in answer.results]
            assert allowed == [context.get("dept") == "hr" for context in contexts], contexts


@pytest.mark.parametrize("name", BATCHES)
def test_a_batch_whose_contexts_are_known_is_warm(ruled: Callable[..., Worker], name: str) -> None:
    worker = ruled(HR_ONLY)
    key = worker.create(by=BOB)
    worker.call(name, **batch_of(name, worker, key, [HR]))
    assert worker.is_warm(name, **batch_of(name, worker, key, [HR, HR]))
    for contexts in ([HR, IT], [IT], [IT, HR], [{}]):
        assert not worker.is_warm(name, **batch_of(name, worker, key, contexts)), contexts


@pytest.mark.parametrize("last", ["hr", "it"])
def test_a_context_that_names_a_key_twice_is_judged_as_it_is_read(ruled: Callable[..., Worker], last: str) -> None:
    """Protobuf takes the last of two pairs with one key. A Permit for the first pair answers no such request."""
    worker, operation = ruled(HR_ONLY), OPERATIONS["Encrypt"]
    key = worker.create(by=BOB)
    worker.encrypt(key.key_id, encryption_context=HR)
    parts = [operation.request(encryption_context={"dept": dept}).SerializeToString() for dept in ("hr", "it")]
    plain = operation.request(key_id=key.key_id, plaintext=b"p").SerializeToString()
    raw = plain + (parts[1] + parts[0] if last == "hr" else parts[0] + parts[1])

    def sent() -> bytes:
        answer = worker.executor.warm(operation, worker.credentials(), raw)
        return answer or worker.executor.execute(operation, worker.credentials(), raw)

    for _ in range(2):
        if last == "it":
            assert refusal_of(sent).code == "AccessDeniedException"
            continue
        blob = operation.response.FromString(sent()).ciphertext_blob  # type: ignore[attr-defined]
        assert worker.call("Decrypt", by=BOB, ciphertext_blob=blob, encryption_context=HR)


def test_contexts_of_two_keys_are_not_mixed_up(ruled: Callable[..., Worker]) -> None:
    """ReEncrypt has two contexts. A Permit for (hr, it) does not answer (it, hr)."""
    from_hr = {"Effect": "Deny", "Action": "kms:ReEncryptFrom", **NOT_HR}
    worker = ruled(document({}, from_hr))
    key = worker.create(by=BOB)
    blobs = {dept: worker.encrypt(key.key_id, by=BOB, encryption_context={"dept": dept}) for dept in ("hr", "it")}

    def fields(source: str, destination: str) -> dict[str, Any]:
        return {
            "ciphertext_blob": blobs[source], "source_encryption_context": {"dept": source},
            "destination_key_id": key.key_id, "destination_encryption_context": {"dept": destination},
        }  # fmt: skip

    for _ in range(2):
        assert worker.call("ReEncrypt", **fields("hr", "it"))
    assert worker.is_warm("ReEncrypt", **fields("hr", "it"))
    assert not worker.is_warm("ReEncrypt", **fields("it", "hr"))
    assert worker.refusal("ReEncrypt", **fields("it", "hr")).code == "AccessDeniedException"


def test_a_key_policy_on_the_context(ruled: Callable[..., Worker]) -> None:
    """A key policy that conditions on the context, then one that doesn't, then the first again: at each time the warm
    calls are those that the policy allows."""
    worker = ruled("full-access")
    whole = {"Principal": {"AWS": ALICE.arn}}
    everything = document(whole)
    hr_alone = document(whole, {**whole, "Effect": "Deny", "Action": WITH_CONTEXTS, **NOT_HR})
    key = worker.create()
    for text in (hr_alone, everything, hr_alone):
        worker.call("PutKeyPolicy", key_id=key.key_id, policy=text)
        of_hr, of_it = ({"key_id": key.key_id, "plaintext": b"p", "encryption_context": one} for one in (HR, IT))
        assert not worker.is_warm("Encrypt", **of_hr)
        assert not worker.is_warm("Encrypt", **of_it)
        worker.call("Encrypt", **of_hr)
        assert worker.is_warm("Encrypt", **of_hr)
        assert worker.is_warm("Encrypt", **of_it) is (text == everything)
        if text == hr_alone:
            assert worker.refusal("Encrypt", **of_it).code == "AccessDeniedException"


def test_a_batch_is_grouped_by_contexts_only_while_they_count(ruled: Callable[..., Worker]) -> None:
    """A batch of 40 contexts is warm once no policy reads them, although the first ones of its key were not."""
    worker = ruled("full-access")
    whole = {"Principal": {"AWS": ALICE.arn}}
    key = worker.create()
    items = [{"plaintext": b"p", "encryption_context": {"dept": "hr", "n": str(number)}} for number in range(40)]
    for statements in ([whole, {**whole, "Effect": "Deny", "Action": WITH_CONTEXTS, **NOT_HR}], [whole]):
        worker.call("PutKeyPolicy", key_id=key.key_id, policy=document(*statements))
        for _ in range(2):
            answer = worker.call("EncryptBatch", key_id=key.key_id, items=items)
            assert not any(result.HasField("error") for result in answer.results)
        assert worker.is_warm("EncryptBatch", key_id=key.key_id, items=items) is (len(statements) == 1)


def test_permits_for_contexts_are_bounded(ruled: Callable[..., Worker]) -> None:
    """A caller who never uses a context twice does not push out the Permits of others."""
    worker = ruled(HR_ONLY, limits={"cached_keys": 4})
    key, other = worker.create(by=BOB), worker.create(by=BOB)
    worker.encrypt(other.key_id, by=BOB)
    for number in range(30):
        worker.encrypt(key.key_id, encryption_context={"dept": "hr", "number": str(number)})
    assert worker.is_warm("Encrypt", by=BOB, key_id=other.key_id, plaintext=b"p")
    assert len(worker.executor._permits) <= 8


def test_policies_that_read_only_stable_attributes_stay_warm(ruled: Callable[..., Worker]) -> None:
    stable = [
        when("StringEquals", "kms:CallerAccount", ALICE.account),
        when("StringEquals", "kms:KeySpec", "SYMMETRIC_DEFAULT"),
        when("StringEquals", "aws:RequestedRegion", HOME),
        when("StringEquals", "aws:PrincipalTag/team", "${aws:PrincipalTag/team}"),
    ]  # fmt: skip
    worker = ruled(*(document(each) for each in stable[1:]), document(stable[0]), tags={"team": "blue"})
    key = worker.create()
    worker.encrypt(key.key_id)
    assert worker.is_warm("Encrypt", key_id=key.key_id, plaintext=b"p")


@pytest.mark.parametrize("key", ["aws:SourceIp", "aws:CurrentTime", "aws:ResourceTag/a", "kms:ResourceAliases"])
def test_what_may_change_is_asked_each_time(ruled: Callable[..., Worker], key: str) -> None:
    worker = ruled(document({}, {"Effect": "Deny", **when("StringEquals", key, "x")}))
    made = worker.create()
    worker.encrypt(made.key_id)
    assert not worker.is_warm("Encrypt", key_id=made.key_id, plaintext=b"p")


def test_a_policy_takes_effect_when_time_passes(ruled: Callable[..., Worker]) -> None:
    worker = ruled(document(when("DateLessThan", "aws:CurrentTime", "2027-01-15T09:00:00Z")))
    key = worker.create()
    worker.encrypt(key.key_id)
    worker.service.clock.step(3600 * 10**9)  # type: ignore[attr-defined]
    assert worker.refusal("Encrypt", key_id=key.key_id, plaintext=b"p").code == "AccessDeniedException"


PEERS = [
    ("192.0.2.7", False, ("192.0.2.7",), "false"),
    ("::ffff:192.0.2.7", True, ("192.0.2.7",), "true"),
    ("2001:db8::1", True, ("2001:db8::1",), "true"),
    ("unix:", True, None, "false"),
    ("unix:/run/kms.sock", True, None, "false"),
]
"""Peers as the doors name them; a Unix socket has no address and no TLS."""


@pytest.mark.parametrize(("peer", "tls", "address", "secure"), PEERS)
def test_the_address_of_a_call(
    ruled: Callable[..., Worker], peer: str, tls: bool, address: tuple[str, ...] | None, secure: str
) -> None:
    worker = ruled()
    service = dataclasses.replace(worker.service, serves_tls=tls)
    call = open_call(service, OPERATIONS["ListKeys"], worker.credentials()._replace(peer=peer))
    facts = RequestFacts(call, request("ListKeys"))
    assert facts.find("aws:sourceip", "") == address
    assert facts.find("aws:securetransport", "") == (secure,)
