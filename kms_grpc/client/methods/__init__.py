"""Methods of KeyManagementClient, one class per topic and one method per operation.

A method takes the operation's fields as arguments, builds the request and returns the response message. Its name is the
operation's name in snake case. A method that does more than fill its request is written by hand in the file of its
topic. `python build.py --client` writes plain.py, which has all other methods, from protos/, and the asyncio methods
(kms_grpc/client/aio/methods) from all of these files.
"""

from __future__ import annotations

from typing import Final

WITHOUT_METHOD: Final = {
    "EncryptStream": "StreamClient.encrypt",
    "DecryptStream": "StreamClient.decrypt",
}
"""Operations that KeyManagementClient has no method for, each with the call that Python users make instead."""
