"""Our gRPC and WebSocket against other implementations: grpcio and websockets, each skipped where it is absent.

The program of our side is net_peer of the build; HCP_BUILD names the build directory (default: <root>/build).
"""
import asyncio
import os
import pathlib
import subprocess
from concurrent import futures

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PEER = pathlib.Path(os.environ.get("HCP_BUILD", ROOT / "build")) / "tests/unit/http/net_peer"


@pytest.fixture(scope="module")
def port():
    if not PEER.exists():
        pytest.skip(f"{PEER} is not built")
    p = subprocess.Popen([PEER, "serve"], stdout=subprocess.PIPE, text=True)
    yield int(p.stdout.readline())
    p.terminate()
    assert p.wait(timeout=10) == 0


def test_grpcio_unary(port):
    grpc = pytest.importorskip("grpc")
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        echo = channel.unary_unary("/t.T/Echo")
        assert echo(b"hello", timeout=5) == b"hello"
        assert echo(b"", timeout=5) == b""
        assert echo(b"x", timeout=5, metadata=(("x-say", "metadata"),)) == b"metadata"
        big = os.urandom(3 << 20)
        assert echo(big, timeout=10) == big
        results = [echo.future(str(i).encode(), timeout=10) for i in range(500)]
        assert [r.result() for r in results] == [str(i).encode() for i in range(500)]
        with pytest.raises(grpc.RpcError) as e:
            channel.unary_unary("/t.T/Fail")(b"", timeout=5)
        assert e.value.code() == grpc.StatusCode.FAILED_PRECONDITION
        assert e.value.details() == "not now: 50%"
        with pytest.raises(grpc.RpcError) as e:
            channel.unary_unary("/t.T/None")(b"", timeout=5)
        assert e.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_grpcio_bidi(port):
    grpc = pytest.importorskip("grpc")
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        chat = channel.stream_stream("/t.T/Chat")
        sent = [bytes([i % 256]) * (i * 37 % 60000) for i in range(300)]
        assert list(chat(iter(sent), timeout=20)) == sent


def test_our_client_calls_grpcio():
    grpc = pytest.importorskip("grpc")
    if not PEER.exists():
        pytest.skip(f"{PEER} is not built")

    class Handler(grpc.GenericRpcHandler):
        def service(self, details):
            said = dict(details.invocation_metadata).get("x-say")

            def answer(request, context):
                if request == b"fail":
                    context.abort(grpc.StatusCode.NOT_FOUND, "no ü here")
                return request + b" " + said.encode()

            return grpc.unary_unary_rpc_method_handler(answer)

    server = grpc.server(futures.ThreadPoolExecutor(2), handlers=(Handler(),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        def ask(text):
            return subprocess.run([PEER, "call", str(port), text], capture_output=True, text=True, timeout=20).stdout
        assert ask("hello") == "0 hello metadata\n"
        assert ask("fail") == "5 no ü here\n"
    finally:
        server.stop(None)


def test_websockets_client(port):
    websockets = pytest.importorskip("websockets")

    async def talk():
        async with websockets.connect(f"ws://127.0.0.1:{port}/x", compression=None, max_size=None) as ws:
            for message in ["text ü", b"\x00\x01", "", "a" * 70000, b"b" * 1000000]:
                await ws.send(message)
                assert await asyncio.wait_for(ws.recv(), 10) == message
            await asyncio.wait_for(await ws.ping(), 10)
            await ws.send(["frag", "men", "ted"])
            assert await asyncio.wait_for(ws.recv(), 10) == "fragmented"

    asyncio.run(talk())
