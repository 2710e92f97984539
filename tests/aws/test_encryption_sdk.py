"""The AWS Encryption SDK for Python with KMS keyrings of each kind and the older master key providers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import aws_encryption_sdk
import boto3
import botocore.session
import pytest
from aws_cryptographic_material_providers.mpl import AwsCryptographicMaterialProviders
from aws_cryptographic_material_providers.mpl import models as mpl
from aws_cryptographic_material_providers.mpl.config import MaterialProvidersConfig
from aws_encryption_sdk import CommitmentPolicy

from tests.aws.conftest import AwsEndpoint
from tests.aws.doors import client
from tests.aws.readme import clients
from tests.aws.world import ACCOUNT, OTHER_REGION

CONTEXT = {"app": "shop", "naïve": "ключ"}
SOURCE = b"a file of some size" * 1000
PROVIDERS = AwsCryptographicMaterialProviders(config=MaterialProvidersConfig())
SDK = aws_encryption_sdk.EncryptionSDKClient(commitment_policy=CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT)
Make = Callable[["Scene"], Any]


class Scene:
    """Two keys in one region and one in another, and the keyrings that use them."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.kms, self.there = client(url), client(url, OTHER_REGION)
        self.key, self.other = (self.kms.create_key()["KeyMetadata"]["Arn"] for _ in range(2))
        self.away = self.there.create_key()["KeyMetadata"]["Arn"]

    def strict(self, arn: str, kms: Any = None) -> Any:
        return PROVIDERS.create_aws_kms_keyring(
            mpl.CreateAwsKmsKeyringInput(kms_key_id=arn, kms_client=kms or self.kms)
        )

    def mrk(self, arn: str) -> Any:
        """Returns a keyring for multi-Region keys, which accepts other keys too."""
        return PROVIDERS.create_aws_kms_mrk_keyring(
            mpl.CreateAwsKmsMrkKeyringInput(kms_key_id=arn, kms_client=self.kms)
        )

    def both_regions(self) -> Any:
        return PROVIDERS.create_multi_keyring(
            mpl.CreateMultiKeyringInput(
                generator=self.strict(self.key), child_keyrings=[self.strict(self.away, self.there)]
            )
        )

    def discovery(self, account: str = ACCOUNT) -> Any:
        return PROVIDERS.create_aws_kms_discovery_keyring(
            mpl.CreateAwsKmsDiscoveryKeyringInput(
                kms_client=self.kms, discovery_filter=mpl.DiscoveryFilter(account_ids=[account], partition="aws")
            )
        )


@pytest.fixture(scope="module")
def scene(endpoint: AwsEndpoint) -> Scene:
    return Scene(endpoint.url)


def encrypted(keyring: Any) -> bytes:
    ciphertext, _ = SDK.encrypt(source=SOURCE, keyring=keyring, encryption_context=CONTEXT)
    return bytes(ciphertext)


def failure(call: Callable[[], object]) -> str:
    """Returns the text of an exception and of those inside: the SDK collects the service's errors in lists."""
    with pytest.raises(Exception) as raised:
        call()
    exceptions: list[BaseException] = [raised.value]
    for error in exceptions:
        inside = [*error.args, *getattr(error, "list", ())]
        exceptions += [one for one in inside if isinstance(one, BaseException)]
    return " ".join(map(repr, exceptions))


def decrypted(ciphertext: bytes, keyring: Any, context: dict[str, str] = CONTEXT) -> bytes:
    plaintext, _ = SDK.decrypt(source=ciphertext, keyring=keyring, encryption_context=context)
    return bytes(plaintext)


@pytest.mark.parametrize(
    ("sealed_by", "opened_by"),
    [
        (lambda s: s.strict(s.key), lambda s: s.strict(s.key)),
        (lambda s: s.mrk(s.key), lambda s: s.mrk(s.key)),
        (lambda s: s.strict(s.key), lambda s: s.discovery()),
        (lambda s: s.both_regions(), lambda s: s.strict(s.key)),
        (lambda s: s.both_regions(), lambda s: s.strict(s.away, s.there)),
    ],
    ids=["strict", "multi-Region", "discovery", "two regions, first", "two regions, second"],
)
def test_round_trip(sealed_by: Make, opened_by: Make, scene: Scene) -> None:
    ciphertext = encrypted(sealed_by(scene))
    assert SOURCE[:100] not in ciphertext
    assert decrypted(ciphertext, opened_by(scene)) == SOURCE


@pytest.mark.parametrize(
    "opened_by",
    [
        lambda s: s.strict(s.other),
        lambda s: s.strict(s.away, s.there),
        lambda s: s.discovery("999988887777"),
    ],
    ids=["another key", "a key of another region", "another account"],
)
def test_the_wrong_key(opened_by: Make, scene: Scene) -> None:
    with pytest.raises(Exception, match=r"(?i)unable to decrypt|no encrypted data keys|filter"):
        decrypted(encrypted(scene.strict(scene.key)), opened_by(scene))


def test_the_wrong_context(scene: Scene) -> None:
    keyring = scene.strict(scene.key)
    with pytest.raises(Exception, match=r"(?i)encryption context"):
        decrypted(encrypted(keyring), keyring, CONTEXT | {"app": "market"})


def test_a_context_changed_in_the_message(scene: Scene) -> None:
    """The SDK trusts the message's header, but the service refuses to decrypt the data key."""
    codes: list[str] = []
    kms = client(scene.url)
    kms.meta.events.register("after-call.kms.Decrypt", lambda parsed, **_: codes.append(parsed["Error"]["Code"]))
    keyring = scene.strict(scene.key, kms)
    forged = encrypted(keyring).replace(b"shop", b"shoq", 1)
    assert "No Configured KMS Key was able to decrypt" in failure(lambda: decrypted(forged, keyring, {}))
    assert codes == ["InvalidCiphertextException"]


def test_a_disabled_key(scene: Scene) -> None:
    arn = scene.kms.create_key()["KeyMetadata"]["Arn"]
    ciphertext = encrypted(scene.strict(arn))
    scene.kms.disable_key(KeyId=arn)
    for call in (lambda: decrypted(ciphertext, scene.strict(arn)), lambda: encrypted(scene.strict(arn))):
        assert f"{arn} is disabled." in failure(call)
    scene.kms.enable_key(KeyId=arn)
    assert decrypted(ciphertext, scene.strict(arn)) == SOURCE


# --- the older master key providers, which create their own clients ----------------------------------------------


@pytest.fixture
def session(environment: None) -> Any:
    return botocore.session.Session()


def test_master_keys(session: Any, scene: Scene) -> None:
    both = aws_encryption_sdk.StrictAwsKmsMasterKeyProvider(key_ids=[scene.key, scene.away], botocore_session=session)
    ciphertext, _ = SDK.encrypt(source=SOURCE, key_provider=both, encryption_context=CONTEXT)
    discovery = aws_encryption_sdk.DiscoveryAwsKmsMasterKeyProvider(botocore_session=session)
    for provider in (both, discovery):
        plaintext, header = SDK.decrypt(source=ciphertext, key_provider=provider)
        assert plaintext == SOURCE
        assert header.encryption_context.items() >= CONTEXT.items()
    wrong = aws_encryption_sdk.StrictAwsKmsMasterKeyProvider(key_ids=[scene.other], botocore_session=session)
    with pytest.raises(aws_encryption_sdk.exceptions.DecryptKeyError):
        SDK.decrypt(source=ciphertext, key_provider=wrong)


def test_readmes_line(environment: None, scene: Scene) -> None:
    names = {"kms": boto3.client("kms"), "CreateAwsKmsKeyringInput": mpl.CreateAwsKmsKeyringInput, "key_arn": scene.key}
    keyring = PROVIDERS.create_aws_kms_keyring(eval(clients()["tests/aws/test_encryption_sdk.py"], names))
    assert decrypted(encrypted(keyring), scene.strict(scene.key)) == SOURCE
