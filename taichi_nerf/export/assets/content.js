// From the text of the page to bytes.

const ALPHABET = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%()*+-:;=?@[]^_`{|}~';

/** The bytes of a text in base 85: 4 bytes in 5 characters. */
function decode85(text) {
  const value = new Uint8Array(128);
  for (let i = 0; i < 85; i++) value[ALPHABET.charCodeAt(i)] = i;
  const bytes = new Uint8Array(text.length / 5 * 4);
  for (let i = 0, at = 0; i < text.length; i += 5) {
    let word = 0;
    for (let k = 0; k < 5; k++) word = word * 85 + value[text.charCodeAt(i + k)];
    bytes[at++] = word >>> 24;
    bytes[at++] = word >>> 16;
    bytes[at++] = word >>> 8;
    bytes[at++] = word;
  }
  return bytes;
}

/** All bytes of the scene. The texts leave the page as they are read; `onProgress` hears the part that is done. */
async function readContent(scene, onProgress) {
  const pieces = [...document.querySelectorAll('script.content')];
  const stream = new DecompressionStream('deflate');
  const writing = (async () => {
    const writer = stream.writable.getWriter();
    for (const piece of pieces) {
      await writer.write(decode85(piece.textContent).subarray(0, Number(piece.dataset.bytes)));
      piece.remove();
    }
    await writer.close();
  })();
  const bytes = new Uint8Array(scene.bytes), reader = stream.readable.getReader();
  let filled = 0;
  for (;;) {
    const {done, value} = await reader.read();
    if (done) break;
    bytes.set(value, filled);
    filled += value.length;
    onProgress(filled / bytes.length);
  }
  await writing;
  if (filled !== bytes.length) throw new Error('the file is incomplete');
  return bytes;
}
