"""Published results on PASCAL VOC 2012 val (METHOD 7) and other data sets."""

from typing import NamedTuple

from scribble_jax import dataset_classes

CDSP = 'CDSP'  # The paper "Scribble Hides Class", implemented here.


class Result(NamedTuple):
  """One published result.

  Attributes:
    method: Name and year; for CDSP, name and source of its pseudo-labels.
    network: Head and backbone; '' for pseudo-labels, or if not published.
    miou: mIoU in [0, 1].
  """
  method: str
  network: str
  miou: float


RESULTS = (
    Result(f'{CDSP} (BMP pseudo-labels)', 'DeepLabV3+ ResNet-101', 0.7585),
    Result(f'{CDSP} (BMP pseudo-labels)', 'DeepLabV2 ResNet-101', 0.7525),
    Result(f'{CDSP} (BMP pseudo-labels)', 'DeepLabV2 ResNet-50', 0.7392),
    Result(f'{CDSP} (AFA pseudo-labels)', 'DeepLabV3+ ResNet-101', 0.7331),
    Result(f'{CDSP} (SEAM pseudo-labels)', 'DeepLabV3+ ResNet-101', 0.7177),
    Result('full supervision', 'DeepLabV3+ ResNet-101', 0.7814),
    Result('full supervision', 'DeepLabV3+ ResNet-50', 0.7588),
    Result('SASFormer', 'MiT-B4', 0.7949),
    Result('TEL 2022 (its own release)', 'DeepLabV3+ ResNet-101', 0.776),
    Result('BLPSeg (no CRF)', 'ResNet-101', 0.7756),
    Result('TEL 2022 (re-run in CDSP)', 'DeepLabV3+ ResNet-101', 0.7523),
    Result('PSI 2021', 'DeepLabV3+ ResNet-101', 0.749),
    Result('URSS 2021', 'DeepLabV2 ResNet-101', 0.746),
    Result('CCL 2022', 'DeepLabV2 ResNet-101', 0.744),
    Result('AGMM 2023 (re-run in CDSP)', 'DeepLabV3+ ResNet-101', 0.7424),
    Result('PCE 2022', 'DeepLabV3+ ResNet-101', 0.738),
    Result('BPG 2019', 'DeepLabV2 ResNet-101', 0.732),
    Result('KCL 2018', 'DeepLabV2 ResNet-101', 0.729),
    Result('NCL 2018', 'DeepLabV1 ResNet-101', 0.728),
    Result('ScribbleSup 2016', 'DeepLabV1 VGG16', 0.631),
    Result('RAWKS 2017', 'DeepLabV1 ResNet-101', 0.614),
    Result('pseudo-labels of BMP', '', 0.681),
    Result('pseudo-labels of AFA', '', 0.660),
    Result('pseudo-labels of SEAM', '', 0.645),
)
# Each publication simulates the scribbles in its own way.
_ON_CITYSCAPES = (
    Result('full supervision', 'SegFormer-B4', 0.776),
    Result('soft self-labels', '', 0.724),
    Result('Rewis3d', 'SegFormer-B4', 0.681),
    Result('TEL', 'SegFormer-B4', 0.644),
    Result('EMA teacher', 'SegFormer-B4', 0.612),
    Result('SASFormer', 'SegFormer-B4', 0.556),
)
_ON_ADE20K = (Result('soft self-labels', '', 0.397),)


class Benchmark(NamedTuple):
  """A data set with published results.

  Attributes:
    name: Data set and split.
    classes: Class names, in the order of their indices.
    results: The published results.
  """
  name: str
  classes: tuple[str, ...]
  results: tuple[Result, ...]


# Reports on other data sets show the results of the first benchmark.
BENCHMARKS = (
    Benchmark('PASCAL VOC 2012 val', dataset_classes.VOC_CLASSES, RESULTS),
    Benchmark('Cityscapes val', dataset_classes.CITYSCAPES_CLASSES,
              _ON_CITYSCAPES),
    Benchmark('ADE20K val', dataset_classes.ADE20K_CLASSES, _ON_ADE20K),
)
