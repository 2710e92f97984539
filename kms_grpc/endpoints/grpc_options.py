"""Channel arguments of the gRPC server: bounds on what a peer may do before, between and within calls."""

from __future__ import annotations

from typing import Final

from kms_grpc.config import Limits

ACCEPTED_PING_INTERVAL_MS: Final = 10_000
PING_STRIKES: Final = 2
"""Number of pings that a peer may send sooner than accepted; the next one costs it its connection."""
METADATA_BYTES: Final = 16 * 1024
"""Most bytes of a call's metadata, as HTTP/2 counts them: 32 more for each entry than its name and value have."""
HANDSHAKE_MS: Final = 10_000
"""Longest time from the opening of a connection to its HTTP/2 settings, TLS included. gRPC's default is two minutes."""
CONNECTION_IDLE_MS: Final = 10 * 60 * 1000
"""A connection without a call for so long is closed; clients connect again by themselves."""
CONNECTION_AGE_MS: Final = 30 * 60 * 1000
CONNECTION_GRACE_MS: Final = 24 * 60 * 60 * 1000
"""How long the streams of an aged connection may continue. New calls already use a new connection."""
KEEPALIVE_MS: Final = 60_000
KEEPALIVE_TIMEOUT_MS: Final = 20_000
"""A peer that has sent nothing for KEEPALIVE_MS is pinged, and is gone if it does not answer within this time. Its
calls end then. gRPC's server would ask only every two hours."""
PENDING_CALLS: Final = 1 << 20


def options(limits: Limits) -> list[tuple[str, int]]:
    """Returns the channel arguments of the server.

    The ping interval admits Go clients, which ping every 10 s; gRPC's default would close their connections. The BDP
    probe is off because the windows it enlarges cost 40 MB for each stream whose reader stalls (4 MB without, on
    loopback, at the same throughput), and because they would receive most of a large message before its turn.
    """
    return [
        ("grpc.so_reuseport", 1),
        ("grpc.max_receive_message_length", limits.message_bytes),
        ("grpc.max_send_message_length", limits.message_bytes),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", ACCEPTED_PING_INTERVAL_MS),
        ("grpc.http2.max_ping_strikes", PING_STRIKES),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.keepalive_time_ms", KEEPALIVE_MS),
        # Pings have a timeout of their own, by default a minute. Both must be short.
        ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MS),
        ("grpc.http2.ping_timeout_ms", KEEPALIVE_TIMEOUT_MS),
        ("grpc.http2.bdp_probe", 0),
        # Between the two limits gRPC would refuse calls at random.
        ("grpc.max_metadata_size", METADATA_BYTES),
        ("grpc.absolute_max_metadata_size", METADATA_BYTES),
        ("grpc.server_handshake_timeout_ms", HANDSHAKE_MS),
        ("grpc.max_connection_idle_ms", CONNECTION_IDLE_MS),
        ("grpc.max_connection_age_ms", CONNECTION_AGE_MS),
        ("grpc.max_connection_age_grace_ms", CONNECTION_GRACE_MS),
        ("grpc.max_concurrent_streams", limits.calls_per_connection),
        # Otherwise gRPC may reset a new stream of a client that is at its limit of concurrent streams: the client knows
        # that an earlier stream has ended before the server has released it.
        ("grpc.http.overload_protection", 0),
        # Beyond these limits gRPC itself answers CANCELLED. They are high, so that call_limit.py rejects calls instead.
        ("grpc.server.max_pending_requests", PENDING_CALLS),
        ("grpc.server.max_pending_requests_hard_limit", PENDING_CALLS),
    ]
