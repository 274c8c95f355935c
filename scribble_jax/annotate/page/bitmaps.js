/** Bitmaps of class identifiers and other bytes, and their colours. */

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

/** Returns [red, green, blue] of '#rrggbb'. */
export const rgb = (colour) => [1, 3, 5].map(
    (start) => parseInt(colour.slice(start, start + 2), 16));

/** Returns a colour as one element of the table of `paint`. */
export const packed = ([red, green, blue], opacity = 1) =>
  (Math.round(opacity * 255) << 24 | blue << 16 | green << 8 | red) >>> 0;

/**
 * Returns a canvas with the colours table[value] of all values; `edit(pixels)`
 * may change its packed colours.
 */
export function paint(width, height, values, table, edit = () => {}) {
  const canvas = document.createElement('canvas');
  Object.assign(canvas, {width, height});
  const context = canvas.getContext('2d');
  const image = context.createImageData(width, height);
  const pixels = new Uint32Array(image.data.buffer);
  for (let i = 0; i < values.length; i++) pixels[i] = table[values[i]];
  edit(pixels);
  context.putImageData(image, 0, 0);
  return canvas;
}

/** Returns a canvas of labels in the classes' colours; others are clear. */
export function paintLabels({width, height, labels}, classes) {
  const table = new Uint32Array(256);
  for (const {id, colour} of classes) table[id] = packed(rgb(colour));
  return paint(width, height, labels, table);
}
