"""Creates a container: container.py URL NAME, with the account and key that Azurite has."""

import base64
import datetime
import hashlib
import hmac
import sys
import urllib.request

ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
VERSION = "2021-08-06"

service, container = sys.argv[1:]
date = datetime.datetime.now(datetime.timezone.utc).strftime("%a, %d %b %Y %H:%M:%S GMT")
# https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key
resource = f"/{ACCOUNT}/{ACCOUNT}/{container}\nrestype:container"
signed = "PUT" + "\n" * 12 + f"x-ms-date:{date}\nx-ms-version:{VERSION}\n{resource}"
signature = base64.b64encode(hmac.new(base64.b64decode(KEY), signed.encode(), hashlib.sha256).digest()).decode()
request = urllib.request.Request(f"{service}/{container}?restype=container", method="PUT")
request.add_header("x-ms-date", date)
request.add_header("x-ms-version", VERSION)
request.add_header("Content-Length", "0")
request.add_header("Authorization", f"SharedKey {ACCOUNT}:{signature}")
urllib.request.urlopen(request)
