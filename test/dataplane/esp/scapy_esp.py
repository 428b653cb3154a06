"""ESP by scapy: a JSON list of requests on standard input, a list of answers in hex on standard output.

seal: the IPv4 packet `packet` in transport mode, as scapy's SecurityAssociation makes it.
open: the other way round; an integrity error is the answer "refused".
"""

import json
import logging
import sys

logging.getLogger('scapy.runtime').setLevel(logging.ERROR)

from scapy.layers.inet import IP
from scapy.layers.ipsec import ESP, IPSecIntegrityError, SecurityAssociation

ALGORITHMS = {
    'aes128gcm16': 'AES-GCM',
    'aes192gcm16': 'AES-GCM',
    'aes256gcm16': 'AES-GCM',
    'chacha20poly1305': 'CHACHA20-POLY1305',
}


def answer(request):
    esn = request['esn']
    sa = SecurityAssociation(
        ESP,
        spi=request['spi'],
        crypt_algo=ALGORITHMS[request['algorithm']],
        crypt_key=bytes.fromhex(request['key']),
        auth_algo='NULL',
        esn_en=esn is not None,
        esn=esn or 0,
    )
    packet = IP(bytes.fromhex(request['packet']))
    if request['op'] == 'seal':
        return bytes(sa.encrypt(packet, seq_num=request['sequence'], iv=bytes.fromhex(request['iv']))).hex()
    try:
        return bytes(sa.decrypt(packet)).hex()
    except IPSecIntegrityError:
        return 'refused'


json.dump([answer(request) for request in json.load(sys.stdin)], sys.stdout)
