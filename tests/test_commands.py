"""evaluate, predict, export and report on a trained network."""

import functools
import json
import pathlib
import shutil
import subprocess
import sys
import types

import numpy as np
from PIL import Image
import pytest

from configs import scribblesup
from scribble_jax import config_check
from scribble_jax import dataset_classes
from scribble_jax import evaluate
from scribble_jax import inference
from scribble_jax import metrics
from scribble_jax import predict
from scribble_jax import results
from scribble_jax import train
from scribble_jax import validation
from scribble_jax import windows
from scribble_jax.data import dataset_files
from scribble_jax.data import input_pipeline
from scribble_jax.data import loading
from scribble_jax.data import records
from scribble_jax.errors import UserError
from scribble_jax.files import images
from scribble_jax.files import masks
from scribble_jax.pseudo_labels import propagation
from scribble_jax.weights import pretrained
from scribble_jax.weights import trained
from scribble_jax.weights import weight_files
from tests.conftest import tiny_config
from tests.predictions import predicted
from tests.predictions import probabilities

REPOSITORY = pathlib.Path(__file__).parent.parent


@pytest.fixture(scope='module')
def finished(drawn_root, tmp_path_factory):
  """(config, workdir) of a tiny run that is finished."""
  workdir = tmp_path_factory.mktemp('finished') / 'run'
  config = tiny_config(drawn_root)
  config.data.records = str(workdir.parent / 'records')
  config.evaluation.scales = (1.0,)
  train.train(config, str(workdir))
  return config, workdir


def val_ids(config):
  return pathlib.Path(
      config.data.root, config.data.val_list).read_text().split()


def read(path):
  with Image.open(path) as image:
    return np.asarray(image)


# evaluate


def test_evaluate_writes_what_the_protocol_gives(finished, tmp_path):
  config, workdir = finished
  config = config.copy_and_resolve_references()
  config.evaluation.scales = (0.75, 1.0)
  figures = evaluate.evaluate(config, workdir, 'latest', tmp_path / 'out')
  stored = json.loads((tmp_path / 'out/metrics.json').read_text())
  assert stored == json.loads(json.dumps(figures))
  assert (figures['step'], figures['num_images']) == (6, 3)
  assert stored['protocol']['scales'] == [0.75, 1.0]

  model, variables, _ = trained.load(config.model, workdir)
  protocol = windows.Protocol(
      window=33, scales=(0.75, 1.0), long_side=None, flip=False)
  counts = np.zeros([4, 4], int)
  for name in val_ids(config):
    image = read(f'{config.data.root}/JPEGImages/{name}.jpg')
    (expected,) = predicted(model, variables, [image], protocol,
                            finish=inference.most_probable)
    with Image.open(tmp_path / f'out/predictions/{name}.png') as prediction:
      assert prediction.mode == 'P'
      assert prediction.getpalette()[3:6] == [128, 0, 0]  # VOC's first class.
    np.testing.assert_array_equal(
        masks.read_mask(tmp_path / f'out/predictions/{name}.png'), expected)
    counts += metrics.confusion_matrix(masks.read_mask(
        f'{config.data.root}/SegmentationClassAug/{name}.png'), expected, 4)
  assert figures['miou'] == metrics.mean_iou(counts)


@pytest.mark.parametrize('suffix', ['.safetensors', '.pth'])
def test_exported_checkpoint_evaluates_the_same(finished, tmp_path, suffix):
  if suffix == '.pth':
    pytest.importorskip('torch')
  config, workdir = finished
  own = evaluate.evaluate(config, workdir, 'latest', tmp_path / 'own')
  _, variables, step = trained.load(config.model, workdir)
  path = tmp_path / f'exported{suffix}'
  weight_files.write_state_dict(path, pretrained.to_pytorch(variables, step))
  again = evaluate.evaluate(config, path, 'latest', tmp_path / 'again')
  assert again['miou'] == own['miou'] and again['iou'] == own['iou']
  for name in val_ids(config):
    file = f'predictions/{name}.png'
    assert ((tmp_path / 'own' / file).read_bytes()
            == (tmp_path / 'again' / file).read_bytes())


def test_evaluate_sees_the_pixels_that_validation_sees(root, config):
  # Training reads records with TensorFlow, evaluate files with Pillow.
  first, second, _ = val_ids(config)
  deep = np.random.default_rng(0).integers(0, 65536, (48, 48), np.uint16)
  for name, image in ((first, Image.fromarray(deep)),
                      (second, Image.new('LA', (48, 48), (9, 7)))):
    (root / f'JPEGImages/{name}.jpg').unlink()
    image.save(root / f'JPEGImages/{name}.png')
  examples = dataset_files.list_examples(config.data, True, ('val',))['val']
  own = evaluate.load_examples(examples, functools.partial(
      loading.load, class_names=('a', 'b', 'c', 'd')))
  validated = input_pipeline.whole_examples(
      records.prepare(config.data), 'val')
  for example, expected in zip(own, validated, strict=True):
    assert example['id'] == expected['id']
    for part in ('image', 'ground_truth'):
      np.testing.assert_array_equal(example[part], expected[part])


def test_evaluate_at_one_scale_is_the_validation(finished, tmp_path):
  config, workdir = finished
  config = config.copy_and_resolve_references()
  config.evaluation.scales = (1.0,)
  figures = evaluate.evaluate(config, workdir, 'latest', tmp_path / 'out')
  validated = json.loads((workdir / 'metrics.json').read_text())
  assert figures['iou'] == validated['iou']


def test_predictions_are_refined_by_the_walk_of_stage_1(finished, tmp_path):
  config, workdir = finished
  config = config.copy_and_resolve_references()
  config.evaluation.refine = 0.2
  figures = evaluate.evaluate(config, workdir, 'latest', tmp_path / 'out')
  assert figures['protocol']['refine'] == 0.2
  model, variables, step = trained.load(config.model, workdir)
  walk = propagation.Walk(
      **config.stage1.refinement.to_dict() | {'restart': 0.2})
  counts = np.zeros(2, int)
  for name in val_ids(config):
    image = read(f'{config.data.root}/JPEGImages/{name}.jpg')
    (given,) = probabilities(model, variables, [image], windows.Protocol(
        window=33, scales=(1.0,), long_side=None, flip=False))
    expected = np.argmax(propagation.refine(
        given, image, np.int32(image.shape[:2]), walk), -1)
    found = masks.read_mask(tmp_path / f'out/predictions/{name}.png')
    counts += [np.sum(found != expected), np.sum(found != given.argmax(-1))]
  assert counts[0] <= 10 < 100 < counts[1]  # Rounding decides few.
  state = types.SimpleNamespace(step=step, variables=variables)
  dataset = records.prepare(config.data)
  validated, _ = validation.Validation(config_check.with_classes(
      config, dataset.class_names), model, dataset)(state)
  assert validated['confusion'] == figures['confusion']


@pytest.mark.parametrize('changes, message', [
    ({'evaluation.refine': 1.5}, r'evaluation\.refine is 1\.5'),
    ({'evaluation.refine': 0.1, 'stage1.refinement.strides': (4, 3, 1)},
     r'config\.stage1\.refinement\.strides is \(4, 3, 1\)')])
def test_a_refinement_that_cannot_be(finished, tmp_path, changes, message):
  config, workdir = finished
  config = config.copy_and_resolve_references()
  config.update_from_flattened_dict(changes)
  for run in (lambda: train.train(config, str(tmp_path / 'run')),
              lambda: evaluate.evaluate(
                  config, workdir, 'latest', tmp_path / 'out'),
              lambda: predict.predict(
                  config, workdir, 'latest', ['a.png'], tmp_path / 'out',
                  False)):
    with pytest.raises(UserError, match=message):
      run()
  assert not list(tmp_path.iterdir())


def test_interrupted_evaluation_leaves_the_earlier_one(
    finished, tmp_path, monkeypatch):
  config, workdir = finished
  evaluate.evaluate(config, workdir, 'latest', tmp_path / 'out')
  before = (tmp_path / 'out/metrics.json').read_bytes()

  def interrupted(*args):
    raise KeyboardInterrupt

  monkeypatch.setattr(results, 'summary', interrupted)
  for output in ('out', 'new'):
    with pytest.raises(KeyboardInterrupt):
      evaluate.evaluate(config, workdir, 'latest', tmp_path / output)
  assert [path.name for path in tmp_path.iterdir()
          if path.suffix != '.lock'] == ['out']
  assert (tmp_path / 'out/metrics.json').read_bytes() == before


def test_evaluate_never_replaces_a_folder_of_other_files(finished, tmp_path):
  config, workdir = finished
  for name in ('thesis.tex', 'predictions'):  # The latter as of predict.
    folder = tmp_path / f'{name}_folder'
    folder.mkdir()
    (folder / name).write_text('precious')
    with pytest.raises(UserError, match='holds other files than an evaluation'):
      evaluate.evaluate(config, workdir, 'latest', folder)
    assert (folder / name).exists()


def test_evaluation_that_cannot_be_written(finished, tmp_path, monkeypatch):
  config, workdir = finished
  (tmp_path / 'file').write_text('')
  with pytest.raises(UserError, match=r'Cannot write .*--output'):
    evaluate.evaluate(config, workdir, 'latest', tmp_path / 'file/out')

  def fail(*args):
    raise PermissionError(13, 'words', '/data/JPEGImages/a.jpg')

  monkeypatch.setattr(results, 'summary', fail)  # Not of the output.
  with pytest.raises(PermissionError):
    evaluate.evaluate(config, workdir, 'latest', tmp_path / 'out')


def test_evaluate_needs_neither_scribbles_nor_records(finished, root, tmp_path):
  config, workdir = finished
  config = config.copy_and_resolve_references()
  config.data.root = str(root)
  for name in ('scribbles', 'pseudo_labels'):
    (root / name).rename(root / f'no_{name}')
  assert evaluate.evaluate(
      config, workdir, 'best', tmp_path / 'out')['num_images'] == 3


def test_classes_that_changed_since_the_training_are_named(
    finished, root, tmp_path):
  config, workdir = finished
  config = config.copy_and_resolve_references()
  config.data.root = str(root)
  background, circle, *others = (root / 'classes.txt').read_text().split()
  for names, count in (([background, *others, circle], 3),
                       ([background, circle, *others, 'more'], 1)):
    (root / 'classes.txt').write_text('\n'.join(names))
    with pytest.raises(UserError) as error:
      evaluate.evaluate(config, workdir, 'latest', tmp_path / 'out')
    message = str(error.value)
    assert message.count(f'in {root}/classes.txt and') == count
  assert (f"class 4 is 'more' in {root}/classes.txt and None in the run "
          f'{workdir}. Evaluate with the classes') in message
  del config.data.classes  # A text.
  config.data.classes = ('a', circle, *others)
  with pytest.raises(UserError, match=(
      f"class 0 is 'a' in config.data.classes and '{background}' in the run")):
    evaluate.evaluate(config, workdir, 'latest', tmp_path / 'out')
  assert not (tmp_path / 'out').exists()


def test_a_run_of_an_older_version_has_no_classes_to_compare(
    finished, tmp_path):
  config, workdir = finished
  old = shutil.copytree(workdir, tmp_path / 'old')
  (old / 'classes.json').unlink()
  assert evaluate.evaluate(
      config, old, 'latest', tmp_path / 'out')['num_images'] == 3


@pytest.mark.parametrize('content', ['', '3', '{"a": 1}', '[' * 100_000])
def test_damaged_classes_of_a_run_are_named(finished, tmp_path, content):
  config, workdir = finished
  spoilt = shutil.copytree(workdir, tmp_path / 'spoilt')
  (spoilt / 'classes.json').write_text(content)
  with pytest.raises(UserError, match=r'classes\.json is damaged: .*Restore'):
    evaluate.evaluate(config, spoilt, 'latest', tmp_path / 'out')


def test_bad_val_files_are_listed_together(finished, root, tmp_path):
  config, workdir = finished
  config = config.copy_and_resolve_references()
  config.data.root = str(root)
  first, second, _ = val_ids(config)
  Image.new('RGB', (48, 48)).save(root / f'SegmentationClassAug/{first}.png')
  (root / f'JPEGImages/{second}.jpg').write_bytes(b'no image')
  with pytest.raises(UserError, match='2 problems') as error:
    evaluate.evaluate(config, workdir, 'latest', tmp_path / 'out')
  assert first in str(error.value) and second in str(error.value)
  assert not (tmp_path / 'out').exists()


# Loading


@pytest.mark.parametrize('change, message', [
    ({'head': 'deeplabv2'}, "head 'deeplabv3plus', but config.model.head is"),
    ({'backbone': 'resnet50'}, "backbone 'resnet18', but"),
    ({'num_classes': 21}, 'num_classes 4, but config.model.num_classes is 21'),
])
def test_checkpoint_of_another_network(finished, tmp_path, change, message):
  config, workdir = finished
  path = tmp_path / 'weights.safetensors'
  weight_files.write_state_dict(path, pretrained.to_pytorch(
      trained.load(config.model, workdir)[1]))
  model = config.model.copy_and_resolve_references()
  model.update(change)
  for source in (workdir, path):
    with pytest.raises(UserError, match=message):
      trained.load(model, source)


def test_steps_of_a_workdir(finished):
  config, workdir = finished
  assert trained.load(config.model, workdir, 'latest')[2] == 6
  assert trained.load(config.model, workdir, '6')[2] == 6
  best = json.loads((workdir / 'metrics.json').read_text())['best_step']
  assert trained.load(config.model, workdir, 'best')[2] == best
  with pytest.raises(UserError, match=r"no checkpoint '999'.*latest, best"):
    trained.load(config.model, workdir, '999')


def test_folder_that_is_no_workdir(finished, tmp_path):
  config, _ = finished
  with pytest.raises(UserError, match='is no workdir of a training run'):
    trained.load(config.model, tmp_path)


# predict


def png_16_bit(path):
  values = np.arange(40 * 30, dtype=np.uint16).reshape(40, 30) * 54
  Image.fromarray(values).save(path)
  return np.repeat((values >> 8).astype(np.uint8)[..., None], 3, -1)


def rotated_jpeg(path):
  pixels = np.zeros([30, 50, 3], np.uint8)
  pixels[:, :25] = 200
  exif = Image.Exif()
  exif[0x0112] = 6  # To be turned by 90 degrees clockwise.
  Image.fromarray(pixels).save(path, exif=exif, quality=100, subsampling=0)
  return np.rot90(pixels, -1)


def rgba(path):
  pixels = np.random.default_rng(0).integers(0, 256, (20, 33, 4), np.uint8)
  Image.fromarray(pixels).save(path)
  return pixels[..., :3]


def grey(path):
  pixels = np.random.default_rng(0).integers(0, 256, (64, 9), np.uint8)
  Image.fromarray(pixels).save(path)
  return np.repeat(pixels[..., None], 3, -1)


PICTURES = {'deep.png': png_16_bit, 'turned.jpg': rotated_jpeg,
            'clear.png': rgba, 'grey.tiff': grey}


@pytest.mark.parametrize('name', PICTURES)
def test_any_picture_is_read_as_rgb(tmp_path, name):
  expected = PICTURES[name](tmp_path / name)
  actual = images.read((tmp_path / name).read_bytes(), images.READING).pixels
  assert actual.dtype == np.uint8 and actual.shape == expected.shape
  np.testing.assert_allclose(actual.astype(int), expected, atol=3)  # JPEG.


def test_predict_writes_masks_overlays_and_probabilities(finished, tmp_path):
  config, workdir = finished
  folder, output = tmp_path / 'pictures', tmp_path / 'out'
  folder.mkdir()
  images = {pathlib.Path(name).stem: make(folder / name)
            for name, make in PICTURES.items()}
  (folder / 'notes.txt').write_text('no picture')
  assert predict.predict(
      config, workdir, 'latest', [folder], output, True) == (4, 0)
  assert len(list(output.iterdir())) == 3 * 4
  for name, pixels in images.items():
    mask = masks.read_mask(output / f'{name}.png')
    overlay = read(output / f'{name}_overlay.png')
    stored = np.load(output / f'{name}_probabilities.npy')
    assert mask.shape == pixels.shape[:2] and overlay.shape == pixels.shape
    assert stored.shape == (*mask.shape, 4)
    np.testing.assert_allclose(stored.sum(-1), 1, atol=5e-3)  # float16
    chosen = np.take_along_axis(stored, mask[..., None].astype(int), -1)
    assert (chosen >= stored.max(-1, keepdims=True) - 1e-3).all()


def test_corrupt_picture_is_reported_and_skipped(finished, tmp_path, capsys):
  config, workdir = finished
  rgba(tmp_path / 'good.png')
  (tmp_path / 'bad.png').write_bytes((tmp_path / 'good.png').read_bytes()[:99])
  done = predict.predict(
      config, workdir, 'latest',
      [tmp_path / 'bad.png', tmp_path / 'gone.png', tmp_path / 'good.png'],
      tmp_path / 'out', False)
  assert done == (1, 2)
  errors = capsys.readouterr().err
  assert f'skipped {tmp_path}/bad.png: ' in errors
  assert f'skipped {tmp_path}/gone.png: ' in errors
  assert sorted(path.name for path in (tmp_path / 'out').iterdir()) == [
      'good.png', 'good_overlay.png']


@pytest.mark.parametrize('images, output, message', [
    ([], 'out', 'No image to predict'),
    (['a.png', 'sub/a.png'], 'out', 'sub/a.png: its result .* would replace'),
    (['a.png'], '.', r'a\.png: its result .*/a\.png would replace that of, or'),
    (['empty'], 'out', 'empty holds no image'),
])
def test_results_never_replace_anything_by_chance(
    finished, tmp_path, monkeypatch, images, output, message):
  config, workdir = finished
  monkeypatch.chdir(tmp_path)
  (tmp_path / 'sub').mkdir()
  (tmp_path / 'empty').mkdir()
  before = [rgba(tmp_path / name) for name in ('a.png', 'sub/a.png')]
  with pytest.raises(UserError, match=message):
    predict.predict(config, workdir, 'latest', images, output, False)
  for name, pixels in zip(('a.png', 'sub/a.png'), before, strict=True):
    np.testing.assert_array_equal(read(tmp_path / name)[..., :3], pixels)


# report


def test_published_figures_name_every_class_of_the_config():
  assert scribblesup.get_config().data.classes == dataset_classes.VOC_CLASSES
  assert len(set(dataset_classes.VOC_CLASSES)) == 21


# The real programs, as processes of their own.


def command(module, *flags):
  return subprocess.run(
      [sys.executable, '-m', f'scribble_jax.{module}', *map(str, flags)],
      cwd=REPOSITORY, capture_output=True, text=True, timeout=300, check=False)


def tiny_flags(root):
  return (
      '--config=configs/demo.py', f'--config.data.root={root}',
      '--config.data.crop_size=33', '--config.batch_size=4',
      '--config.model.width=4', '--config.model.head_width=8',
      '--config.evaluation.scales=(1.0,)',
      # Of the drawn data set that is there.
      '--config.data.embedded.num_train=10', '--config.data.embedded.num_val=3',
      '--config.data.embedded.image_size=48')


def test_network_is_exported_with_its_card(finished, tmp_path):
  config, workdir = finished
  picture = next(pathlib.Path(config.data.root, 'JPEGImages').iterdir())
  flags = f'--checkpoint={workdir}', f'--output={tmp_path / "net.stablehlo"}'
  refused = command('export', *flags, '--format=stablehlo')
  assert refused.returncode == 1
  assert '--picture=FILE' in refused.stderr
  assert not list(tmp_path.iterdir())

  done = command('export', *flags, '--format=stablehlo', f'--picture={picture}')
  assert done.returncode == 0, done.stderr
  assert f'On 4 windows of {picture.name} its' in done.stdout
  card = (tmp_path / 'net.stablehlo.md').read_text()
  assert f'from {workdir}, step 6' in card
  assert '[1, 33, 33, 3] float32' in card
  figures = json.loads((workdir / 'metrics.json').read_text())
  assert f"{100 * figures['miou']:.2f} % mIoU in the validation" in card
  names = json.loads((workdir / 'classes.json').read_text())
  assert '\n'.join(f'{i}. {name}' for i, name in enumerate(names)) in card
  assert 'random weights' in card
  assert 'cpu, cuda, tpu' in card


def test_from_training_to_report_by_command(finished, tmp_path):
  config, workdir = finished
  flags = tiny_flags(config.data.root)
  file = tmp_path / 'exported.safetensors'
  done = command('export', f'--checkpoint={workdir}', f'--output={file}')
  assert done.returncode == 0, done.stderr
  assert 'after 6 updates' in done.stdout

  done = command('evaluate', f'--workdir={workdir}',
                 f'--output={tmp_path}/evaluation')
  assert done.returncode == 0, done.stderr
  assert 'changed by flags' not in done.stdout
  figures = json.loads((tmp_path / 'evaluation/metrics.json').read_text())
  validated = json.loads((workdir / 'metrics.json').read_text())
  assert figures['protocol'] == {
      'window': 33, 'scales': [1.0], 'long_side': None, 'flip': False,
      'blend': 'uniform', 'refine': 0.0}
  assert figures['confusion'] == validated['confusion']
  assert [*figures['iou']] == json.loads(
      (workdir / 'classes.json').read_text()) == [*validated['iou']]

  done = command('evaluate', *flags, f'--checkpoint={file}')
  assert done.returncode == 0, done.stderr
  assert '3 images' in done.stdout and 'mIoU' in done.stdout
  assert (tmp_path / 'exported.safetensors.evaluation/metrics.json').exists()

  picture = f'{config.data.root}/JPEGImages/{val_ids(config)[0]}.jpg'
  done = command('predict', f'--checkpoint={workdir}',
                 '--config.data.root=/nowhere',
                 f'--output={tmp_path}/out', picture, '/dev/null')
  assert done.returncode == 1, done.stderr
  assert f"data.root: {config.data.root!r} -> '/nowhere'.\n" in done.stdout
  assert '1 of 2 images predicted' in done.stdout
  assert 'skipped /dev/null' in done.stderr
  assert len(list((tmp_path / 'out').iterdir())) == 2

  done = command('report', workdir, f'--output={tmp_path}/report')
  assert done.returncode == 0, done.stderr
  assert 'measured here' in done.stdout
  assert f'The page is {tmp_path}/report/report.html.' in done.stdout
  page = (tmp_path / 'report/report.html').read_text()
  assert 'Training curves' in page and 'Validation images' in page


@pytest.mark.parametrize('module, flags, message', [
    ('evaluate', [], 'Name one thing to evaluate: --workdir=DIR of a training'),
    ('evaluate', ['--workdir=a', '--checkpoint=b'], 'Name one thing'),
    ('evaluate', ['--workdir=/nowhere'], '/nowhere does not exist'),
    ('predict', ['--checkpoint=/nowhere.pth', '--output=/tmp/o', 'a.jpg'],
     '/nowhere.pth does not exist'),
    ('predict', ['--checkpoint=x.pth', 'a.jpg'], 'output'),
    ('export', ['--checkpoint=/nowhere.pth', '--output=x.pth', 'surplus'],
     "Unknown argument 'surplus'"),
    ('report', ['/nowhere'], 'config.json is missing'),
    ('report', [], 'Name the folder of a run or a sweep'),
])
def test_mistake_on_the_command_line(drawn_root, module, flags, message):
  shared = () if module == 'report' else tiny_flags(drawn_root)
  done = command(module, *shared, *flags)
  last = done.stderr.strip().splitlines()[-1]
  assert done.returncode == 1
  assert last.startswith('error: ') and message in last
  assert 'Traceback' not in done.stderr and not done.stdout


def test_inference_needs_no_tensorflow():
  code = ('import sys\n'
          'sys.modules["tensorflow"] = None\n'
          'from scribble_jax import evaluate, export, predict, report\n'
          'from scribble_jax.report import __main__\n'
          'from scribble_jax import loss_terms\n'
          'from scribble_jax.training import train_step\n'
          'from scribble_jax.pseudo_labels import classification\n'
          'from scribble_jax.pseudo_labels import label_quality\n')
  subprocess.run([sys.executable, '-c', code], cwd=REPOSITORY, check=True)
