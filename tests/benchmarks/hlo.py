"""Reads the text of an optimised XLA program: collectives, loops, hosts.

The text is `compiled.as_text()`. It is that of one device, after the program
has been split over all of them.
"""

import collections
import dataclasses
import re

COLLECTIVES = ('all-reduce', 'all-gather', 'reduce-scatter',
               'collective-permute', 'all-to-all')
_ADDRESSING = ('gather', 'scatter')
_HOST = ('infeed', 'outfeed')
_COMPUTATION = re.compile(r'(ENTRY )?%?([\w.\-]+) \(.*\) -> .* \{$')
_INSTRUCTION = re.compile(
    r'  (?:ROOT )?%?([\w.\-]+) = (.*?) ([a-z][\w\-]*)\((.*)')
_CALLED = re.compile(
    r'(body|condition|calls|to_apply|branch_computations|called_computations'
    r'|true_computation|false_computation)=(\{[^}]*\}|%?[\w.\-]+)')
_ARRAY = re.compile(r'\b(pred|[a-z]+\d+\w*)\[([\d,]*)\]')


@dataclasses.dataclass(frozen=True)
class Instruction:
  """One line of a program.

  Attributes:
    opcode: Such as 'all-reduce'; asynchronous ones without '-start'.
    num_bytes: Of the arrays that it returns.
    in_loop: Whether it is inside a while loop, and so counted once for all
      of its rounds.
    text: What follows the opcode.
  """
  opcode: str
  num_bytes: int
  in_loop: bool
  text: str


@dataclasses.dataclass(frozen=True)
class Program:
  """What a device does in a call of a program.

  Attributes:
    instructions: Collectives, gathers, scatters, and what reaches the host.
    cycles: The compiler's estimate; each loop counts as one round of it.
  """
  instructions: tuple[Instruction, ...]
  cycles: int

  @property
  def collectives(self):
    """Those of the instructions that devices do together."""
    return [x for x in self.instructions if x.opcode in COLLECTIVES]

  def count(self, opcode, in_loop=None):
    """Returns how many there are; in loops and outside unless given."""
    return len(self._chosen(opcode, in_loop))

  def num_bytes(self, opcode, in_loop=None):
    """Returns the bytes that they return, each counted once."""
    return sum(x.num_bytes for x in self._chosen(opcode, in_loop))

  def host_transfers(self):
    """Returns what of the program needs the host: infeeds, callbacks."""
    return [f'{x.opcode}({x.text}' for x in self.instructions
            if _reaches_host(x.opcode, x.text)]

  def _chosen(self, opcode, in_loop):
    return [x for x in self.instructions if x.opcode == opcode
            and in_loop in (None, x.in_loop)]


def parse(text):
  """Returns the Program of a compiled program's text."""
  computations, entry = _computations(text)
  in_loop = _reached(computations, [
      name for lines in computations.values() for line in lines
      for name in _called(line, ('body', 'condition'))])
  fused = {name for lines in computations.values() for line in lines
           for name in _called(line, ('calls',))}
  found, cycles = {}, 0
  for computation in _reached(computations, [entry]):
    for line in computations[computation]:
      name, result, opcode, rest = _INSTRUCTION.match(line).groups()
      opcode = opcode.removesuffix('-start')
      if computation not in fused:
        estimate = re.search(r'"estimated_cycles":"(\d+)"', line)
        cycles += int(estimate[1]) if estimate else 0
      if opcode in (*COLLECTIVES, *_ADDRESSING) or _reaches_host(opcode, rest):
        if computation.startswith('all-reduce-scatter'):  # So fused on TPUs.
          opcode = 'reduce-scatter'
        # A collective that overlaps several fusions is written in each.
        channel = re.search(r'channel_id=\d+', rest)
        place = ((channel[0], *_ARRAY.findall(result))
                 if channel and computation in fused else name)
        found[opcode, place] = Instruction(
            opcode, _result_bytes(opcode, result), computation in in_loop, rest)
  return Program(tuple(found.values()), cycles)


def _computations(text):
  """Returns {computation: its instructions' lines} and the first one's name."""
  computations, entry, lines = {}, None, None
  for line in text.splitlines():
    if match := _COMPUTATION.match(line):
      lines = computations[match[2]] = []
      entry = match[2] if match[1] else entry
    elif line == '}':
      lines = None
    elif lines is not None:
      lines.append(line)
  return computations, entry


def _called(line, kinds=None):
  """Returns the computations that an instruction calls in one of these ways."""
  return [name for kind, names in _CALLED.findall(line)
          if kinds is None or kind in kinds
          for name in re.findall(r'[\w.\-]+', names)]


def _reached(computations, names):
  """Returns these computations and those that they call, directly or not."""
  waiting, reached = collections.deque(names), {}
  while waiting:
    name = waiting.popleft()
    if name in computations and name not in reached:
      reached[name] = None
      for line in computations[name]:
        waiting += _called(line)
  return reached


def _reaches_host(opcode, text):
  return (opcode in _HOST or 'is_host_transfer=true' in text
          or (opcode == 'custom-call' and 'callback' in text))


def _result_bytes(opcode, result):
  """Returns the bytes of a result's arrays.

  Those of an asynchronous permutation or gathering hold the operands too; the
  largest of them is what arrives.
  """
  sizes = []
  for dtype, shape in _ARRAY.findall(result):
    count = 1
    for side in filter(None, shape.split(',')):
      count *= int(side)
    bits = 8 if dtype == 'pred' else int(re.search(r'\d+', dtype)[0])
    sizes.append(count * bits // 8)
  started = result.startswith('(') and opcode == 'collective-permute'
  return max(sizes) if started else sum(sizes)
