"""The page's HTTP server: its routes and their answers.

Requests name pictures by id (`?id=`), which is looked up among those found.
Answers are JSON, pictures, or the bytes of a mask. Functions that are not
`async` run in a thread pool.
"""

import asyncio
import itertools
import mimetypes
import pathlib

from starlette import applications
from starlette import concurrency
from starlette import exceptions
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
_json = responses.JSONResponse


class Server:
  """Answers the page's requests."""

  def __init__(self, store, photographs, suggester, jobs):
    """Sets the sources of the answers.

    Args:
      store: `store.Store`.
      photographs: `photographs.Photographs`.
      suggester: `suggestion_worker.Suggester`.
      jobs: `training_jobs.Jobs`.
    """
    self._store, self._photographs = store, photographs
    self._suggester, self._jobs = suggester, jobs
    self._following = dict(itertools.pairwise(photographs.paths))

  def make_app(self, address, port, token):
    """Returns the ASGI app; see `access.AccessControl` for the arguments."""
    # The media types of some systems differ; browsers then refuse the files.
    mimetypes.add_type('text/javascript', '.js')
    mimetypes.add_type('image/svg+xml', '.svg')
    gets = {
        '/': lambda _: responses.FileResponse(PAGE / 'index.html'),
        '/favicon.ico': lambda _: responses.FileResponse(PAGE / 'logo.svg'),
        '/api/project': self.project, '/api/picture': self.picture,
        '/api/next': self.next, '/api/job': self.job,
        '/photograph': self.photograph, '/thumbnail': self.thumbnail,
        '/imported': self.imported, '/export': self.export}
    changes = (('/api/strokes', self.strokes, 'PUT'),
               ('/api/classes', self.classes, 'POST'),
               ('/api/job', self.change_job, 'POST'))
    app = applications.Starlette(
        routes=[
            *(routing.Route(path, answer) for path, answer in gets.items()),
            *(routing.Route(path, _with_body(answer), methods=[method])
              for path, answer, method in changes),
            routing.Route('/api/mask', self.mask, methods=['POST']),
            routing.Mount('/page', staticfiles.StaticFiles(directory=PAGE))],
        exception_handlers={
            exceptions.HTTPException: lambda _, error: _json(
                {'error': error.detail}, error.status_code),
            UnreadableError: _answer_error(400),
            UserError: _answer_error(200),  # The page shows it.
            OSError: _answer_error(507)})  # Such as a full disk.
    return access.AccessControl(app, address, port, token)

  def project(self, request):
    """Returns all pictures and classes."""
    del request
    listed, predicted = self._store.listed, self._store.predicted()
    return _json({
        'title': self._photographs.folder.name,
        'folder': str(self._store.files.folder),
        'pictures': [
            [name, (name in listed) + 2 * (name in predicted)]
            for name in self._photographs.paths],
        'palette': self._store.palette.to_json()['classes']})

  def picture(self, request):
    """Returns the size and strokes of a picture, or why it can't be shown."""
    name = self._name(request)
    try:
      height, width = self._photographs.size(name)
    except UnreadableError as error:
      return _json({'error': str(error)})
    self._suggester.open(name)
    self._suggester.learner.ahead = self._following.get(name)
    return _json({'width': width, 'height': height,
                  'document': self._store.read(name).to_json()})

  def strokes(self, request, content):
    """Saves the strokes of a picture, unless another page has changed them."""
    name = self._name(request)
    try:
      version = self._store.write(name, vector_strokes.parse(
          content, self._photographs.size(name)))
    except stores.ConflictError as conflict:
      return _json({'conflict': conflict.document.to_json()})
    except ValueError as error:
      raise _refusal(f'The drawing {error}.') from error
    self._suggester.learner.forget(name)
    return _json({'version': version})

  async def mask(self, request):
    """Returns the mask of a picture: its three [H, W] arrays as bytes."""
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

  def next(self, request):
    """Returns the picture without strokes that is classified least surely."""
    del request
    return _json({'id': self._suggester.learner.least_sure(),
                  'worker': self._suggester.status()})

  def classes(self, request, content):
    """Adds, edits or deletes a class, or counts its strokes."""
    del request
    kind, label = content.get('change'), content.get('id')
    if kind == 'count':
      strokes, pictures = self._store.count_strokes(label)
      return _json({'strokes': strokes, 'pictures': pictures})
    if kind == 'add':
      edit = lambda palette: palette.added(content.get('name'))
    elif kind == 'edit':
      edit = lambda palette: palette.changed(
          label, content.get('name'), content.get('colour'))
    elif kind == 'delete':
      edit = lambda palette: palette.without(label)
    else:
      raise _refusal('The change is none of count, add, edit and delete.')
    try:
      self._store.change_palette(edit)
    finally:
      if kind == 'delete':
        self._suggester.learner.forget_all()
    return _json({'palette': self._store.palette.to_json()['classes']})

  def job(self, request):
    """Returns the state of the training."""
    del request
    status = self._jobs.status()
    self._suggester.learner.paused = status['running']
    return _json(status)

  def change_job(self, request, content):
    """Starts, resumes or stops a training."""
    kind = content.get('change')
    if kind == 'stop':
      self._jobs.stop()
    elif kind in ('start', 'resume'):
      self._suggester.learner.paused = True
      self._jobs.start(content.get('steps', 0), kind == 'resume')
    else:
      raise _refusal('The change is none of start, resume and stop.')
    return self.job(request)

  def photograph(self, request):
    """Returns a picture in a format that browsers show."""
    content, kind = self._photographs.shown(self._name(request))
    return responses.Response(content, media_type=kind)

  def thumbnail(self, request):
    """Returns a small version of a picture, a placeholder if it is broken."""
    try:
      content = self._photographs.thumbnail(self._name(request))
    except UnreadableError:
      return responses.FileResponse(PAGE / 'broken.svg')
    return responses.Response(content, media_type='image/jpeg', headers={
        'Cache-Control': 'private, max-age=3600'})

  def imported(self, request):
    """Returns the bitmap of imported strokes, class identifiers as grey."""
    path = self._store.files.path(layout.IMPORTED, self._name(request))
    if not path.exists():
      raise _refusal('Nothing was imported for this picture.', 404)
    return responses.FileResponse(path)

  def export(self, request):
    """Returns a zip of the results."""
    kind = request.query_params.get('kind')
    if kind not in zip_export.KINDS:
      raise _refusal(f'Choose one of {", ".join(zip_export.KINDS)}.')
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
      raise _refusal('There is no such picture.', 404)
    return name


def _refusal(text, status=400):
  return exceptions.HTTPException(status, text)


def _answer_error(status):
  """Returns an exception handler that answers with the error's text."""
  async def handle(request, error):
    """Returns the answer."""
    del request
    return _json({'error': str(error)}, status)
  return handle


def _with_body(answer):
  """Returns a handler that passes the request's JSON object to `answer`."""
  async def handle(request):
    """Reads the body, whose size is limited while it arrives, and answers."""
    content = bytearray()
    async for chunk in request.stream():
      content += chunk
      if len(content) > access.MAX_BODY:
        raise _refusal(
            f'A request may have at most {access.MAX_BODY} bytes.', 413)
    if request.headers.get('content-type') != 'application/json':
      raise _refusal('The request is not JSON.', 415)
    try:
      parsed = formats.parse_json(bytes(content), parse_constant=_refuse_number)
    except ValueError as error:
      raise _refusal('The request holds no JSON.') from error
    if not isinstance(parsed, dict):
      raise _refusal('The request is not a JSON object.')
    return await concurrency.run_in_threadpool(answer, request, parsed)
  return handle


def _refuse_number(text):
  """Refuses NaN and infinities, which are not JSON."""
  raise ValueError(text)
