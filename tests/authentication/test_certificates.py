"""Client certificates: which names a rule knows them by, which bundle may vouch, and when a remembered one ends."""

from __future__ import annotations

import ssl
import time
from datetime import timedelta
from ipaddress import ip_address
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from kms_grpc import config
from kms_grpc.authentication.certificates import Certificates, certificates_of, names_of, namesakes, read_bundle
from kms_grpc.configured_files import KeptFiles
from kms_grpc.errors import ExpiredTokenException, UnrecognizedClientException
from kms_grpc.issuer_settings import BundleSettings, MappingSettings
from kms_grpc.misfits import ConfigurationError
from tests.certificates import DAY, Authority, named

ACCOUNT = "111122223333"
OURS, PARTNER = Authority(name=named("CA ours")), Authority(name=named("CA partner"))
URI, DNS, MAIL = x509.UniformResourceIdentifier, x509.DNSName, x509.RFC822Name


def name(*parts: tuple[Any, str]) -> x509.Name:
    return x509.Name([x509.NameAttribute(kind, value) for kind, value in parts])


CN, O = NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME  # noqa: E741 - X.509's own names


def names(*alternative: x509.GeneralName, subject: x509.Name | None = None) -> dict[str, str]:
    pem, _ = OURS.client(*alternative, subject=subject)
    return dict(names_of(x509.load_pem_x509_certificate(pem)))


ALICE = "spiffe://td/ns/a/sa/alice"


@pytest.mark.parametrize(
    ("alternative", "found"),
    [
        ([URI(ALICE)], {"spiffe": ALICE}),
        ([URI(ALICE), DNS("a.example.com")], {"spiffe": ALICE, "dns": "a.example.com"}),
        ([DNS("spiffe://td/admin")], {"dns": "spiffe://td/admin"}),  # a DNS name is no SPIFFE id (CVE-2022-21656)
        ([MAIL("alice@example.com")], {}),
        ([x509.IPAddress(ip_address("10.0.0.1"))], {}),
        ([DNS("10.0.0.1")], {"dns": "10.0.0.1"}),
        ([DNS("a.example.com"), DNS("b.example.com")], {}),
        ([URI(ALICE), URI("spiffe://td/bob")], {}),  # X509-SVID §2: exactly one URI
        ([URI("https://x/y"), URI("spiffe://td/bob")], {}),
        ([URI("https://x/y")], {}),
        ([URI("spiffe://TD/alice")], {}),
        ([URI("spiffe://td/ns/../admin")], {}),
        ([URI("spiffe://td/./admin")], {}),
        ([URI("spiffe://td/a/")], {}),
        ([URI("spiffe://td//a")], {}),
        ([URI("spiffe://td")], {}),
        ([URI("spiffe://td/a%2Fb")], {}),
        ([URI("spiffe://td/a?x=1")], {}),
        ([URI("spiffe://td/a#x")], {}),
        ([URI("spiffe://td:80/a")], {}),
        ([URI("spiffe://u@td/a")], {}),
        ([URI("SPIFFE://td/a")], {}),
        ([URI("spiffe://td/..a/b..")], {"spiffe": "spiffe://td/..a/b.."}),
        ([URI("spiffe://td/" + "a" * 2040)], {}),
    ],
)
def test_kinds_of_names_are_never_mixed(alternative: list[x509.GeneralName], found: dict[str, str]) -> None:
    assert names(*alternative) == found


@pytest.mark.parametrize(
    ("subject", "found"),
    [
        (name((O, "Acme"), (CN, "alice")), "CN=alice,O=Acme"),
        (name((CN, "alice"), (CN, "admin")), None),
        (name((CN, "alice,CN=admin")), None),
        (name((CN, "alice+O=x")), None),
        (name((CN, "alice\\")), None),
        (name((CN, "alice\n")), None),
        (name(), None),
        (x509.Name([x509.RelativeDistinguishedName([x509.NameAttribute(CN, "a"), x509.NameAttribute(O, "b")])]), None),
    ],
)
def test_a_subject_is_never_ambiguous(subject: x509.Name, found: str | None) -> None:
    assert names(subject=subject).get("subject") == found


def rule(bundle: str = "ours", arn: str = "role/{spiffe.2}", **claims: str) -> MappingSettings:
    arn = f"arn:aws:iam::{ACCOUNT}:{arn}"
    return MappingSettings(name=f"of {bundle}", bundle=bundle, claims=claims, arn=arn, account=ACCOUNT, policies=[])


OF_PARTNER = rule("partner", "role/partner", dns="*.partner.example.com")
BY_SPIFFE = rule(spiffe="spiffe://td/ns/*/sa/*")


class Judge:
    def __init__(self, *rules: MappingSettings) -> None:
        self.now = int(time.time())
        texts = {"/ours": OURS.pem.decode(), "/partner": PARTNER.pem.decode()}
        bundles = [BundleSettings(each[1:], Path(each)) for each in texts]
        self.certificates: Certificates = certificates_of(bundles, rules, KeptFiles(texts), lambda: self.now * 10**9)

    def resource(self, pem: bytes) -> str:
        der = ssl.PEM_cert_to_DER_cert(pem.decode())
        found = self.certificates.principal(der)
        assert self.certificates.warm_principal(der) == found
        return found.arn.split(":", 5)[5]


@pytest.mark.parametrize(
    ("rules", "authority", "alternative", "resource"),
    [
        (BY_SPIFFE, OURS, [URI(ALICE)], "role/alice"),
        (BY_SPIFFE, PARTNER, [URI(ALICE)], None),  # a pooled bundle would let a partner speak for us
        (BY_SPIFFE, Authority(name=named("CA ours")), [URI(ALICE)], None),  # our CA's name without its key
        (BY_SPIFFE, OURS, [DNS(ALICE)], None),
        (BY_SPIFFE, OURS, [URI("spiffe://td/ns/x/sa/y/sa/alice")], None),
        (BY_SPIFFE, OURS, [URI("spiffe://other/ns/a/sa/alice")], None),
        (OF_PARTNER, PARTNER, [DNS("a.partner.example.com")], "role/partner"),
        (OF_PARTNER, OURS, [DNS("a.partner.example.com")], None),
        (rule(arn="role/x", dns="a.example.com"), OURS, [URI(ALICE), DNS("a.example.com")], "role/x"),
        (rule(arn="role/x", dns="a.example.com"), OURS, [DNS("xa.example.com")], None),
    ],
)  # fmt: skip
def test_a_rule_means_certificates_of_its_bundle_alone(
    rules: MappingSettings, authority: Authority, alternative: list[x509.GeneralName], resource: str | None
) -> None:
    pem, _ = authority.client(*alternative)
    if resource is not None:
        assert Judge(rules).resource(pem) == resource
        return
    with pytest.raises(UnrecognizedClientException, match="The client certificate means no caller"):
        Judge(rules).resource(pem)


def test_a_remembered_certificate_expires() -> None:
    judge = Judge(BY_SPIFFE)
    pem, _ = OURS.client(URI(ALICE), until=timedelta(seconds=60))
    for _ in range(3):
        assert judge.resource(pem) == "role/alice"
    judge.now += 60
    der = ssl.PEM_cert_to_DER_cert(pem.decode())
    assert judge.certificates.warm_principal(der) is None
    with pytest.raises(ExpiredTokenException, match="The client certificate is expired: the server's time is 20"):
        judge.resource(pem)


def test_a_certificate_ends_with_its_ca() -> None:
    judge = Judge(BY_SPIFFE)
    pem, _ = OURS.client(URI(ALICE), until=10 * DAY)
    assert judge.resource(pem) == "role/alice"
    judge.now += 2 * 86_400
    with pytest.raises(UnrecognizedClientException):
        judge.resource(pem)


def read(text: str) -> Any:
    return read_bundle(BundleSettings("ours", Path("/cas.pem")), KeptFiles({"/cas.pem": text}))


GOOD = OURS.pem.decode()
DAMAGED = GOOD.replace("MII", "MIA", 1)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (GOOD + DAMAGED, "client bundle ours: /cas.pem: certificate 2 is damaged"),
        (DAMAGED + GOOD, "certificate 1 is damaged"),
        (GOOD.replace("-----END CERTIFICATE-----", "") + GOOD, "certificate 1 is damaged"),
        (GOOD + OURS.client(URI(ALICE))[0].decode(), "certificate 2 is not that of a CA"),
        ("", "it has no certificates in PEM format"),
        ("<html>", "it has no certificates in PEM format"),
    ],
    ids=map(str, count()),  # certificates are different in each process
)
def test_a_bundle_is_taken_whole_or_not_at_all(text: str, says: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        read(text)
    assert says in str(refused.value)
    assert len(read("subject=x\n" + GOOD + GOOD)[1]) == 2


def test_two_cas_of_one_name_are_noticed() -> None:
    _, authorities = read(GOOD + Authority(name=named("CA ours")).pem.decode() + PARTNER.pem.decode())
    assert namesakes(authorities) == ["CN=CA ours"]


TLS = {"certificate_file": "/c", "key_file": "/k"}
BUNDLES = [{"name": "ours", "file": "/ours"}]
RULE = {"name": "r", "bundle": "ours", "arn": f"arn:aws:iam::{ACCOUNT}:role/x", "account": ACCOUNT, "policies": []}


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"tls": TLS | {"client_certificates": "required"}, "client_bundles": BUNDLES}, None),
        (
            {"tls": TLS | {"client_certificates": "optional"}, "client_bundles": BUNDLES},
            '"optional" is not possible for gRPC, which cannot ask for a certificate without requiring one',
        ),
        (
            {
                "tls": TLS | {"client_certificates": "optional"}, "client_bundles": BUNDLES, "listen": "unix:/x",
                "aws_listen": "127.0.0.1:0",
            },
            None,
        ),
        ({"tls": TLS | {"client_certificates": "required"}}, "tls.client_certificates: give [[client_bundles]]"),
        ({"tls": TLS, "client_bundles": BUNDLES}, "client_bundles: they need [tls] client_certificates"),
        ({"tls": TLS | {"client_certificates": "always"}}, "Invalid enum value 'always'"),
        ({"mappings": [RULE | {"claims": {"spiffe": "spiffe://td/x"}}]}, "there is no client bundle ours"),
        *(
            (
                {
                    "tls": TLS | {"client_certificates": "required"}, "client_bundles": BUNDLES,
                    "mappings": [RULE | {"claims": claims} | more],
                },
                says,
            )
            for claims, more, says in (
                ({"spiffe": "spiffe://td/ns/*"}, {}, None),
                ({"spiffe": "spiffe://td/x", "dns": "x"}, {}, "claims must be one of spiffe, dns and subject"),
                ({"email": "x"}, {}, "claims must be one of spiffe, dns and subject"),
                ({}, {}, "claims must be one of spiffe, dns and subject"),
                ({"subject": "CN=*"}, {}, "the pattern of subject can have no `*`"),
                ({"dns": "*"}, {}, "claims must have a condition on the name"),
                ({"dns": "x"}, {"issuer": "i"}, "give either issuer or bundle"),
            )
        ),
    ],
)  # fmt: skip
def test_settings_of_client_certificates(settings: dict[str, Any], says: str | None) -> None:
    if says is None:
        config.from_values({"regions": ["eu-central-1"]} | settings)
        return
    with pytest.raises(ConfigurationError) as refused:
        config.from_values({"regions": ["eu-central-1"]} | settings)
    assert says in str(refused.value)
