"""Loopback addresses: those that only this machine itself can reach, without a proxy."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping

HOST = "127.0.0.1"
#: As they are written in a page's address.
NAMES = (HOST, "localhost", "[::1]")
#: As they are written in NO_PROXY: programs differ in whether they understand ranges and brackets.
UNPROXIED = ("localhost", HOST, "127.0.0.0/8", "::1", "[::1]")


def is_loopback(host: str) -> bool:
    """Whether `host` is a loopback address or "localhost"."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def unproxied(variables: Mapping[str, str]) -> dict[str, str]:
    """NO_PROXY and no_proxy with the loopback addresses added; {} if `variables` set no proxy or exempt all hosts."""
    proxies = [name for name, value in variables.items() if name.lower().endswith("_proxy") and value]
    if all(name.lower() == "no_proxy" for name in proxies):
        return {}
    listed = (variables.get("no_proxy") or variables.get("NO_PROXY") or "").strip()
    if listed == "*":
        return {}
    names = [name for name in (each.strip() for each in listed.split(",")) if name]
    value = ",".join(dict.fromkeys([*names, *UNPROXIED]))
    return {"NO_PROXY": value, "no_proxy": value}
