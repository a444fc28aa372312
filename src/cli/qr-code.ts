/**
 * A QR code for a terminal, two modules a character.
 *
 * 1. With colours it is black on white whatever the terminal's own colours are; without, the light modules are drawn, as for a dark terminal.
 */
import { encode } from 'uqr';

/** The specification's quiet zone is 4; phones read 2, and a terminal has few rows. */
const QUIET_ZONE = 2;
const BLACK_ON_WHITE = '\u001b[30;107m';
const RESET = '\u001b[0m';

export function qrCode(text: string, colours: boolean): string {
  const { data, size } = encode(text, { ecc: 'L', border: QUIET_ZONE });
  const rows: string[] = [];
  for (let y = 0; y < size; y += 2) {
    const cells = Array.from({ length: size }, (_, x) => half(data[y]?.[x] === colours, (data[y + 1]?.[x] ?? false) === colours));
    rows.push(colours ? `${BLACK_ON_WHITE}${cells.join('')}${RESET}` : cells.join(''));
  }
  return rows.join('\n');
}

function half(upper: boolean, lower: boolean): string {
  return upper ? (lower ? '█' : '▀') : lower ? '▄' : ' ';
}
