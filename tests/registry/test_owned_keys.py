"""AWS owned keys in the registry."""

from __future__ import annotations

import threading
from pathlib import Path

from kms_grpc.crypto.envelope import open_blob, seal
from kms_grpc.model.key import (
    Key,
    KeyKind,
)
from kms_grpc.registry import owned_keys
from kms_grpc.registry.shards import Shard
from tests.registry.made import (
    NO_CONTEXT,
    SERVICE_ACCOUNT,
    opened,
)


def test_an_owned_key_is_made_once_by_concurrent_callers(store: Shard, folder: Path) -> None:
    shards = opened(folder)
    found: list[Key] = []
    ask = [
        threading.Thread(target=lambda shard=shard: found.append(owned_keys.owned_key(shard, "import-tokens", 7)))
        for shard in (store, shards.default) * 4
    ]
    for thread in ask:
        thread.start()
    for thread in ask:
        thread.join()
    assert len(found) == 8
    assert len({key.key_id for key in found}) == 1
    key, other = found[0], owned_keys.owned_key(store, "import-wrapping-keys", 7)
    assert (key.kind, key.account, other.key_id != key.key_id) == (KeyKind.AWS_OWNED, SERVICE_ACCOUNT, True)
    assert store.registry.keys.count(SERVICE_ACCOUNT) == 0, "no quota counts it"
    loaded = store.current_material(key)
    blob = seal(loaded.handle, loaded.prefix, loaded.associated_prefix + NO_CONTEXT, b"token")
    opener = shards.default.material(key, blob[:55])
    assert opener is not None
    assert open_blob(opener.handle, opener.associated_prefix + NO_CONTEXT, blob) == b"token"
    assert owned_keys.find_owned_key(store, "nothing") is None
    shards.close()


def test_a_worker_with_a_stale_cache_finds_a_new_owned_key(store: Shard, folder: Path) -> None:
    """The worker has looked the key up before it was made, and has not caught up since."""
    shards = opened(folder)
    assert owned_keys.find_owned_key(shards.default, "import-tokens") is None
    made, kept = owned_keys.owned_key(store, "import-tokens", 7), []
    with owned_keys.using(shards.default, "import-tokens", "Encrypt", owned_keys.Reason(8, kept.append)) as loaded:
        assert loaded.key_id == made.key_id
    assert len(kept) == 1
    shards.close()
