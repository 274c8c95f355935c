r"""Opens a page for drawing strokes on your own photographs.

python -m scribble_jax.annotate PICTURES
python -m scribble_jax.annotate PICTURES --workdir=DIR --port=8765

PICTURES is a folder of photographs, a data set of this program, whose strokes
are imported, or the workdir of an earlier start. All that is drawn is saved in
--workdir, by default PICTURES_annotated, in the layout that training reads.
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

_PORTS = 20  # Number of ports that are tried, from --port on.


def find_folders(pictures, workdir):
  """Returns the folder of the photographs and the workdir.

  Args:
    pictures: Path of a folder of photographs, of a data set, or of a workdir.
    workdir: Path of the workdir; None for one beside the photographs.

  Returns:
    Absolute paths: `pictures`, or the folder that is stored in the workdir; and
    the workdir.

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
    workdir: From `find_folders`.
    max_megapixels: Larger photographs are not decoded.
    imported: Folder of masks of strokes to import; None for those of a data
      set, if `pictures` is one and the workdir is new.

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
                    'Name a folder of masks.')
  store = stores.Store(
      workdir, photographs,
      mask_import.palette_of(pictures) if is_new else None, imported)
  for folder in dict.fromkeys((store.importing, imported)):
    if folder:  # An interrupted import comes first.
      mask_import.import_all(store, photographs, folder)
  return photographs, store


def listen(address, port):
  """Returns a listening socket at the first free port.

  Args:
    address: Address to listen at.
    port: First port to try.

  Raises:
    UserError: No port is free, or the address is not this machine's.
  """
  family = socket.AF_INET6 if ':' in address else socket.AF_INET
  for number in range(port, min(port + _PORTS, 65536)):
    try:
      return socket.create_server((address, number), family=family)
    except OSError as error:
      # Without the suffix that create_server adds.
      reason = (error.strerror or str(error)).split(' (while')[0]
  raise UserError(f'--address={address} --port={port}: {reason}. Choose '
                  'another port or address.')


def serve(photographs, store, listener, address):
  """Serves the page until Ctrl-C.

  Args:
    photographs: `photographs.Photographs`.
    store: `store.Store`.
    listener: From `listen`.
    address: Address that it listens at.

  Raises:
    UserError: A package is not installed.
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
        '--address=%s lets everybody in your network reach this server. The '
        'connection is not encrypted, and whoever has the link can change your '
        'strokes and see your pictures.', address)
  print(f'{len(photographs.paths)} pictures. All that you draw is saved in '
        f'{store.files.folder}.\nOpen {link}\nCtrl-C ends.', flush=True)
  if not _NO_BROWSER.value and _has_screen():
    webbrowser.open(link)
  try:
    uvicorn.Server(uvicorn.Config(
        app, lifespan='off', timeout_graceful_shutdown=2, server_header=False,
        ws='none', access_log=False,
        log_config=None  # uvicorn's would close this program's log.
    )).run(sockets=[listener])
  finally:
    suggester.close()


def check_network(backbone, checkpoint):
  """Checks the flags of the network, which is loaded later.

  Args:
    backbone: As of `suggestion_worker.Suggester`.
    checkpoint: As of `suggestion_worker.Suggester`.

  Raises:
    UserError: There is no such network.
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
  """Whether a browser can open a window; otherwise it may use the terminal."""
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
      'workdir', None, 'Folder for all that is drawn; PICTURES_annotated by '
      'default.')
  _PORT = flags.DEFINE_integer(
      'port', 8765, 'Port of the page; the next free one is used.', 1, 65535)
  _ADDRESS = flags.DEFINE_string(
      'address', '127.0.0.1', 'Address to listen at. The default is reached '
      'from this machine alone, others also from your network.')
  _NO_BROWSER = flags.DEFINE_bool(
      'no_browser', False, 'Only print the link.')
  _BACKBONE = flags.DEFINE_string(
      'backbone', 'efficientnet_lite0', 'Pretrained network whose features '
      'masks are made from; none: no masks.')
  _CHECKPOINT = flags.DEFINE_string(
      'checkpoint', None, 'Workdir of a training run whose backbone is used '
      'instead.')
  _MEGAPIXELS = flags.DEFINE_float(
      'max_megapixels', photographs_of.MAX_MEGAPIXELS, 'Larger photographs are '
      'not decoded.')
  _IMPORT = flags.DEFINE_string(
      'import', None, 'Folder of masks of strokes (class indices, 255 for '
      'unlabelled) to import for photographs without strokes.')
  command_line.run(main, takes_files=True, interrupted=(
      'All strokes are saved; the same command continues.'))
