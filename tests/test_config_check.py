"""Any value of any key is taken or refused in plain words."""

import contextlib
import json

from absl import flags
from flax.traverse_util import flatten_dict
from ml_collections import config_flags
import pytest

from configs import demo
from configs import own_data
from configs import pseudo_labels
from configs import scribblesup
from scribble_jax import config_check
from scribble_jax.errors import UserError
from scribble_jax.pseudo_labels import config_rules

CHECKS = {
    'training': (own_data.get_config,
                 lambda config: config_check.check_training(config, 1)),
    'stage 1': (lambda: pseudo_labels.get_config('own_data'),
                lambda config: config_rules.check(config, 1)),
    'prediction': (own_data.get_config, config_check.check_inference),
}
VALUES = ((), (1.0,), (3.0, 2.0), ('a', 'b'), 0, -1, 0.5, 10**12, 'x', '',
          float('nan'), None)


@pytest.mark.parametrize('name', CHECKS)
def test_no_value_of_a_key_ends_in_a_traceback(name):
  get_config, check = CHECKS[name]
  refused = 0
  for path in flatten_dict(get_config().to_dict()):
    for value in VALUES:
      config = get_config()
      section = config
      for part in path[:-1]:
        section = section[part]
      with contextlib.suppress(TypeError, ValueError):  # Of another type.
        section[path[-1]] = value
      try:
        check(config)
      except UserError as error:
        assert path[-1] in str(error), (path, value)
        refused += 1
  assert refused > 20


def from_flags(config, *given):
  values = flags.FlagValues()
  config_flags.DEFINE_config_dict(
      'config', config, flag_values=values, sys_argv=['program', *given])
  values(['program', *given])
  return values.config


@pytest.mark.parametrize('key', [
    'evaluation.long_side', 'evaluation.batch_size'])
@pytest.mark.parametrize('module', [scribblesup, own_data])
def test_a_key_that_may_be_none_takes_it_and_numbers_as_a_flag(module, key):
  for text, expected in (('None', None), ('300', 300)):
    config = from_flags(module.get_config(), f'--config.{key}={text}')
    assert flatten_dict(config.to_dict(), sep='.')[key] == expected
    config_check.check_inference(config)
  with pytest.raises(UserError, match=f'{key} is -3; it must be at least 1'):
    config_check.check_inference(
        from_flags(module.get_config(), f'--config.{key}=-3'))


@pytest.mark.parametrize('config, share, stage1_share', [
    (scribblesup.get_config(), 1 / 10, 1 / 10),  # METHOD 5: 5 of 50 epochs.
    (own_data.get_config(), 1 / 10, 1 / 10),
    *((own_data.get_config(variant), 1 / 10, 1 / 10) for variant in (
        'small', 'small_resnet50', 'small_dinov2', 'scribble_only,small')),
    (demo.get_config(), 1 / 4, 3 / 100)])
def test_the_warm_up_follows_the_number_of_steps(config, share, stage1_share):
  for part, expected in ((config, share), (config.stage1, stage1_share)):
    for num_steps in (part.num_steps, 200):
      part.num_steps = num_steps
      assert part.optim.warmup_steps == int(num_steps * expected)
  config_check.check_training(config, 1)
  assert json.loads(config.to_json())['optim']['warmup_steps'] == int(
      200 * share)
  config.optim.warmup_steps = 7
  assert config.num_steps == 200


def test_the_demo_is_shortened_as_its_script_says():
  config = from_flags(demo.get_config(), '--config.num_steps=200')
  config_check.check_training(config, 1)
  assert config.optim.warmup_steps == 50
