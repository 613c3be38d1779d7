"""The addresses by which a machine reaches itself: nobody else does, and no proxy."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping

HOST = "127.0.0.1"
#: As they stand in the address of a page.
NAMES = (HOST, "localhost", "[::1]")
#: The same as NO_PROXY lists them: programs differ in whether they know ranges, and brackets.
UNPROXIED = ("localhost", HOST, "127.0.0.0/8", "::1", "[::1]")


def is_loopback(host: str) -> bool:
    """Whether nobody but this machine reaches `host`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def unproxied(variables: Mapping[str, str]) -> dict[str, str]:
    """What NO_PROXY and no_proxy must be so that no proxy is asked for loopback; {} where `variables` name no proxy."""
    proxies = [name for name, value in variables.items() if name.lower().endswith("_proxy") and value]
    if all(name.lower() == "no_proxy" for name in proxies):
        return {}
    listed = (variables.get("no_proxy") or variables.get("NO_PROXY") or "").strip()
    if listed == "*":
        return {}
    names = [name for name in (each.strip() for each in listed.split(",")) if name]
    value = ",".join(dict.fromkeys([*names, *UNPROXIED]))
    return {"NO_PROXY": value, "no_proxy": value}
