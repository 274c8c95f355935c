"""A bucket on this machine: Cloud Storage's JSON API as far as it is used.

TensorFlow, TensorStore and google-cloud-storage talk to it over HTTP as to the
real one. TensorFlow knows no other address than Google's, so that the server is
its proxy too, with certificates of its own.
"""

import contextlib
import http.server
import itertools
import json
import os
import ssl
import threading
import time
import urllib.parse

import trustme

_HOSTS = ('www.googleapis.com', 'storage.googleapis.com')
_PAGE = 50  # Names a listing gives at a time; the real one's limit is 1000.


class Cloud:
  """Objects by bucket and name, and what was asked for.

  Attributes:
    objects: {(bucket, name): (content, generation, seconds since 1970)}.
    requests: 'METHOD PATH' of each request, in order.
    refused: Methods that are answered with 403, such as {'POST'}.
  """

  def __init__(self, *buckets):
    """Starts with empty buckets."""
    self.buckets = buckets
    self.objects = {}
    self.requests = []
    self.refused = set()
    self.uploads = {}  # Unfinished ones by number.
    self.generations = itertools.count(1)
    self.lock = threading.Lock()

  def names(self, prefix=''):
    """Returns 'BUCKET/NAME' of the objects that start so, sorted."""
    with self.lock:
      return sorted(path for path in map('/'.join, self.objects)
                    if path.startswith(prefix))

  def put(self, bucket, name, content, query):
    """Stores an object if its generation is the wanted one; its resource."""
    with self.lock:
      _, generation, _ = self.objects.get((bucket, name), (b'', 0, 0))
      if int(query.get('ifGenerationMatch', generation)) != generation:
        return None
      self.objects[bucket, name] = (
          content, next(self.generations), time.time())
      return self.resource(bucket, name)

  def resource(self, bucket, name):
    """Returns what the API tells about an object."""
    content, generation, updated = self.objects[bucket, name]
    return {'kind': 'storage#object', 'bucket': bucket, 'name': name,
            'size': str(len(content)), 'generation': str(generation),
            'metageneration': '1', 'storageClass': 'STANDARD',
            'updated': time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(updated))
                       + f'.{int(updated % 1 * 1000):03}Z'}

  def listing(self, bucket, query):
    """Returns a page of the names below a prefix."""
    prefix, delimiter = query.get('prefix', ''), query.get('delimiter')
    with self.lock:
      names = sorted(name for place, name in self.objects
                     if place == bucket and name.startswith(prefix))
      found = {}  # Name or prefix -> whether it is a prefix.
      for name in names:
        head, mark, _ = name[len(prefix):].partition(delimiter or '\0')
        found[prefix + head + mark if mark else name] = bool(mark)
      entries = [entry for entry in found.items()
                 if entry[0] > query.get('pageToken', '')]
      size = min(_PAGE, int(query.get('maxResults', _PAGE)))
      page = entries[:size]
      answer = {
          'items': [self.resource(bucket, name) for name, is_prefix in page
                    if not is_prefix],
          'prefixes': [name for name, is_prefix in page if is_prefix]}
    if len(entries) > size:
      answer['nextPageToken'] = page[-1][0]
    return answer


class _Handler(http.server.BaseHTTPRequestHandler):
  """Answers requests, those within a proxy's tunnel included."""
  protocol_version = 'HTTP/1.1'

  def log_message(self, *args):
    """Keeps the tests' output quiet."""

  def do_CONNECT(self):
    self.send_response(200)
    self.end_headers()
    outside = self.rfile, self.wfile
    with (self.server.tls.wrap_socket(
        self.connection, server_side=True) as connection,
          connection.makefile('rb') as self.rfile,
          connection.makefile('wb', buffering=0) as self.wfile):
      self.close_connection = False
      while not self.close_connection:
        self.handle_one_request()
    self.rfile, self.wfile = outside

  def do_GET(self):
    self._answer()

  do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815

  def _answer(self):
    cloud = self.server.cloud
    url = urllib.parse.urlsplit(self.path)
    query = dict(urllib.parse.parse_qsl(url.query))
    body = self._body()
    cloud.requests.append(f'{self.command} {self.path}')
    if self.command in cloud.refused:
      self._send(403, {'error': {'code': 403, 'message': 'not allowed'}})
      return
    parts = [urllib.parse.unquote(part) for part in url.path.split('/')[1:]]
    if parts[:3] == ['upload', 'storage', 'v1']:
      self._upload(parts[4], query, body)
    elif parts[:2] != ['storage', 'v1']:  # storage.googleapis.com/BUCKET/NAME
      self._download(parts[0], '/'.join(parts[1:]), query)
    elif parts[3] not in cloud.buckets:
      self._send(404, {'error': {'code': 404, 'message': 'no such bucket'}})
    elif len(parts) == 4:
      self._send(200, {'kind': 'storage#bucket', 'name': parts[3]})
    elif len(parts) == 5:
      self._send(200, cloud.listing(parts[3], query))
    elif 'rewriteTo' in parts:
      self._rewrite(parts, query)
    else:
      self._object(parts[3], '/'.join(parts[5:]), query)

  def _body(self):
    if self.headers.get('Transfer-Encoding') != 'chunked':
      return self.rfile.read(int(self.headers.get('Content-Length') or 0))
    chunks = []
    while size := int(self.rfile.readline(), 16):
      chunks.append(self.rfile.read(size))
      self.rfile.readline()
    self.rfile.readline()
    return b''.join(chunks)

  def _object(self, bucket, name, query):
    cloud = self.server.cloud
    if query.get('alt') == 'media':
      self._download(bucket, name, query)
      return
    with cloud.lock:
      found = (bucket, name) in cloud.objects
      resource = cloud.resource(bucket, name) if found else None
      if found and self.command == 'DELETE':
        del cloud.objects[bucket, name]
    if not found:
      self._send(404, {'error': {'code': 404, 'message': 'no such object'}})
    elif self.command == 'DELETE':
      self._send(204)
    else:
      self._send(200, resource)

  def _rewrite(self, parts, query):
    cloud, middle = self.server.cloud, parts.index('rewriteTo')
    source = parts[3], '/'.join(parts[5:middle])
    if source not in cloud.objects:
      self._send(404, {'error': {'code': 404, 'message': 'no such object'}})
      return
    cloud.put(parts[middle + 2], '/'.join(parts[middle + 4:]),
              cloud.objects[source][0], query)
    self._send(200, {'kind': 'storage#rewriteResponse', 'done': True})

  def _upload(self, bucket, query, body):
    cloud = self.server.cloud
    if query.get('uploadType') == 'resumable' and 'upload_id' not in query:
      number = str(next(cloud.generations))
      cloud.uploads[number] = bytearray()
      host = f'https://{_HOSTS[0]}{self.path}&upload_id={number}'
      self._send(200, headers={'Location': host})
      return
    if 'upload_id' in query:
      received = cloud.uploads[query['upload_id']]
      received += body
      total = self.headers.get('Content-Range', '').rpartition('/')[2]
      if total.isdigit() and len(received) < int(total):
        self._send(308, headers={'Range': f'bytes=0-{len(received) - 1}'})
        return
      body = bytes(cloud.uploads.pop(query['upload_id']))
    resource = cloud.put(bucket, query['name'], body, query)
    if resource is None:
      self._send(412, {'error': {'code': 412, 'message': 'precondition'}})
    else:
      self._send(200, resource)

  def _download(self, bucket, name, query):
    content, generation, _ = self.server.cloud.objects.get(
        (bucket, name), (None, 0, 0))
    if content is None:
      self._send(404, {'error': {'code': 404, 'message': 'no such object'}})
      return
    if query.get('ifGenerationNotMatch') == str(generation):
      self._send(304)
      return
    status, headers = 200, {'x-goog-generation': str(generation)}
    wanted = self.headers.get('Range')
    if wanted:
      first, _, last = wanted.removeprefix('bytes=').partition('-')
      first, last = int(first), int(last or len(content) - 1)
      if first >= len(content):
        self._send(416)
        return
      last, total = min(last, len(content) - 1), len(content)
      headers['Content-Range'] = f'bytes {first}-{last}/{total}'
      status, content = 206, content[first:last + 1]
    self._send(status, content, headers)

  def _send(self, status, content=b'', headers=()):
    if isinstance(content, dict):
      content = json.dumps(content).encode()
    self.send_response(status)
    for key, value in dict(headers).items():
      self.send_header(key, value)
    self.send_header('Content-Length', str(len(content)))
    self.end_headers()
    self.wfile.write(content)


@contextlib.contextmanager
def serve(folder, *buckets):
  """Yields a Cloud and the variables that lead a process's clients to it.

  Args:
    folder: Place for the certificates.
    *buckets: Their names.
  """
  authority = trustme.CA()
  certificates = str(folder / 'certificates.pem')
  authority.cert_pem.write_to_path(certificates)
  tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
  authority.issue_cert(*_HOSTS).configure_cert(tls)
  with http.server.ThreadingHTTPServer(('127.0.0.1', 0), _Handler) as server:
    server.daemon_threads = True
    server.cloud, server.tls = Cloud(*buckets), tls
    address = f'http://127.0.0.1:{server.server_port}'
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.cloud, {
        'HTTPS_PROXY': address, 'CURL_CA_BUNDLE': certificates,  # TensorFlow
        'GOOGLE_AUTH_TOKEN_FOR_TESTING': 'token', 'NO_GCE_CHECK': 'true',
        'TENSORSTORE_GCS_HTTP_URL': address,
        'STORAGE_EMULATOR_HOST': address}  # google-cloud-storage
    server.shutdown()


@contextlib.contextmanager
def variables(changes):
  """Sets environment variables for the length of the block."""
  before = {name: os.environ.get(name) for name in changes}
  os.environ.update(changes)
  try:
    yield
  finally:
    for name, value in before.items():
      if value is None:
        del os.environ[name]
      else:
        os.environ[name] = value
