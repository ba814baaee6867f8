"""How messages become bytes: the formats, encryption and random prefix of channels_redis, byte for byte."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import secrets
import sys
from collections.abc import Callable, Sequence
from typing import Any


def _msgpack() -> tuple[Callable[[Any], bytes], Callable[[bytes], Any]]:
    try:
        import msgpack
    except ImportError as error:
        raise ImportError(
            'serializer_format "msgpack" needs the package msgpack: pip install msgpack, or use "json"'
        ) from error
    # Senders may use any keys that msgpack takes: numbers, say, as in {"votes": {7: 3}}.
    return msgpack.packb, functools.partial(msgpack.unpackb, strict_map_key=False)


def _json() -> tuple[Callable[[Any], bytes], Callable[[bytes], Any]]:
    # UTF-8, RFC 8259 section 8.1.
    return lambda message: json.dumps(message).encode(), json.loads


FORMATS = {"msgpack": _msgpack, "json": _json}


def make_cipher(keys: Sequence[str | bytes] | None) -> Any:
    """A MultiFernet of the keys: the first encrypts, all decrypt. None without keys."""
    if keys is None:
        return None
    if isinstance(keys, (str, bytes)):
        raise ValueError("symmetric_encryption_keys must be a list of possible keys, not one string")
    if not isinstance(keys, Sequence):
        raise ValueError(f"symmetric_encryption_keys must be a list of keys, got {type(keys).__name__}")
    for index, key in enumerate(keys):
        if not isinstance(key, (str, bytes)):
            raise ValueError(
                f"symmetric_encryption_keys[{index}] must be a str or bytes, got {type(key).__name__}"
            )
        if not key.strip():
            raise ValueError(f"symmetric_encryption_keys[{index}] is empty, which is no secret")
    if not keys:
        return None
    try:
        from cryptography.fernet import Fernet, MultiFernet
    except ImportError as error:
        raise ImportError(
            "symmetric_encryption_keys needs the package cryptography: pip install cryptography"
        ) from error
    digests = [hashlib.sha256(key.encode() if isinstance(key, str) else key).digest() for key in keys]
    return MultiFernet([Fernet(base64.urlsafe_b64encode(digest)) for digest in digests])


class Serializer:
    """One format, encrypted where there are keys, with random bytes in front where a sorted set needs them.

    A Redis sorted set keeps equal members once, so messages in queues get `random_prefix_length` random
    bytes.
    """

    def __init__(
        self,
        encode: Callable[[Any], bytes],
        decode: Callable[[bytes], Any],
        cipher: Any = None,
        random_prefix_length: int = 0,
        expiry: float | None = None,
    ) -> None:
        self.encode = encode
        self.decode = decode
        self._cipher = cipher
        self._prefix_length = max(0, random_prefix_length)
        # Clocks of hosts differ by some seconds: channels_redis's allowance.
        self._time_to_live = None if expiry is None else int(expiry) + 10

    def serialize(self, message: Any) -> bytes:
        data = self.encode(message)
        if self._cipher is not None:
            data = self._cipher.encrypt(data)
        if self._prefix_length:
            data = secrets.token_bytes(self._prefix_length) + data
        return data

    def deserialize(self, data: bytes) -> Any:
        if self._prefix_length:
            data = data[self._prefix_length :]
        if self._cipher is not None:
            data = self._cipher.decrypt(data, self._time_to_live)
        return self.decode(data)


class CustomSerializer:
    """A serializer of the user's, registered with channels_redis: it encrypts and prefixes by itself."""

    def __init__(self, serializer: Any) -> None:
        self._serializer = serializer
        self.deserialize = serializer.deserialize
        # What travels within the process needs no encryption, but must be what travels between processes.
        self.encode, self.decode = self.serialize, serializer.deserialize

    def serialize(self, message: Any) -> bytes:
        data = self._serializer.serialize(message)
        return data.encode() if isinstance(data, str) else bytes(data)


def _registered(format: str) -> type | None:
    """The class that the application registered with channels_redis under this name.

    Whoever registers one has imported channels_redis: it is never imported from here.
    """
    module = sys.modules.get("channels_redis.serializers")
    if module is None:
        return None
    found = module.registry._registry.get(format)
    return None if found in (module.JSONSerializer, module.MsgPackSerializer) else found


def make_serializer(
    format: str,
    *,
    symmetric_encryption_keys: Sequence[str | bytes] | None = None,
    random_prefix_length: int = 0,
    expiry: float | None = None,
) -> Serializer | CustomSerializer:
    """The serializer for the setting serializer_format. ValueError when there is none of that name."""
    custom = _registered(format) if isinstance(format, str) else None
    if custom is not None:
        options: dict[str, Any] = {"symmetric_encryption_keys": symmetric_encryption_keys}
        if random_prefix_length:
            options |= {"random_prefix_length": random_prefix_length, "expiry": expiry}
        return CustomSerializer(custom(**options))
    if format not in tuple(FORMATS):
        raise ValueError(
            f"serializer_format {format!r} is not known: use one of {', '.join(sorted(FORMATS))}, "
            "or register it with channels_redis.serializers.registry"
        )
    encode, decode = FORMATS[format]()
    return Serializer(encode, decode, make_cipher(symmetric_encryption_keys), random_prefix_length, expiry)
