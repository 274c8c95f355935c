"""What is read in a compiled program's text, against programs known by hand."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from scribble_jax import sharding
from tests.benchmarks import hlo

# As libtpu 0.0.42 writes it, shortened: the same gathering overlaps two
# fusions; a permutation and a callback are asynchronous; a reduction whose
# parts are scattered is written as one of the whole.
TPU = """\
HloModule jit_f, is_scheduled=true

%fused.1 (param_0: bf16[8,4]) -> bf16[32,4] {
  %param_0 = bf16[8,4]{1,0:T(4,128)(2,1)} parameter(0)
  ROOT %all-gather.1 = bf16[32,4]{1,0:T(8,128)(2,1)S(1)} all-gather(%param_0), \
channel_id=7, dimensions={0}, backend_config={"estimated_cycles":"1000"}
}

%fused.2 (param_0: bf16[8,4]) -> bf16[32,4] {
  %param_0 = bf16[8,4]{1,0:T(4,128)(2,1)} parameter(0)
  ROOT %all-gather.2 = bf16[32,4]{1,0:T(8,128)(2,1)S(1)} all-gather(%param_0), \
channel_id=7, dimensions={0}
}

%all-reduce-scatter.1 (input_0: f32[8]) -> f32[2] {
  %input_0 = f32[8]{0:T(128)} parameter(0)
  %all-reduce.1 = f32[8]{0:T(128)} all-reduce(%input_0), channel_id=1, \
to_apply=%add
  ROOT %slice.1 = f32[2]{0} dynamic-slice(%all-reduce.1, %offset), \
dynamic_slice_sizes={2}
}

ENTRY %main (x: bf16[8,4]) -> bf16[32,4] {
  %x = bf16[8,4]{1,0:T(4,128)(2,1)} parameter(0)
  %start = (bf16[8,4]{1,0:T(4,128)(2,1)}, bf16[8,4]{1,0}, u32[]{:S(2)}, \
/*index=3*/u32[]{:S(2)}) collective-permute-start(%x), channel_id=8
  %done = bf16[8,4]{1,0:T(4,128)(2,1)} collective-permute-done(%start)
  %token = token[] after-all()
  %send = (f32[2]{0}, u32[], token[]) send(%done, %token), channel_id=9, \
is_host_transfer=true
  %sent = token[] send-done(%send), channel_id=9, is_host_transfer=true
  %scattered = f32[2]{0} fusion(%y), kind=kCustom, calls=%all-reduce-scatter.1
  %fusion.1 = bf16[32,4]{1,0} fusion(%done), kind=kCustom, calls=%fused.1, \
backend_config={"window_config":{"estimated_cycles":"250"}}
  ROOT %fusion.2 = bf16[32,4]{1,0} fusion(%done), kind=kCustom, \
calls=%fused.2, backend_config={"window_config":{"estimated_cycles":"50"}}
}
"""


def test_text_of_a_tpu():
  program = hlo.parse(TPU)
  assert program.count('all-gather') == 1
  assert program.num_bytes('all-gather') == 32 * 4 * 2
  assert program.count('collective-permute', in_loop=False) == 1
  assert program.num_bytes('collective-permute') == 8 * 4 * 2
  assert program.count('reduce-scatter') == 1
  assert program.num_bytes('reduce-scatter') == 8 * 4
  assert program.count('all-reduce') == 0
  assert program.cycles == 250 + 50  # Those of fusions hold what is in them.
  assert program.host_transfers()


@pytest.fixture(scope='module')
def in_loop_and_outside():
  """A program of four devices: sums of 3 values in a loop, then of 5."""
  mesh = sharding.make_mesh()
  split = jax.P(mesh.axis_names)

  @functools.partial(jax.shard_map, mesh=mesh, in_specs=(split, split),
                     out_specs=jax.P(), check_vma=False)
  def add(x, y):
    total, _ = jax.lax.scan(
        lambda carry, _: (jax.lax.psum(jnp.sin(carry), mesh.axis_names), None),
        x[0], None, length=4)
    return total, jax.lax.psum(y[0], mesh.axis_names)

  return hlo.parse(jax.jit(add).lower(
      np.zeros([4, 3], np.float32), np.zeros([4, 5], np.float32)
  ).compile().as_text())


@pytest.mark.parametrize('in_loop, values', [(True, 3), (False, 5)])
def test_collectives_in_loops_count_apart(in_loop_and_outside, in_loop, values):
  program = in_loop_and_outside
  assert program.count('all-reduce', in_loop) == 1
  assert program.num_bytes('all-reduce', in_loop) == 4 * values
  assert program.count('all-reduce') == 2
  assert not program.host_transfers()


def test_gathers_and_scatters_are_counted():
  program = hlo.parse("""\
ENTRY %main (table: f32[50,3], indices: s32[7,1]) -> f32[50,3] {
  %rows = f32[7,3]{1,0} gather(%table, %indices), offset_dims={1}
  ROOT %sum = f32[50,3]{1,0} scatter(%table, %indices, %rows), to_apply=%add
}
""")
  assert program.count('gather') == program.count('scatter') == 1
  assert program.num_bytes('gather') == 7 * 3 * 4


def test_a_gather_is_found_in_a_compiled_program():
  table, indices = np.zeros([50, 3], np.float32), np.zeros(7, np.int32)
  program = hlo.parse(jax.jit(
      lambda table, indices: table[indices]
  ).lower(table, indices).compile().as_text())
  assert program.count('gather') == 1


@pytest.mark.parametrize('call', [
    lambda x: jax.debug.print('{}', x),
    lambda x: jax.experimental.io_callback(print, None, x)])
def test_a_callback_reaches_the_host(call):
  def run(x):
    call(x)
    return x + 1

  program = hlo.parse(jax.jit(run).lower(1.0).compile().as_text())
  assert program.host_transfers()
