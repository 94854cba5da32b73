"""S3 Tables, mocked: a REST service behind what Amazon's endpoint adds to the protocol.

    s3_tables.py PORT SERVICE

Each request must be signed, which botocore checks; everything is below the table bucket's ARN, percent-encoded; namespaces have one level,
and names are in lower case.
"""

import hashlib
import hmac
import json
import re
import sys
import urllib.parse
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

KEY, SECRET, REGION = "suite", "suite-secret", "us-east-1"
ARN = f"arn:aws:s3tables:{REGION}:111122223333:bucket/suite"
PREFIX = urllib.parse.quote(ARN, safe="")
AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/]+)/\d{8}/([^/]+)/([^/]+)/aws4_request, ?"
    r"SignedHeaders=([^,]+), ?Signature=([0-9a-f]{64})"
)
NAME = re.compile("[a-z0-9][a-z0-9_]*")


class Refused(Exception):
    def __init__(self, status, kind, message):
        super().__init__(message)
        self.status, self.kind = status, kind


def check_signature(method, path, headers, body):
    match = AUTHORIZATION.fullmatch(headers.get("authorization", ""))
    if not match or match.groups()[:3] != (KEY, REGION, "s3tables"):
        raise Refused(403, "ForbiddenException", "missing authentication token")
    signed, signature = match.groups()[3:]
    if not {"host", "x-amz-date"} <= set(signed.split(";")):
        raise Refused(403, "ForbiddenException", "host and date are not signed")
    digest = hashlib.sha256(body).hexdigest()
    if headers.get("x-amz-content-sha256", digest) != digest:
        raise Refused(403, "ForbiddenException", "the body is not the one that was signed")
    request = AWSRequest(
        method,
        f"http://{headers['host']}{path}",
        headers={name: headers[name] for name in signed.split(";")},
        data=body,
    )
    request.context["timestamp"] = headers["x-amz-date"]
    signer = SigV4Auth(Credentials(KEY, SECRET), "s3tables", REGION)
    expected = signer.signature(signer.string_to_sign(request, signer.canonical_request(request)), request)
    if not hmac.compare_digest(signature, expected):
        raise Refused(403, "ForbiddenException", "the signature does not match")


def check_names(path, body):
    parts = urllib.parse.urlsplit(path).path.split("/")
    # …/namespaces/<namespace>/tables/<table>
    names = [urllib.parse.unquote(name) for name in parts[1::2]]
    if body:
        asked = json.loads(body)
        if parts[-1] in ("namespaces", "tables"):
            names += asked["namespace"] if parts[-1] == "namespaces" else [asked["name"]]
    for name in names:
        if not NAME.fullmatch(name):
            raise Refused(400, "BadRequestException", f"{name!r} is not a name")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def handle_request(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        try:
            check_signature(self.command, self.path, self.headers, body)
            status, answer = self.answer(body)
        except Refused as refused:
            error = {"message": str(refused), "type": refused.kind, "code": refused.status}
            status, answer = refused.status, json.dumps({"error": error}).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_POST = do_DELETE = handle_request

    def answer(self, body):
        url = urllib.parse.urlsplit(self.path)
        if url.path == "/iceberg/v1/config":
            if urllib.parse.parse_qs(url.query).get("warehouse") != [ARN]:
                raise Refused(400, "BadRequestException", "the warehouse is not a table bucket's ARN")
            status, answer = self.forward("/v1/config", b"")
            config = json.loads(answer)
            config.setdefault("overrides", {})["prefix"] = PREFIX
            return status, json.dumps(config).encode()
        below = f"/iceberg/v1/{PREFIX}/"
        if not self.path.startswith(below):
            raise Refused(404, "NotFoundException", "no such path")
        rest = self.path.removeprefix(below)
        check_names(rest, body)
        return self.forward(f"/v1/{rest}", body)

    def forward(self, path, body):
        connection = HTTPConnection(self.server.service)
        connection.request(self.command, path, body or None, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.read()

    def log_message(self, *_):
        """Says nothing of each request."""


def main():
    port, service = sys.argv[1:]
    server = ThreadingHTTPServer(("127.0.0.1", int(port)), Handler)
    server.service = urllib.parse.urlsplit(service).netloc
    server.serve_forever()


if __name__ == "__main__":
    main()
