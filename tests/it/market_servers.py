"""Servers on loopback that answer as exchanges, ERCOT, mempool.space and clouds document it, with their faults on wish."""
import hashlib
import hmac
import http.server
import json
import socket
import ssl
import subprocess
import threading
import time
import urllib.parse
from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest

CENTRAL = ZoneInfo("America/Chicago")


class Web:
    """routes[path] is a function of the request, giving (status, headers, body), or a list of them used one by one."""

    def __init__(self, context=None):
        self.routes, self.requests, self.lock = {}, [], threading.Lock()
        web = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def answer(self):
                split = urllib.parse.urlsplit(self.path)
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                self.query = dict(urllib.parse.parse_qsl(split.query))
                self.form = dict(urllib.parse.parse_qsl(body.decode()))
                self.body = body
                with web.lock:
                    web.requests.append((time.monotonic(), self.command, self.path, dict(self.headers), body))
                    route = web.routes.get(split.path)
                    if isinstance(route, list):
                        route = route.pop(0) if len(route) > 1 else route[0]
                status, headers, text = route(self) if route else (404, {}, b"{}")
                if text is None:
                    self.close_connection = True  # cut short
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                try:
                    self.send_response(status)
                    for name, value in headers.items():
                        self.send_header(name, value)
                    if "content-length" not in {n.lower() for n in headers}:
                        self.send_header("content-length", str(len(text)))
                    self.end_headers()
                    self.wfile.write(text)
                    if "content-length" in {n.lower() for n in headers}:
                        self.close_connection = True
                except OSError:
                    pass

            do_GET = do_POST = answer

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_):
                pass

        self.server = Server(("127.0.0.1", 0), Handler)
        if context:
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self.thread.start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def count(self, path):
        with self.lock:
            return sum(r[2].split("?")[0] == path for r in self.requests)

    def sent(self, path):
        """Monotonic time, method, path with query, headers, body of each request."""
        with self.lock:
            return [r for r in self.requests if r[2].split("?")[0] == path]

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


def reply(value, status=200, **headers):
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return lambda request: (status, {n.replace("_", "-"): v for n, v in headers.items()}, text)


class Live:
    """A WebSocket server; on_text(message) of each client goes to `heard`, say() to all that are connected."""

    def __init__(self, context=None):
        serve = pytest.importorskip("websockets.sync.server").serve
        self.clients, self.heard, self.paths, self.lock = [], [], [], threading.Lock()
        self.server = serve(self.handle, "127.0.0.1", 0, ssl=context)
        self.port = self.server.socket.getsockname()[1]
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def handle(self, client):
        with self.lock:
            self.clients.append(client)
            self.paths.append(client.request.path)
        try:
            for text in client:
                with self.lock:
                    self.heard.append(json.loads(text))
        except Exception:  # whatever way the client went
            pass
        with self.lock:
            if client in self.clients:
                self.clients.remove(client)

    def say(self, message):
        text = message if isinstance(message, str) else json.dumps(message)
        with self.lock:
            clients = list(self.clients)
        for client in clients:
            try:
                client.send(text)
            except Exception:
                pass
        return len(clients)

    def drop(self):
        with self.lock:
            clients, self.clients = self.clients, []
        for client in clients:
            client.socket.shutdown(socket.SHUT_RDWR)

    def stop(self):
        self.server.shutdown()
        self.drop()


def coinbase_ticker(price, product="BTC-USD", at=None):
    return {"type": "ticker", "sequence": 1, "product_id": product, "price": f"{price:.2f}", "best_bid": f"{price:.2f}",
            "time": (at or datetime.now(timezone.utc)).isoformat().replace("+00:00", "Z"), "trade_id": 7, "last_size": "1"}


def binance_trade(price, symbol="BTCUSDT", unit=1000):
    now = int(time.time() * unit)
    return {"e": "trade", "E": now, "s": symbol, "t": 12345, "p": f"{price:.8f}", "q": "0.1", "T": now, "m": True, "M": True}


class Ercot:
    """Login and the two reports; prices[point] is what the present quarter-hour costs."""

    RT, DAM, TOKEN = "/api/np6-905-cd/spp_node_zone_hub", "/api/np4-190-cd/dam_stlmnt_pnt_prices", "/token"

    def __init__(self, web):
        self.web, self.tokens, self.life, self.pages, self.price, self.day_ahead = web, set(), "3600", 1, 31.5, 42.0
        self.issued = 0
        web.routes.update({self.TOKEN: self.token, self.RT: self.real_time, self.DAM: self.dam})

    def token(self, request):
        f = request.form
        if f.get("username") != "someone@example.com" or f.get("password") != "p%w&=+ ord" or \
                f.get("grant_type") != "password" or f.get("response_type") != "id_token" or not f.get("client_id"):
            return 400, {}, b'{"error":"invalid_grant"}'
        self.issued += 1
        token = f"eyJ.id{self.issued}.sig"
        self.tokens = {token}
        return 200, {}, json.dumps({"access_token": "not-this-one", "id_token": token, "token_type": "Bearer",
                                    "expires_in": self.life}).encode()

    def allowed(self, request):
        return request.headers.get("ocp-apim-subscription-key") == "the-key" and \
            request.headers.get("authorization", "").removeprefix("Bearer ") in self.tokens

    def answer(self, request, fields, rows):
        if not self.allowed(request):
            return 401, {}, b'{"statusCode":401}'
        page = int(request.query["page"])
        size = -(-len(rows) // self.pages)
        meta = {"totalRecords": len(rows), "pageSize": size, "totalPages": self.pages, "currentPage": page}
        return 200, {}, json.dumps({"_meta": meta, "report": {}, "fields": [{"name": n} for n in fields],
                                    "data": rows[(page - 1) * size:page * size], "_links": {}}).encode()

    def real_time(self, request):
        point, rows = request.query["settlementPoint"], []
        now = datetime.now(timezone.utc)
        start = now.replace(minute=now.minute // 15 * 15, second=0, microsecond=0) - timedelta(minutes=15)
        for i in (3, 2, 1, 0):
            at = (start - timedelta(minutes=15 * i)).astimezone(CENTRAL)
            row = [f"{at:%Y-%m-%d}", at.hour + 1, at.minute // 15 + 1, point, "HU", self.price - i, bool(at.fold)]
            rows += [row, row[:4] + ["LZEW", 999.0, bool(at.fold)]]
        return self.answer(request, ["deliveryDate", "deliveryHour", "deliveryInterval", "settlementPoint",
                                     "settlementPointType", "settlementPointPrice", "DSTFlag"], rows)

    def dam(self, request):
        now = datetime.now(timezone.utc).replace(minute=0, second=0, microsecond=0)
        rows = []
        for i in range(-6, 18):
            at = (now + timedelta(hours=i)).astimezone(CENTRAL)
            rows.append([f"{at:%Y-%m-%d}", f"{at.hour + 1:02d}:00", request.query["settlementPoint"], self.day_ahead + i,
                         bool(at.fold)])
        return self.answer(request, ["deliveryDate", "hourEnding", "settlementPoint", "settlementPointPrice", "DSTFlag"],
                           rows)


def aws_signature_ok(request, secret, region):
    """Signature Version 4, written anew from its description."""
    auth = request.headers["authorization"]
    parts = dict(p.strip().split("=", 1) for p in auth.removeprefix("AWS4-HMAC-SHA256 ").split(","))
    day = request.headers["x-amz-date"][:8]
    scope = f"{day}/{region}/ec2/aws4_request"
    if parts["Credential"].split("/", 1)[1] != scope:
        return False
    canonical = "\n".join([request.command, "/", ""] +
                          [f"{n}:{request.headers[n]}" for n in parts["SignedHeaders"].split(";")] +
                          ["", parts["SignedHeaders"], hashlib.sha256(request.body).hexdigest()])
    to_sign = "\n".join(["AWS4-HMAC-SHA256", request.headers["x-amz-date"], scope,
                         hashlib.sha256(canonical.encode()).hexdigest()])
    key = ("AWS4" + secret).encode()
    for part in (day, region, "ec2", "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest() == parts["Signature"]


def spot_history(rows, token=""):
    items = "".join(f"<item><instanceType>{t}</instanceType><productDescription>{p}</productDescription><spotPrice>{v}"
                    f"</spotPrice><timestamp>2026-01-01T00:00:00.000Z</timestamp><availabilityZone>{z}</availabilityZone></item>"
                    for t, p, v, z in rows)
    return (f'<?xml version="1.0" encoding="UTF-8"?>\n<DescribeSpotPriceHistoryResponse xmlns="http://ec2.amazonaws.com/doc/'
            f'2016-11-15/">\n<requestId>59dbff89</requestId><spotPriceHistorySet>{items}</spotPriceHistorySet>'
            f"<nextToken>{token}</nextToken></DescribeSpotPriceHistoryResponse>").encode()


def azure_item(price, sku="ND96isr H100 v5 Spot", product="Virtual Machines NDsr H100 v5 Series", **other):
    return {"currencyCode": "USD", "retailPrice": price, "armRegionName": "eastus", "meterName": sku, "productName": product,
            "skuName": sku, "serviceName": "Virtual Machines", "unitOfMeasure": "1 Hour", "type": "Consumption",
            "armSkuName": "Standard_ND96isr_H100_v5", **other}


def certificates(folder):
    """A CA and a certificate for localhost: (path of the CA's, server's context)."""
    run = lambda *a: subprocess.run(["openssl", *map(str, a)], check=True, capture_output=True)
    ca, key, req, cert = (folder / n for n in ("ca.pem", "key.pem", "req.pem", "cert.pem"))
    run("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=test ca",
        "-keyout", folder / "ca.key", "-out", ca)
    run("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=localhost", "-keyout", key,
        "-out", req)
    (folder / "ext").write_text("subjectAltName=DNS:localhost\n")
    run("x509", "-req", "-in", req, "-CA", ca, "-CAkey", folder / "ca.key", "-CAcreateserial", "-days", "2", "-extfile",
        folder / "ext", "-out", cert)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    return ca, context
