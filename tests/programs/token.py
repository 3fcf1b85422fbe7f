"""An ssh-agent with two security keys that sign as a FIDO token would (OpenSSH's PROTOCOL.u2f,
draft-miller-ssh-agent): token.py SOCKET DIRECTORY. Each signature's flags are read from DIRECTORY/flags;
the public keys are written to DIRECTORY/sk-ed25519.pub and sk-ecdsa.pub before the socket is there."""

import base64
import hashlib
import os
import socket
import struct
import sys

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, utils

APPLICATION = b"ssh:tests"
FAILURE, IDENTITIES_REQUEST, IDENTITIES, SIGN_REQUEST, SIGNATURE = 5, 11, 12, 13, 14


def string(data):
    return struct.pack(">I", len(data)) + data


def mpint(number):
    return string(number.to_bytes(number.bit_length() // 8 + 1, "big"))


def take(data):
    (length,) = struct.unpack(">I", data[:4])
    return data[4:4 + length], data[4 + length:]


class Ed25519:
    kind = b"sk-ssh-ed25519@openssh.com"

    def __init__(self):
        self.key = ed25519.Ed25519PrivateKey.generate()
        raw = self.key.public_key().public_bytes_raw()
        self.blob = string(self.kind) + string(raw) + string(APPLICATION)

    def sign(self, data):
        return self.key.sign(data)


class Ecdsa:
    kind = b"sk-ecdsa-sha2-nistp256@openssh.com"

    def __init__(self):
        self.key = ec.generate_private_key(ec.SECP256R1())
        form = serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
        point = self.key.public_key().public_bytes(*form)
        self.blob = string(self.kind) + string(b"nistp256") + string(point) + string(APPLICATION)

    def sign(self, data):
        return b"".join(map(mpint, utils.decode_dss_signature(self.key.sign(data, ec.ECDSA(hashes.SHA256())))))


def attest(key, message, flags):
    tail = struct.pack(">BI", flags, 7)
    digest = hashlib.sha256
    signed = key.sign(digest(APPLICATION).digest() + tail + digest(message).digest())
    return string(key.kind) + string(signed) + tail


def answer(keys, directory, request):
    if request[0] == IDENTITIES_REQUEST:
        listed = b"".join(string(key.blob) + string(b"token") for key in keys)
        return bytes([IDENTITIES]) + struct.pack(">I", len(keys)) + listed
    if request[0] == SIGN_REQUEST:
        blob, rest = take(request[1:])
        message, _ = take(rest)
        flags = int(open(os.path.join(directory, "flags")).read())
        for key in keys:
            # A certificate's key has the blob's own fields in it.
            if blob == key.blob or key.blob[4 + len(key.kind):] in blob:
                return bytes([SIGNATURE]) + string(attest(key, message, flags))
    return bytes([FAILURE])


def serve(connection, keys, directory):
    stream = connection.makefile("rwb")
    while len(head := stream.read(4)) == 4:
        reply = answer(keys, directory, stream.read(struct.unpack(">I", head)[0]))
        stream.write(string(reply))
        stream.flush()


def main(path, directory):
    keys = {"sk-ed25519": Ed25519(), "sk-ecdsa": Ecdsa()}
    for name, key in keys.items():
        with open(os.path.join(directory, name + ".pub"), "wb") as file:
            file.write(key.kind + b" " + base64.b64encode(key.blob) + b" token\n")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    while True:
        connection, _ = listener.accept()
        with connection:
            serve(connection, list(keys.values()), directory)


main(*sys.argv[1:])
