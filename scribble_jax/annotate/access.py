"""Who may talk to the page's server: the person who has its link, nobody else.

Web pages of others can make a browser send requests to this machine, and can
let a name of theirs point to it (DNS rebinding). So each request must name this
server as its Host, come from this server's own page if it tells its Origin, and
carry a secret: the link has it, and the answer to the link makes it a cookie
that scripts cannot read and other sites cannot send. The cookie is named after
the port, because browsers share cookies between ports.
"""

import hmac
import ipaddress
import os
import pathlib
import re
import secrets
import socket

from starlette import datastructures
from starlette import responses

MAX_BODY = 4 * 2**20  # Bytes. Strokes have 200,000 points at most.
_TOKEN = 'token'  # Key of the link, and file in the cache.
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
_WELCOME = ('<!doctype html><meta http-equiv="refresh" content="0;url=/">'
            '<title>scribble_jax</title>')


def read_token(folder):
  """Returns the secret of a folder of strokes, made once.

  A page that is open stays valid when its server is started again.

  Args:
    folder: Path of a folder of this user.
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
  """ASGI middleware that lets only the page's own requests pass."""

  def __init__(self, app, address, port, token):
    """Guards an app.

    Args:
      app: ASGI app.
      address: That the server listens at.
      port: Likewise.
      token: The secret.
    """
    self._app, self._token = app, token
    self._address, self._port = address, port
    self._cookie = f'scribble_jax_{port}'

  async def __call__(self, scope, receive, send):
    """Passes a request on, or answers why not."""
    if scope['type'] == 'lifespan':
      await self._app(scope, receive, send)
      return
    if scope['type'] != 'http':
      return  # No WebSockets.
    headers = datastructures.Headers(scope=scope)
    query = datastructures.QueryParams(scope['query_string'])
    refusal = self._refusal(scope['method'], headers)
    if refusal is None and scope['path'] == '/' and self._matches(
        query.get(_TOKEN, '')):
      await self._welcome()(scope, receive, _with_headers(send))
      return
    refusal = refusal or self._missing_cookie(headers)
    if refusal:
      await responses.PlainTextResponse(refusal, 403)(
          scope, receive, _with_headers(send))
      return
    await self._app(scope, receive, _with_headers(send))

  def _refusal(self, method, headers):
    """Returns why a request is not of this server's page, or None."""
    hosts = headers.getlist('host')
    if len(hosts) != 1 or not self._is_own(hosts[0]):
      return 'This server does not answer to that name. Use the printed link.'
    origins = headers.getlist('origin')
    if any(origin != f'http://{hosts[0]}' for origin in origins):
      return 'Pages of other sites may not ask this server.'
    if headers.get('sec-fetch-site', 'none') not in ('same-origin', 'none'):
      return 'Pages of other sites may not ask this server.'
    if method not in ('GET', 'HEAD') and not origins:
      return 'A change must come from the page.'
    length = headers.get('content-length', '0')
    if not length.isdecimal() or int(length) > MAX_BODY:
      return f'A request may have {MAX_BODY} bytes.'
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
    if self._address not in ('0.0.0.0', '::'):
      return False
    # Numbers cannot be rebound; of names only this machine's own counts.
    return _is_number(name) or name == socket.gethostname().lower()

  def _missing_cookie(self, headers):
    """Returns why a request lacks the secret, or None."""
    sent = [part.strip().partition('=')
            for part in headers.get('cookie', '').split(';')]
    if any(name == self._cookie and self._matches(value)
           for name, _, value in sent):
      return None
    return 'Open the link that the program printed: it lets this browser in.'

  def _matches(self, text):
    return hmac.compare_digest(text.encode(), self._token.encode())

  def _welcome(self):
    """Returns the answer to the link, which makes the secret a cookie."""
    response = responses.HTMLResponse(_WELCOME)
    response.set_cookie(self._cookie, self._token, max_age=365 * 86400,
                        httponly=True, samesite='strict')
    return response


def is_loopback(address):
  """Whether an address is reached from this machine alone."""
  return address == 'localhost' or (
      _is_number(address) and ipaddress.ip_address(address).is_loopback)


def _is_number(name):
  try:
    ipaddress.ip_address(name)
  except ValueError:
    return False
  return True


def _with_headers(send):
  """Returns `send` that adds the headers that all answers have."""
  async def send_with_headers(message):
    if message['type'] == 'http.response.start':
      headers = datastructures.MutableHeaders(scope=message)
      for name, value in _HEADERS.items():
        headers.setdefault(name, value)
    await send(message)
  return send_with_headers
