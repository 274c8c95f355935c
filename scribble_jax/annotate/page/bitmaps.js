/** Imported strokes: a bitmap of identifiers, and its colours. */

/** Returns {width, height, labels} of a grey PNG. */
export async function read(blob) {
  const bitmap = await createImageBitmap(blob);
  const {width, height} = bitmap;
  const context = new OffscreenCanvas(width, height).getContext('2d');
  context.drawImage(bitmap, 0, 0);
  const {data} = context.getImageData(0, 0, width, height);
  const labels = new Uint8Array(width * height);
  for (let i = 0; i < labels.length; i++) labels[i] = data[4 * i];
  return {width, height, labels};
}

/** Returns a canvas with the colours of the classes; others are clear. */
export function paint({width, height, labels}, classes) {
  const canvas = document.createElement('canvas');
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext('2d');
  const image = context.createImageData(width, height);
  const out = new Uint32Array(image.data.buffer), table = new Uint32Array(256);
  for (const {id, colour} of classes) {
    const [red, green, blue] = [1, 3, 5].map(
        (at) => parseInt(colour.slice(at, at + 2), 16));
    table[id] = (255 << 24 | blue << 16 | green << 8 | red) >>> 0;
  }
  for (let i = 0; i < labels.length; i++) out[i] = table[labels[i]];
  context.putImageData(image, 0, 0);
  return canvas;
}
