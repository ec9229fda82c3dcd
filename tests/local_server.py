"""A web server on the loopback interface that can misbehave in every way a mirror can."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Answer = Callable[[BaseHTTPRequestHandler, bytes], None]
finished = threading.Event()  # set when a server closes, so that no answer waits for ever


def headers(request: BaseHTTPRequestHandler, status: int, length: int | None) -> None:
    request.send_response(status)
    if length is not None:
        request.send_header("Content-Length", str(length))
    request.end_headers()


def good(request: BaseHTTPRequestHandler, content: bytes) -> None:
    headers(request, 200, len(content))
    request.wfile.write(content)


def helpful(request: BaseHTTPRequestHandler, content: bytes) -> None:
    request.send_response(200)
    if "gzip" in request.headers.get("Accept-Encoding", ""):
        request.send_header("Content-Encoding", "gzip")  # the client will unpack the file
    request.end_headers()
    request.wfile.write(content)


def forbidden(request: BaseHTTPRequestHandler, content: bytes) -> None:
    request.send_error(403)


def missing(request: BaseHTTPRequestHandler, content: bytes) -> None:
    request.send_error(404)


def web_page(request: BaseHTTPRequestHandler, content: bytes) -> None:
    good(request, b"<!doctype html><p>Please")


def wrong(request: BaseHTTPRequestHandler, content: bytes) -> None:
    good(request, content[:-1] + bytes([content[-1] ^ 1]))


def cut(request: BaseHTTPRequestHandler, content: bytes) -> None:
    headers(request, 200, len(content))
    request.wfile.write(content[: len(content) * 6 // 10])


def cut_silently(request: BaseHTTPRequestHandler, content: bytes) -> None:
    headers(request, 200, None)  # without a length, the end of the line is the end of the file
    request.wfile.write(content[: len(content) * 6 // 10])


def endless(request: BaseHTTPRequestHandler, content: bytes) -> None:
    headers(request, 200, None)
    while not finished.is_set():
        request.wfile.write(bytes(1 << 16))


def stalled(request: BaseHTTPRequestHandler, content: bytes) -> None:
    headers(request, 200, len(content))
    request.wfile.write(content[: len(content) // 2])
    finished.wait()


def closed(request: BaseHTTPRequestHandler, content: bytes) -> None:
    request.close_connection = True


@contextmanager
def serving(
    contents: Mapping[str, bytes],  # by file name
    answers: Mapping[str, Answer],  # by folder: "/first/" answers so to every file
) -> Iterator[tuple[str, list[str]]]:  # the address, and the paths that are asked for
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            folder, _, name = self.path.rpartition("/")
            try:
                if name in contents:
                    answers[folder + "/"](self, contents[name])
                else:
                    missing(self, b"")
            except ConnectionError:
                self.close_connection = True  # the client has had enough

        def log_message(self, *_: object) -> None:
            pass

    finished.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        finished.set()
        server.shutdown()
        server.server_close()
        thread.join()
