"""TLS of one worker's doors, by one certificate, which may be renewed on disk while the worker runs.

The files are looked at once a second, off the event loop. A new pair that fits together serves all handshakes from then
on; connections that stand keep what they have. Of anything else the log says once what is wrong, and the earlier pair
stays. Handshakes themselves never touch a file: gRPC asks `_renewed` before each, under the GIL.

gRPC speaks TLS 1.3 alone here (processes/children.py says how), and so does HTTP of the AWS door.
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
from kms_grpc.endpoints.certificate import Certified

LOOK_SECONDS: Final = 1.0

_log = logging.getLogger(__name__)


class ServerTls:
    """The certificate that serves now. Raises ConfigurationError where there is none to begin with."""

    def __init__(self, files: Tls, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._files = files
        self._now = now
        self._seen = certificate.identity(files)
        self._certified = certificate.read(files, now())
        self._context = _context(self._certified)
        self._for_grpc: deque[grpc.ServerCertificateConfiguration] = deque(maxlen=1)
        self._refused = ""
        renewed: Any = self._renewed  # None means "as before", which the stubs' type leaves out
        # gRPC holds no reference to them, and asks them at each handshake.
        self.credentials = grpc.dynamic_ssl_server_credentials(_configuration(self._certified), renewed)

    @property
    def seconds_to_expiry(self) -> int:
        return int((self._certified.expires - self._now()).total_seconds())

    def context(self) -> ssl.SSLContext:
        """For a listener of Python's own: each handshake on it goes on under the certificate of that moment."""
        listener = _context(self._certified)

        def choose(connection: ssl.SSLObject | ssl.SSLSocket, name: str | None, _: ssl.SSLContext) -> None:
            connection.context = self._context

        listener.sni_callback = choose
        return listener

    async def watch(self) -> None:
        """Look for a renewed pair until cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await asyncio.to_thread(self.look)
            except Exception:
                _log.exception("the TLS certificate cannot be looked for")

    def look(self) -> None:
        """Take what lies in the files, if it is new and fits together."""
        found = certificate.identity(self._files)
        if found == self._seen:
            return
        try:
            certified = certificate.read(self._files, self._now())
            context = _context(certified)
        except ConfigurationError as error:
            self._refuse(str(error))
        else:
            self._take(certified, context)
            self._seen = found

    def _take(self, certified: Certified, context: ssl.SSLContext) -> None:
        self._refused = ""
        if (certified.chain, certified.key) == (self._certified.chain, self._certified.key):
            return
        self._certified, self._context = certified, context
        self._for_grpc.append(_configuration(certified))
        told = {"names": " ".join(certified.names), "expires": certified.expires.isoformat()}
        _log.info("the TLS certificate was renewed", extra=told)

    def _refuse(self, why: str) -> None:
        """Said once for each fault; the files are looked at again as long as it lasts."""
        if why != self._refused:
            _log.warning("the renewed TLS certificate is not taken, the earlier one stays: %s", why)
        self._refused = why

    def _renewed(self) -> grpc.ServerCertificateConfiguration | None:
        """gRPC's question before each handshake; None: as before. Memory alone: it holds a lock of gRPC's."""
        try:
            return self._for_grpc.popleft()
        except IndexError:
            return None


def _configuration(certified: Certified) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(certified.key, certified.chain)])


def _context(certified: Certified) -> ssl.SSLContext:
    """Python reads certificates from files alone: this one has no name, and lies in memory."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    descriptor = os.memfd_create("kms-grpc-tls", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, certified.key + b"\n" + certified.chain)
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    except ssl.SSLError as error:
        raise ConfigurationError(f"tls: the certificate cannot be used: {error.reason}") from None
    finally:
        os.close(descriptor)
    return context
