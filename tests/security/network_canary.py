"""Run Python code where no other host answers, and note in a file what reaches for one: network_canary.py NOTES CODE."""

import socket
import sys

HERE = {None, '', 'localhost', '127.0.0.1', '::1', '0.0.0.0', '::', socket.gethostname()}


def guard(notes: str, owner, name: str, host_of) -> None:
    real = getattr(owner, name)

    def call(*args, **kwargs):
        host = host_of(args)
        if host not in HERE:
            with open(notes, 'a') as file:
                file.write(f'{name} {host}\n')
            raise OSError(f'no network here: {name} {host}')
        return real(*args, **kwargs)

    setattr(owner, name, call)


def main(notes: str, code: str) -> None:
    for function in ('getaddrinfo', 'gethostbyname', 'gethostbyname_ex'):
        guard(notes, socket, function, lambda args: args[0])
    for method in ('connect', 'connect_ex'):
        guard(notes, socket.socket, method, lambda args: args[1][0] if isinstance(args[1], tuple) else None)
    sys.argv = ['canary']
    exec(compile(code, 'code', 'exec'), {'__name__': '__main__'})  # noqa: S102


if __name__ == '__main__':
    main(*sys.argv[1:3])
