/** Just enough of RESP2 to see where a command or a reply ends and which Function a command calls. */

const [ARRAY, BULK] = [0x2a, 0x24]; // '*' and '$'

/** Index after the value that begins at `start`; -1 while it is not complete. */
export function valueEnd(buffer: Buffer, start: number): number {
  let at = start;
  for (let pending = 1; pending > 0; pending--) {
    const lineEnd = buffer.indexOf('\r\n', at, 'latin1');
    if (lineEnd < 0) return -1;
    const size = buffer[at] === ARRAY || buffer[at] === BULK ? Number(buffer.toString('latin1', at + 1, lineEnd)) : 0;
    const isBulk = buffer[at] === BULK;
    at = lineEnd + 2;
    if (isBulk) at += size < 0 ? 0 : size + 2;
    else if (size > 0) pending += size;
    if (at > buffer.length) return -1;
  }
  return at;
}

/** The Function that a complete command calls, without the library's name: `commit` of `fcall castellan_0123456789_commit …`; else undefined. */
export function calledFunction(buffer: Buffer, start: number, end: number): string | undefined {
  const head = buffer.toString('latin1', start, Math.min(end, start + 120));
  return /^\*\d+\r\n\$5\r\nfcall\r\n\$\d+\r\n[a-z]+_[0-9a-f]{10}_([a-z_]+)\r\n/i.exec(head)?.[1];
}
