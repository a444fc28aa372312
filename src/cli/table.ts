/** How the commands print: aligned columns for people, JSON for programs, ages instead of times. */

/** Columns as wide as their widest cell. A cell's line breaks and control characters, which nodes can choose, do not reach the terminal. */
export function renderTable(titles: readonly string[], rows: readonly (readonly string[])[]): string {
  const cells = [titles.map((title) => title.toUpperCase()), ...rows.map((row) => row.map(printable))];
  const widths = titles.map((_, column) => Math.max(...cells.map((row) => (row[column] ?? '').length)));
  return cells
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

/** A time as its age, `3 min`. */
export function age(time: string | null, now: number): string {
  if (time === null) return 'never';
  const seconds = Math.max(0, Math.round((now - Date.parse(time)) / 1000));
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3_600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3_600)} h ${Math.floor((seconds % 3_600) / 60)} min`;
  return `${Math.floor(seconds / 86_400)} d ${Math.floor((seconds % 86_400) / 3_600)} h`;
}

/** A state value on one line: `connection.online, health.disk.ok`; nothing for a new actor. */
export function valueText(value: unknown): string {
  if (typeof value === 'string') return value;
  if (typeof value !== 'object' || value === null) return '';
  return Object.entries(value)
    .flatMap(([name, inner]) => {
      const text = valueText(inner);
      return text === '' ? [name] : text.split(', ').map((part) => `${name}.${part}`);
    })
    .join(', ');
}

export function printable(text: string): string {
  // oxlint-disable-next-line no-control-regex -- control characters are what is looked for
  return text.replace(/[\u0000-\u001f\u007f-\u009f]/g, ' ');
}

/** One JSON value a line, so that a program can read a list while it comes. */
export function jsonLine(value: unknown): string {
  return JSON.stringify(value);
}
