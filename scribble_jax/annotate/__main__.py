r"""Opens a page on which to draw strokes on one's own pictures.

python -m scribble_jax.annotate PICTURES
python -m scribble_jax.annotate PICTURES --workdir=DIR --port=8765

PICTURES is a folder of photographs, a data set of this program, whose strokes
are imported, or the folder of an earlier start. All that is drawn lands in
--workdir, PICTURES_annotated unless given, as training reads it.
"""

import os
import pathlib
import socket
import sys
import webbrowser

from absl import flags
from absl import logging

from scribble_jax import command_line
from scribble_jax import config_files
from scribble_jax.annotate import layout
from scribble_jax.annotate import mask_import
from scribble_jax.annotate import photographs as photographs_of
from scribble_jax.annotate import store as stores
from scribble_jax.annotate import suggestion_worker
from scribble_jax.annotate import training_jobs
from scribble_jax.errors import UserError
from scribble_jax.files import storage
from scribble_jax.models.backbones import BACKBONES
from scribble_jax.sweep import process

_PORTS = 20  # That are tried, from --port on.


def find_folders(pictures, workdir):
  """Returns where a user's things are.

  Args:
    pictures: Path of a folder of photographs, of a data set, or of a store.
    workdir: Path of the store; None: beside the photographs.

  Returns:
    Absolute paths: of the folder that is named, or that the store names; and of
    the store.

  Raises:
    UserError: A folder is missing or can't be used.
  """
  if any(storage.is_remote(path) for path in (pictures, workdir or '')):
    raise UserError('The page works on folders of this machine, not on gs://.')
  pictures = pathlib.Path(pictures).resolve()
  if not pictures.is_dir():
    raise UserError(f'{pictures} does not exist. Name a folder of photographs.')
  if (pictures / layout.SETTINGS).exists() and workdir in (None, str(pictures)):
    return layout.Layout(pictures).read_settings().pictures, pictures
  return pictures, pathlib.Path(
      workdir or pictures.with_name(f'{pictures.name}_annotated')).absolute()


def open_store(pictures, workdir, max_megapixels, imported=None):
  """Returns the `photographs.Photographs` and the `store.Store`.

  Args:
    pictures: From `find_folders`.
    workdir: Likewise.
    max_megapixels: Larger photographs are not decoded.
    imported: Folder of masks of strokes to import; None: those of a data set.

  Raises:
    UserError: A folder is missing or can't be used.
  """
  is_data_set = (pictures / layout.IMAGES).is_dir()
  is_new = not (workdir / layout.SETTINGS).exists()
  photographs = photographs_of.Photographs(
      pictures / layout.IMAGES if is_data_set else pictures,
      workdir / layout.CACHE, max_megapixels)
  scribbles = pictures / layout.SCRIBBLES
  if imported is None and is_data_set and is_new and scribbles.is_dir():
    imported = scribbles
  imported = imported and str(pathlib.Path(imported).absolute())
  if imported and not pathlib.Path(imported).is_dir():
    raise UserError(f'--import={imported} does not exist, or is no folder. '
                    'Name one of masks.')
  store = stores.Store(
      workdir, photographs,
      mask_import.palette_of(pictures) if is_new else None, imported)
  for folder in dict.fromkeys((store.importing, imported)):
    if folder:  # What was interrupted comes first.
      mask_import.import_all(store, photographs, folder)
  return photographs, store


def listen(address, port):
  """Returns a socket at the first free port.

  Args:
    address: To listen at.
    port: The first to try.

  Raises:
    UserError: None is free, or the address is not this machine's.
  """
  family = socket.AF_INET6 if ':' in address else socket.AF_INET
  for number in range(port, min(port + _PORTS, 65536)):
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
      listener.bind((address, number))
      listener.listen()  # Requests wait until the server takes them.
      return listener
    except OSError as error:
      listener.close()
      reason = error.strerror or str(error)
  raise UserError(f'--address={address} --port={port}: {reason}. Choose '
                  'another port or address.')


def serve(photographs, store, listener, address):
  """Serves the page until Ctrl-C.

  Args:
    photographs: `photographs.Photographs`.
    store: `store.Store`.
    listener: From `listen`.
    address: Likewise.

  Raises:
    UserError: Something is not installed.
  """
  try:
    import uvicorn

    from scribble_jax.annotate import access
    from scribble_jax.annotate import server
  except ImportError as error:
    raise UserError(f'The page needs starlette and uvicorn ({error}). Run: pip '
                    "install 'scribble-jax[annotate]'") from error
  port = listener.getsockname()[1]
  token = access.read_token(store.files.folder / layout.CACHE)
  suggester = suggestion_worker.Suggester(
      store, photographs, _BACKBONE.value, _CHECKPOINT.value)
  app = server.Server(
      store, photographs, suggester,
      training_jobs.Jobs(store.files.folder, _MEGAPIXELS.value)
  ).make_app(address, port, token)
  host = f'[{address}]' if ':' in address else address
  if address in ('0.0.0.0', '::'):
    host = socket.gethostname()
  link = f'http://{host}:{port}/?token={token}'
  if not access.is_loopback(address):
    logging.warning(
        '--address=%s lets everybody in your network reach this server. What '
        'is sent is not encrypted, and who sees the link can change your '
        'strokes and see your pictures.', address)
  print(f'{len(photographs.paths)} pictures. All that you draw is saved in '
        f'{store.files.folder}.\nOpen {link}\nCtrl-C ends.', flush=True)
  if not _NO_BROWSER.value and _has_screen():
    webbrowser.open(link)
  try:
    uvicorn.Server(uvicorn.Config(
        app, lifespan='off', timeout_graceful_shutdown=2, server_header=False,
        ws='none', access_log=False,
        log_config=None  # Its own would close this program's log.
    )).run(sockets=[listener])
  finally:
    suggester.close()


def check_network(backbone, checkpoint):
  """Checks what is told at once; loading may still fail, and then says so.

  Args:
    backbone: As of `suggestion_worker.Suggester`.
    checkpoint: Likewise.

  Raises:
    UserError: There is no such thing.
  """
  if checkpoint is not None and not pathlib.Path(
      checkpoint, config_files.OF_RUN).exists():
    raise UserError(f'--checkpoint={checkpoint} is no workdir of a training '
                    f'run: it holds no {config_files.OF_RUN}.')
  if backbone not in (*BACKBONES, suggestion_worker.NO_NETWORK):
    raise UserError(
        f'--backbone={backbone}: there is no such network. Choose one of: '
        f'{", ".join(BACKBONES)}, {suggestion_worker.NO_NETWORK}.')


def _has_screen():
  """Whether a browser would have a window; else one may take the terminal."""
  return not sys.platform.startswith('linux') or bool(
      os.environ.get('DISPLAY') or os.environ.get('WAYLAND_DISPLAY'))


def main(argv):
  """Serves the page."""
  if len(argv) != 2:
    raise UserError('Name one folder of photographs: python -m '
                    'scribble_jax.annotate PICTURES (try --help).')
  check_network(_BACKBONE.value, _CHECKPOINT.value)
  pictures, workdir = find_folders(argv[1], _WORKDIR.value)
  lock_file = workdir / layout.CACHE / 'lock'
  lock_file.parent.mkdir(parents=True, exist_ok=True)
  with process.alone(lock_file) as lock:
    if lock is None:
      raise UserError(f'Another server works on {workdir}. Use its page, or '
                      'end it.')
    photographs, store = open_store(
        pictures, workdir, _MEGAPIXELS.value, _IMPORT.value)
    serve(photographs, store, listen(_ADDRESS.value, _PORT.value),
          _ADDRESS.value)


if __name__ == '__main__':
  _WORKDIR = flags.DEFINE_string(
      'workdir', None, 'Folder for all that is drawn; PICTURES_annotated '
      'unless given.')
  _PORT = flags.DEFINE_integer(
      'port', 8765, 'Of the page; the next free one is taken.', 1, 65535)
  _ADDRESS = flags.DEFINE_string(
      'address', '127.0.0.1', 'To listen at. Another one than this machine '
      'alone lets others in your network reach the page.')
  _NO_BROWSER = flags.DEFINE_bool(
      'no_browser', False, 'Only print the link.')
  _BACKBONE = flags.DEFINE_string(
      'backbone', 'efficientnet_lite0', 'Pretrained network whose features '
      'masks are made from; none: only draw.')
  _CHECKPOINT = flags.DEFINE_string(
      'checkpoint', None, 'Workdir of a training run, whose backbone is taken '
      'instead.')
  _MEGAPIXELS = flags.DEFINE_float(
      'max_megapixels', photographs_of.MAX_MEGAPIXELS, 'Larger photographs are '
      'not decoded.')
  _IMPORT = flags.DEFINE_string(
      'import', None, 'Folder of masks of strokes, class indices, 255 for '
      'unlabelled, for photographs that have none yet.')
  command_line.run(main, takes_files=True, interrupted=(
      'All strokes are saved; the same command goes on.'))
