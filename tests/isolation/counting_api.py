"""A sessions API for the load test: one process, one thread, each ID once; ``GET /count`` tells how many."""

import asyncio
import signal
import socket
import sys


class Connection(asyncio.Protocol):
    created = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.received = b""

    def data_received(self, data: bytes) -> None:
        *requests, self.received = (self.received + data).split(b"\r\n\r\n")
        for request in requests:
            if request.startswith(b"POST /v4/sessions HTTP"):
                Connection.created += 1
                self.answer(b"201 Created", b'{"id": "sesh_%d"}' % Connection.created)
            else:
                self.answer(b"200 OK", b"%d" % Connection.created)

    def answer(self, status: bytes, body: bytes) -> None:
        head = b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        self.transport.write(head % (status, len(body)) + body)


async def main(listener: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    terminated = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, terminated.set)
    server = await loop.create_server(Connection, sock=listener)
    await terminated.wait()
    server.close()


if __name__ == "__main__":
    asyncio.run(main(socket.socket(fileno=int(sys.argv[1]))))
