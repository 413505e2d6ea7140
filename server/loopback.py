"""Who may come in: this machine, and no web page of another site that runs in a browser on it."""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit

from fastapi import Request

from interlock import errors

__all__ = ["loopback_only"]


async def loopback_only(request: Request) -> None:
    """Raises NotAuthorized for other peers, for other host names (DNS rebinding) and for pages of other sites."""
    peer = request.client.host if request.client else ""
    if not _is_here(peer):
        raise errors.NotAuthorized(f"{peer or 'this peer'} is not on this machine", "connect over the loopback address")
    host = urlsplit(f"//{request.headers.get('host', '')}").hostname or ""
    if not _is_here(host):
        raise errors.NotAuthorized(f"{host!r} is no name of this machine", "use http://127.0.0.1 or http://localhost")
    origin = request.headers.get("origin")
    if origin is not None and not _is_here(urlsplit(origin).hostname or ""):
        raise errors.NotAuthorized(f"pages of {origin} may not call this", "call it from this machine")


def _is_here(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
