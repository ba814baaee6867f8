"""All checks, in the order of the contract's points."""

from . import handshake, scope, messages, deflate, ping, closing, flow, asyncio_manners, transports  # noqa: F401, I001
from .registry import CHECKS, Check, NotOffered

__all__ = ["CHECKS", "Check", "NotOffered"]
