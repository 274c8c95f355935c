"""Access control of the page's server: only the person with the link gets in.

Other sites can make a browser send requests to this machine, and can make one
of their host names point to it (DNS rebinding). Each request must therefore
name this server as its Host, come from this server's own page if it has an
Origin, and carry a secret. The link contains the secret, and the answer to the
link stores it as a cookie that scripts cannot read and other sites cannot send.
The cookie's name contains the port, because browsers share cookies between
ports.
"""

import hmac
import ipaddress
import os
import pathlib
import re
import secrets
import socket

from starlette import datastructures
from starlette import requests
from starlette import responses

MAX_BODY = 4 * 2**20  # Bytes; room for 200,000 points.
_TOKEN = 'token'  # Query parameter of the link, and file in the cache.
_HEADERS = {
    'Content-Security-Policy': (
        "default-src 'self'; object-src 'none'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'"),
    'X-Content-Type-Options': 'nosniff',
    'X-Frame-Options': 'DENY',
    'Referrer-Policy': 'no-referrer',
    'Cross-Origin-Opener-Policy': 'same-origin',
    'Cross-Origin-Resource-Policy': 'same-origin',
    'Cache-Control': 'no-store',
}
_NO_COOKIE = 'Open the link that the program printed: it lets this browser in.'
_OTHER_SITE = 'Pages of other sites may not ask this server.'
_WELCOME = ('<!doctype html><meta http-equiv="refresh" content="0;url=/">'
            '<title>scribble_jax</title>')


def read_token(folder):
  """Returns the secret of a workdir; the first call creates it.

  The secret is kept in a file, so that an open page stays valid when its server
  is restarted.

  Args:
    folder: Folder for the file; it belongs to this user.
  """
  path = pathlib.Path(folder) / _TOKEN
  try:
    token = path.read_text()
  except FileNotFoundError:
    token = ''
  if not re.fullmatch('[A-Za-z0-9_-]{43}', token):
    path.unlink(missing_ok=True)
    token = secrets.token_urlsafe(32)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600),
              'w') as file:
      file.write(token)
  return token


class AccessControl:
  """ASGI middleware that lets only requests of the page itself pass."""

  def __init__(self, app, address, port, token):
    """Wraps an app.

    Args:
      app: ASGI app.
      address: Address that the server listens at.
      port: Port that the server listens at.
      token: The secret.
    """
    self._app, self._token = app, token
    self._address, self._port = address, port
    self._cookie = f'scribble_jax_{port}'

  async def __call__(self, scope, receive, send):
    """Passes a request on, or answers why it is refused."""
    if scope['type'] != 'http':
      return  # There are no WebSockets.
    request = requests.Request(scope)
    if refusal := self._refusal(request):
      answer = responses.PlainTextResponse(refusal, 403)
    elif scope['path'] == '/' and self._matches(
        request.query_params.get(_TOKEN, '')):
      answer = responses.HTMLResponse(_WELCOME)
      answer.set_cookie(self._cookie, self._token, max_age=365 * 86400,
                        httponly=True, samesite='strict')
    elif not self._matches(request.cookies.get(self._cookie, '')):
      answer = responses.PlainTextResponse(_NO_COOKIE, 403)
    else:
      answer = self._app
    await answer(scope, receive, _with_headers(send))

  def _refusal(self, request):
    """Returns why a request does not come from this server's page, or None."""
    headers = request.headers
    hosts, origins = headers.getlist('host'), headers.getlist('origin')
    if len(hosts) != 1 or not self._is_own(hosts[0]):
      return 'This server does not answer to that name. Use the printed link.'
    if any(origin != f'http://{hosts[0]}' for origin in origins) or (
        headers.get('sec-fetch-site', 'none') not in ('same-origin', 'none')):
      return _OTHER_SITE
    if request.method not in ('GET', 'HEAD') and not origins:
      return 'A change must come from the page.'
    length = headers.get('content-length', '0')
    if not length.isdecimal() or int(length) > MAX_BODY:
      return f'A request may have at most {MAX_BODY} bytes.'
    return None

  def _is_own(self, host):
    """Whether a Host header names this server."""
    name, colon, port = host.rpartition(':')
    if not colon:
      name, port = host, '80'
    if port != str(self._port):
      return False
    name = name.lower().strip('[]')
    if name in ('localhost', '127.0.0.1', '::1', self._address.lower()):
      return True
    # Other sites cannot rebind numeric addresses; of all host names only this
    # machine's own is accepted.
    return self._address in ('0.0.0.0', '::') and (
        _is_number(name) or name == socket.gethostname().lower())

  def _matches(self, text):
    return hmac.compare_digest(text.encode(), self._token.encode())


def is_loopback(address):
  """Whether an address can be reached from this machine alone."""
  return address == 'localhost' or (
      _is_number(address) and ipaddress.ip_address(address).is_loopback)


def _is_number(name):
  try:
    ipaddress.ip_address(name)
  except ValueError:
    return False
  return True


def _with_headers(send):
  """Returns a `send` that adds _HEADERS to each answer."""
  async def send_with_headers(message):
    if message['type'] == 'http.response.start':
      headers = datastructures.MutableHeaders(scope=message)
      for name, value in _HEADERS.items():
        headers.setdefault(name, value)
    await send(message)
  return send_with_headers
