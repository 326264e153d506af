"""The server's admin API as a stand-in answers it: for what a real server would not do at a word."""

import json
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Service:
    """Notes what it is asked. `status` other than 200 is answered to everything."""

    def __init__(self, credential):
        self.credential, self.status = credential, 200
        self.policies, self.asked = {}, []
        self.tokens, self.revoked, self.collections = {}, [], 0
        # How old a new token claims to be, and how long it is good.
        self.age, self.left = 0, None
        self.lock = threading.Lock()
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self):
                length = int(self.headers.get("content-length") or 0)
                body = json.loads(self.rfile.read(length) or "null")
                with service.lock:
                    code, said = service.answer(self.headers.get("authorization"), self.command, self.path, body)
                text = b"" if said is None else json.dumps(said).encode()
                self.send_response(code)
                self.send_header("content-length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_PUT = do_POST = do_DELETE = answer

            def log_message(self, *arguments):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def end(self):
        self.http.shutdown()
        self.http.server_close()

    def answer(self, authorization, method, path, body):
        self.asked.append((method, path))
        if self.status != 200:
            return self.status, {"code": "unavailable", "message": "told to be"}
        if authorization != f"Bearer {self.credential}":
            return 401, {"code": "unauthorized", "message": "another credential"}
        if match := re.fullmatch(r"/admin/v1/trees/([^/]+/[^/]+)(/policy)?", path):
            return self.tree(method, match[1], bool(match[2]), body)
        if (method, path) == ("POST", "/admin/v1/tokens"):
            return 200, self.mint(body)
        if (method, path) == ("POST", "/admin/v1/tokens/revoke"):
            self.revoked.append(body["id"])
            return 204, None
        if (method, path) == ("POST", "/admin/v1/gc"):
            self.collections += 1
            return 202, None
        return 404, None

    def tree(self, method, tree, is_policy, body):
        if (method, is_policy) == ("GET", False):
            # Every look finds other numbers, as in a tree that somebody works in.
            seq = len(self.asked)
            head = {"epoch": 5, "seq": seq, "ref": f"{seq:064x}"}
            status = {"head": head, "changed_ms": 1767225600000 + seq, "bytes": 1000 + seq, "objects": seq, "agents": 2}
            policy = {"policy": self.policies[tree]} if tree in self.policies else {}
            return 200, {**status, **policy}
        if (method, is_policy) == ("PUT", True):
            self.policies[tree] = body
            return 204, None
        if (method, is_policy) == ("DELETE", True):
            self.policies.pop(tree, None)
            return 204, None
        return 405, None

    def mint(self, order):
        name = f"token-{len(self.tokens) + 1}"
        self.tokens[name] = order
        now = int(time.time()) - self.age
        left = order["ttl_seconds"] if self.left is None else self.left
        return {"token": f"text.of.{name}", "id": name, "issued_ms": now * 1000, "expires_ms": (now + left) * 1000}
