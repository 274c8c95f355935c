"""The page's server: what a request asks for, and what it gets.

Requests name pictures by id (`?id=`), which is looked up among those found.
Answers are JSON, pictures, or the bytes of a mask.
"""

import asyncio
import itertools
import json
import pathlib

from starlette import applications
from starlette import concurrency
from starlette import requests
from starlette import responses
from starlette import routing
from starlette import staticfiles

from scribble_jax.annotate import access
from scribble_jax.annotate import layout
from scribble_jax.annotate import store as stores
from scribble_jax.annotate import suggestion_worker
from scribble_jax.annotate import vector_strokes
from scribble_jax.annotate import zip_export
from scribble_jax.annotate.photographs import UnreadableError
from scribble_jax.errors import UserError
from scribble_jax.files import formats

PAGE = pathlib.Path(__file__).parent / 'page'
_TYPES = {'.js': 'text/javascript', '.css': 'text/css', '.svg': 'image/svg+xml'}


class Refusal(Exception):  # noqa: N818, it is an answer.
  """A request cannot be served.

  Attributes:
    status: Of HTTP.
  """

  def __init__(self, text, status=400):
    super().__init__(text)
    self.status = status


class Server:
  """Answers the page's requests."""

  def __init__(self, store, photographs, suggester, jobs):
    """Takes what the answers come from.

    Args:
      store: `store.Store`.
      photographs: `photographs.Photographs`.
      suggester: `suggestion_worker.Suggester`.
      jobs: `training_jobs.Jobs`.
    """
    self._store, self._photographs = store, photographs
    self._suggester, self._jobs = suggester, jobs
    names = [*photographs.paths]
    self._following = dict(itertools.pairwise(names))

  def make_app(self, address, port, token):
    """Returns the guarded ASGI app; see `access.AccessControl`."""
    get, put, post = ['GET'], ['PUT'], ['POST']
    routes = [
        routing.Route(path, _answer(function), methods=methods)
        for path, function, methods in (
            ('/', self.page, get), ('/favicon.ico', self.icon, get),
            ('/api/project', self.project, get),
            ('/api/picture', self.picture, get),
            ('/api/strokes', self.strokes, put),
            ('/api/mask', self.mask, post), ('/api/next', self.next, get),
            ('/api/classes', self.classes, post),
            ('/api/job', self.job, get), ('/api/job', self.change_job, post),
            ('/photograph', self.photograph, get),
            ('/thumbnail', self.thumbnail, get),
            ('/imported', self.imported, get),
            ('/export', self.export, get))]
    routes.append(routing.Mount('/page', _PageFiles(directory=PAGE)))
    return access.AccessControl(
        applications.Starlette(routes=routes), address, port, token)

  async def page(self, request):
    """The page itself."""
    del request
    return responses.FileResponse(PAGE / 'index.html')

  async def icon(self, request):
    """What browsers ask for by themselves."""
    del request
    return responses.FileResponse(PAGE / 'logo.svg')

  async def project(self, request):
    """All pictures and classes."""
    del request
    listed, predicted = await _in_thread(
        lambda: (self._store.listed, self._store.predicted()))
    return _json({
        'title': self._photographs.folder.name,
        'folder': str(self._store.files.folder),
        'pictures': [
            [name, (name in listed) + 2 * (name in predicted)]
            for name in self._photographs.paths],
        'palette': self._store.palette.to_json()['classes'],
        'worker': self._suggester.status(),
        'limits': {'strokes': vector_strokes.MAX_STROKES,
                   'points': vector_strokes.MAX_POINTS,
                   'width': vector_strokes.MAX_WIDTH}})

  async def picture(self, request):
    """Size and strokes of a picture, or why it can't be shown."""
    name = self._name(request)
    try:
      height, width = await _in_thread(self._photographs.size, name)
    except UnreadableError as error:
      return _json({'error': str(error)})
    self._suggester.open(name)
    self._suggester.learner.ahead = self._following.get(name)
    return _json({'width': width, 'height': height,
                  'document': self._store.read(name).to_json()})

  async def strokes(self, request):
    """Saves the strokes of a picture; tells if another page has changed it."""
    name = self._name(request)
    try:
      size = await _in_thread(self._photographs.size, name)
      document = await _in_thread(
          vector_strokes.parse, await _body(request), size)
      version = await _in_thread(self._store.write, name, document)
      self._suggester.learner.forget(name)
    except stores.ConflictError as conflict:
      return _json({'conflict': conflict.document.to_json()})
    except ValueError as error:
      raise Refusal(f'The drawing {error}.') from error
    return _json({'version': version})

  async def mask(self, request):
    """The mask of a picture: three planes of bytes, one after another."""
    try:
      answer = await asyncio.wrap_future(
          self._suggester.ask(self._name(request)))
    except suggestion_worker.NoMaskError as error:
      return _json({'reason': str(error),
                    'worker': self._suggester.status()})
    height, width = answer.mask.labels.shape
    return responses.Response(
        b''.join(plane.tobytes() for plane in answer.mask),
        media_type='application/octet-stream', headers={
            'X-Width': str(width), 'X-Height': str(height),
            'X-Version': str(answer.version),
            'X-Prediction': str(int(answer.is_prediction))})

  async def next(self, request):
    """The picture without strokes that the classifier is least sure of."""
    del request
    return _json({'id': await _in_thread(self._suggester.learner.least_sure),
                  'worker': self._suggester.status()})

  async def classes(self, request):
    """Adds, renames, recolours or deletes a class, or counts its strokes."""
    change = await _body(request)
    if not isinstance(change, dict):
      raise Refusal('The change is no JSON object.')
    kind, label = change.get('change'), change.get('id')
    if kind == 'count':
      strokes, pictures = await _in_thread(self._store.count_strokes, label)
      return _json({'strokes': strokes, 'pictures': pictures})
    if kind == 'add':
      edit = lambda palette: palette.added(change.get('name'))
    elif kind == 'edit':
      edit = lambda palette: palette.changed(
          label, change.get('name'), change.get('colour'))
    elif kind == 'delete':
      edit = lambda palette: palette.without(label)
    else:
      raise Refusal('The change is none of count, add, edit and delete.')
    try:
      await _in_thread(self._store.change_palette, edit)
    finally:
      if kind == 'delete':
        self._suggester.learner.forget_all()
    return _json({'palette': self._store.palette.to_json()['classes']})

  async def job(self, request):
    """What the training does."""
    del request
    status = await _in_thread(self._jobs.status)
    self._suggester.learner.paused = status['running']
    return _json(status)

  async def change_job(self, request):
    """Starts or stops a training."""
    change = await _body(request)
    kind = change.get('change') if isinstance(change, dict) else None
    if kind == 'stop':
      await _in_thread(self._jobs.stop)
    elif kind in ('start', 'resume'):
      self._suggester.learner.paused = True
      await _in_thread(self._jobs.start, change.get('steps', 0),
                       kind == 'resume')
    else:
      raise Refusal('The change is none of start, resume and stop.')
    return _json(await _in_thread(self._jobs.status))

  async def photograph(self, request):
    """A picture as browsers show it."""
    content, kind = await _in_thread(
        self._photographs.shown, self._name(request))
    return responses.Response(content, media_type=kind)

  async def thumbnail(self, request):
    """A small version of a picture, or a placeholder for a broken one."""
    name = self._name(request)
    try:
      content = await _in_thread(self._photographs.thumbnail, name)
    except UnreadableError:
      return responses.FileResponse(PAGE / 'broken.svg')
    return responses.Response(content, media_type='image/jpeg', headers={
        'Cache-Control': 'private, max-age=3600'})

  async def imported(self, request):
    """The bitmap of imported strokes: identifiers of classes as grey."""
    path = self._store.files.path(layout.IMPORTED, self._name(request))
    if not path.exists():
      raise Refusal('Nothing was imported for this picture.', 404)
    return responses.FileResponse(path)

  async def export(self, request):
    """A zip of all that was made."""
    kind = request.query_params.get('kind')
    if kind not in zip_export.KINDS:
      raise Refusal(f'Choose one of {", ".join(zip_export.KINDS)}.')
    name = f'{"annotations" if kind == "all" else kind}.zip'
    return responses.StreamingResponse(
        zip_export.chunks(
            self._store, self._photographs, self._suggester, kind),
        media_type='application/zip', headers={
            'Content-Disposition': f'attachment; filename="{name}"'})

  def _name(self, request):
    """Returns the id that a request names, if there is such a picture."""
    name = request.query_params.get('id', '')
    if name not in self._photographs.paths:
      raise Refusal('There is no such picture.', 404)
    return name


class _PageFiles(staticfiles.StaticFiles):
  """The page's own files, with the media types that browsers insist on."""

  def file_response(self, full_path, *args, **kwargs):
    """Returns the answer with a file."""
    response = super().file_response(full_path, *args, **kwargs)
    kind = _TYPES.get(pathlib.Path(full_path).suffix)
    if kind:
      response.headers['Content-Type'] = f'{kind}; charset=utf-8'
    return response


def _answer(function):
  """Returns a handler that turns what a user can mend into an answer."""
  async def handle(request: requests.Request):
    """Answers a request."""
    try:
      return await function(request)
    except Refusal as error:
      return _json({'error': str(error)}, error.status)
    except UnreadableError as error:
      return _json({'error': str(error)}, 400)
    except UserError as error:  # A person's mistake, which the page shows.
      return _json({'error': str(error)})
    except OSError as error:  # A full disk, a folder that can't be written.
      return _json({'error': str(error)}, 507)
  return handle


def _json(content, status=200):
  return responses.JSONResponse(content, status)


_in_thread = concurrency.run_in_threadpool


async def _body(request):
  """Returns the JSON of a request, whose size is limited while it arrives."""
  content = bytearray()
  async for chunk in request.stream():
    content += chunk
    if len(content) > access.MAX_BODY:
      raise Refusal(f'A request may have {access.MAX_BODY} bytes.', 413)
  if request.headers.get('content-type') != 'application/json':
    raise Refusal('The request is no JSON.', 415)
  try:
    return formats.parse_json(bytes(content), parse_constant=_no_number)
  except (json.JSONDecodeError, UnicodeDecodeError, ValueError) as error:
    raise Refusal('The request holds no JSON.') from error


def _no_number(text):
  raise ValueError(text)
