"""Published results on PASCAL VOC 2012 val (METHOD 7) and other sets."""

from typing import NamedTuple

VOC_CLASSES = (
    'background', 'aeroplane', 'bicycle', 'bird', 'boat', 'bottle', 'bus',
    'car', 'cat', 'chair', 'cow', 'diningtable', 'dog', 'horse', 'motorbike',
    'person', 'pottedplant', 'sheep', 'sofa', 'train', 'tvmonitor')
CITYSCAPES_CLASSES = (
    'road', 'sidewalk', 'building', 'wall', 'fence', 'pole', 'traffic light',
    'traffic sign', 'vegetation', 'terrain', 'sky', 'person', 'rider', 'car',
    'truck', 'bus', 'train', 'motorcycle', 'bicycle')
ADE20K_CLASSES = (
    'wall', 'building', 'sky', 'floor', 'tree', 'ceiling', 'road', 'bed',
    'windowpane', 'grass', 'cabinet', 'sidewalk', 'person', 'earth', 'door',
    'table', 'mountain', 'plant', 'curtain', 'chair', 'car', 'water',
    'painting', 'sofa', 'shelf', 'house', 'sea', 'mirror', 'rug', 'field',
    'armchair', 'seat', 'fence', 'desk', 'rock', 'wardrobe', 'lamp', 'bathtub',
    'railing', 'cushion', 'base', 'box', 'column', 'signboard',
    'chest of drawers', 'counter', 'sand', 'sink', 'skyscraper', 'fireplace',
    'refrigerator', 'grandstand', 'path', 'stairs', 'runway', 'case',
    'pool table', 'pillow', 'screen door', 'stairway', 'river', 'bridge',
    'bookcase', 'blind', 'coffee table', 'toilet', 'flower', 'book', 'hill',
    'bench', 'countertop', 'stove', 'palm', 'kitchen island', 'computer',
    'swivel chair', 'boat', 'bar', 'arcade machine', 'hovel', 'bus', 'towel',
    'light', 'truck', 'tower', 'chandelier', 'awning', 'streetlight', 'booth',
    'television receiver', 'airplane', 'dirt track', 'apparel', 'pole', 'land',
    'bannister', 'escalator', 'ottoman', 'bottle', 'buffet', 'poster', 'stage',
    'van', 'ship', 'fountain', 'conveyer belt', 'canopy', 'washer',
    'plaything', 'swimming pool', 'stool', 'barrel', 'basket', 'waterfall',
    'tent', 'bag', 'minibike', 'cradle', 'oven', 'ball', 'food', 'step',
    'tank', 'trade name', 'microwave', 'pot', 'animal', 'bicycle', 'lake',
    'dishwasher', 'screen', 'blanket', 'sculpture', 'hood', 'sconce', 'vase',
    'traffic light', 'tray', 'ashcan', 'fan', 'pier', 'crt screen', 'plate',
    'monitor', 'bulletin board', 'shower', 'radiator', 'glass', 'clock',
    'flag')

CDSP = 'CDSP'  # Scribble Hides Class, the method of this program.


class Result(NamedTuple):
  """One published figure.

  Attributes:
    method: With the year; of CDSP with the source of its pseudo-labels.
    network: Head and backbone.
    miou: In [0, 1].
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
    Result('pseudo-labels of BMP', 'none', 0.681),
    Result('pseudo-labels of AFA', 'none', 0.660),
    Result('pseudo-labels of SEAM', 'none', 0.645),
)
# Of simulated scribbles, which differ from one publication to another.
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
  """What published figures were measured on.

  Attributes:
    name: Data set and split.
    classes: Names, in the order of their indices.
    results: `Result`s.
  """
  name: str
  classes: tuple[str, ...]
  results: tuple[Result, ...]


BENCHMARKS = (  # The first one is shown beside any other data set.
    Benchmark('PASCAL VOC 2012 val', VOC_CLASSES, RESULTS),
    Benchmark('Cityscapes val', CITYSCAPES_CLASSES, _ON_CITYSCAPES),
    Benchmark('ADE20K val', ADE20K_CLASSES, _ON_ADE20K),
)
