"""A server that writes down what arrives and tells its clients none of it: HTTPS on 8443, WebSocket on 9443.

keyed.py CERTIFICATE KEY REPOSITORIES READY

A line of JSON for each request goes to `arrived` beside READY. Below /aws/ it also says whether the signature is
right, by botocore's own reckoning with the secret in secrets/AWS_SECRET_ACCESS_KEY.
"""

import base64
import hashlib
import json
import os
import ssl
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from websockets.sync.server import serve

CERTIFICATE, KEY, _, READY = sys.argv[1:5]
HERE = os.path.dirname(READY)
LOCK = threading.Lock()


def note(**facts):
    with LOCK, open(os.path.join(HERE, "arrived"), "a") as log:
        log.write(json.dumps(facts) + "\n")


def context():
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(CERTIFICATE, KEY)
    return made


def judged(method, path, headers, body):
    """What is wrong with a signature; nothing, if it is right."""
    stated = headers["Authorization"]
    parts = dict(part.strip().split("=", 1) for part in stated.removeprefix("AWS4-HMAC-SHA256 ").split(","))
    key, day, region, service, _ = parts["Credential"].split("/")
    with open(os.path.join(HERE, "secrets", "AWS_SECRET_ACCESS_KEY")) as file:
        secret = file.read().strip()
    signed = {name: headers[name] for name in parts["SignedHeaders"].split(";")}
    hashed = headers.get("x-amz-content-sha256", "")
    if len(hashed) == 64 and hashed != hashlib.sha256(body).hexdigest():
        return "the body has another hash"
    kind = S3SigV4Auth if service == "s3" else SigV4Auth
    auth = kind(Credentials(key, secret), service, region)
    request = AWSRequest(method, f"https://{headers['Host']}{path}", signed, body)
    request.context.update(timestamp=headers["x-amz-date"], payload_signing_enabled=True)
    canonical = auth.canonical_request(request)
    if "x-amz-content-sha256" in signed:
        canonical = "\n".join(canonical.split("\n")[:-1] + [hashed])
    wanted = auth.signature(auth.string_to_sign(request, canonical), request)
    return "" if wanted == parts["Signature"] else f"wanted {wanted}: {canonical}"


class Http(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def body(self):
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            parts = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length", "0")))

    def answer(self):
        body = self.body()
        facts = {"method": self.command, "target": self.path, "headers": {n.lower(): v for n, v in self.headers.items()}}
        facts["body"] = base64.b64encode(body).decode()
        kind, said = "text/plain", b"fine\n"
        if self.path.startswith("/aws/"):
            facts["wrong"] = judged(self.command, self.path, self.headers, body)
            kind, said = "application/xml", b"<ListBucketResult></ListBucketResult>"
            if self.headers.get("X-Amz-Target"):
                kind, said = "application/x-amz-json-1.0", b"{}"
        note(**facts)
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = answer

    def log_message(self, *_):
        pass


def listen(connection):
    for message in connection:
        note(message=message)
        connection.send("heard")


if __name__ == "__main__":
    server = ThreadingHTTPServer(("0.0.0.0", 8443), Http)
    server.socket = context().wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever).start()
    with serve(listen, "0.0.0.0", 9443, ssl=context()) as chat:
        open(READY, "w").close()
        chat.serve_forever()
