"""TLS for the doors of one worker, with a certificate that may be renewed on disk while the worker runs.

A thread checks the files once a second. A new valid pair serves all later handshakes; existing connections go on. An
invalid pair is logged once, and the earlier pair stays in use. Handshakes never read a file: before each one gRPC calls
`_renewed` while holding the GIL.

Both doors accept TLS 1.3 only. processes/children.py explains how gRPC is limited to it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

import grpc

from kms_grpc.config import ConfigurationError, Tls
from kms_grpc.endpoints import certificate
from kms_grpc.endpoints.certificate import CertifiedKey

LOOK_SECONDS: Final = 1.0

_log = logging.getLogger(__name__)


class ServerTls:
    """Holds the certificate in use. Raises ConfigurationError if the first pair is invalid."""

    def __init__(
        self,
        files: Tls,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        client_cas: Callable[[], str] = lambda: "",
    ) -> None:
        """`client_cas` returns the CAs (PEM) that vouch for client certificates now, for handshakes."""
        self._files = files
        self._now = now
        self._client_cas = client_cas
        self._cas = self._wanted_cas()
        self._seen = certificate.identity(files)
        self._certified = certificate.read(files, now())
        self._context = self._context_with(self._certified)
        self._for_grpc: deque[grpc.ServerCertificateConfiguration] = deque(maxlen=1)
        self._refused = ""
        renewed: Any = self._renewed  # may return None for "unchanged", which the stubs' type omits
        # Kept here because gRPC uses them at each handshake without holding a reference.
        self.credentials = grpc.dynamic_ssl_server_credentials(
            self._configuration(self._certified), renewed, files.client_certificates == "required"
        )

    @property
    def asks_clients(self) -> bool:
        """True if callers are asked for certificates."""
        return self._files.client_certificates != "off"

    @property
    def seconds_to_expiry(self) -> int:
        return int((self._certified.expires - self._now()).total_seconds())

    def context(self) -> ssl.SSLContext:
        """Returns a context for a listener that uses Python's ssl. Each handshake takes the certificate then in use."""
        listener = self._context_with(self._certified)

        def choose(connection: ssl.SSLObject | ssl.SSLSocket, name: str | None, _: ssl.SSLContext) -> None:
            connection.context = self._context

        listener.sni_callback = choose
        return listener

    async def watch(self) -> None:
        """Check for a renewed pair once a second until cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await asyncio.to_thread(self.look)
            except Exception:
                _log.exception("the check for a renewed TLS certificate failed")

    def look(self) -> None:
        """Use the pair in the files if it is new and valid."""
        found, cas = certificate.identity(self._files), self._wanted_cas()
        if cas != self._cas:
            self._cas = cas
            self._context = self._context_with(self._certified)
            self._for_grpc.append(self._configuration(self._certified))
        if found == self._seen:
            return
        try:
            certified = certificate.read(self._files, self._now())
            context = self._context_with(certified)
        except ConfigurationError as error:
            self._refuse(str(error))
        else:
            self._take(certified, context)
            self._seen = found

    def _take(self, certified: CertifiedKey, context: ssl.SSLContext) -> None:
        self._refused = ""
        if (certified.chain, certified.key) == (self._certified.chain, self._certified.key):
            return
        self._certified, self._context = certified, context
        self._for_grpc.append(self._configuration(certified))
        facts = {"names": " ".join(certified.names), "expires": certified.expires.isoformat()}
        _log.info("the TLS certificate was renewed", extra=facts)

    def _refuse(self, why: str) -> None:
        """Log each fault once. The files are checked again while it lasts, since a certificate may become valid."""
        if why != self._refused:
            _log.warning("the renewed TLS certificate is rejected, the earlier one stays in use: %s", why)
        self._refused = why

    def _renewed(self) -> grpc.ServerCertificateConfiguration | None:
        """Returns a new configuration, or None if unchanged. Must not block: gRPC holds a lock during the call."""
        try:
            return self._for_grpc.popleft()
        except IndexError:
            return None

    def _wanted_cas(self) -> str:
        return self._client_cas() if self._files.client_certificates != "off" else ""

    def _configuration(self, certified: CertifiedKey) -> grpc.ServerCertificateConfiguration:
        roots = self._cas.encode() or None
        return grpc.ssl_server_certificate_configuration([(certified.key, certified.chain)], roots)

    def _context_with(self, certified: CertifiedKey) -> ssl.SSLContext:
        """Returns a context that asks for client certificates as the settings say. It resumes no session then: a
        resumed one shows no certificate and is not verified again."""
        context = _context(certified)
        if self.asks_clients:
            required = self._files.client_certificates == "required"
            context.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
            context.load_verify_locations(cadata=self._cas)
            context.num_tickets = 0
        return context


def _context(certified: CertifiedKey) -> ssl.SSLContext:
    """Returns a context with this pair. Python loads certificates only from files, so they go through a memfd."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    descriptor = os.memfd_create("kms-grpc-tls", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, certified.key + b"\n" + certified.chain)
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    except ssl.SSLError as error:
        raise ConfigurationError(f"tls: OpenSSL rejects the certificate: {error.reason}") from None
    finally:
        os.close(descriptor)
    return context
