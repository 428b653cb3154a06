"""Seals and opens single ESP packets with scapy's IPsec layer, for judge.ts: one JSON request on standard input, one
JSON answer on standard output. Packets are IP datagrams in hex, with their IP headers.

seal: {"op": "seal", "spi", "sequence", "key", "salt" is the key's end as RFC 4106 has it, "packet", "esn"?, "iv"?}
open: the same with the ESP packet; answers {"packet": hex} or {"error": text}.
"""
import json
import sys
import warnings

warnings.filterwarnings("ignore")
from scapy.layers.inet import IP  # noqa: E402
from scapy.layers.inet6 import IPv6  # noqa: E402
from scapy.layers.ipsec import ESP, SecurityAssociation  # noqa: E402


def main():
    request = json.load(sys.stdin)
    data = bytes.fromhex(request["packet"])
    packet = IPv6(data) if data[0] >> 4 == 6 else IP(data)
    esn = request.get("esn")
    sa = SecurityAssociation(
        ESP,
        spi=request["spi"],
        seq_num=request.get("sequence", 1),
        crypt_algo=request.get("algorithm", "AES-GCM"),
        crypt_key=bytes.fromhex(request["key"]),
        esn_en=esn is not None,
        esn=esn or 0,
    )
    if request["op"] == "seal":
        iv = bytes.fromhex(request["iv"]) if "iv" in request else None
        return bytes(sa.encrypt(packet, iv=iv))
    return bytes(sa.decrypt(packet))


try:
    print(json.dumps({"packet": main().hex()}))
except Exception as error:  # scapy raises many kinds; the caller sees which
    print(json.dumps({"error": f"{type(error).__name__}: {error}"}))
