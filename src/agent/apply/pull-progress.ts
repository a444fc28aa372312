/** How far an image is got, from what the engine tells of its layers: downloading counts for most of it, unpacking for the rest. */

/** A line of the answer of `POST /images/create`. */
export interface PullLine {
  readonly id?: string;
  readonly status?: string;
  readonly progressDetail?: { readonly current?: number; readonly total?: number };
  readonly error?: string;
}

const DOWNLOAD_PART = 0.8;

export class PullProgress {
  /** Bytes of each layer, and which part of it is done. Layers whose size was not told yet count with the mean. */
  readonly #layers = new Map<string, { size: number | undefined; done: number }>();
  #highest = 0;

  /** The percent, 0 to 100, when it has grown by one at least; it never falls, although layers become known one after another. */
  take({ id, status, progressDetail }: PullLine): number | undefined {
    if (id === undefined || status === undefined || status.startsWith('Pulling from')) return undefined;
    const layer = this.#layers.get(id) ?? { size: undefined, done: 0 };
    this.#layers.set(id, layer);
    const { current, total } = progressDetail ?? {};
    if (total !== undefined && total > 0) layer.size ??= total;
    const part = current !== undefined && total !== undefined && total > 0 ? Math.min(1, current / total) : 0;
    if (status === 'Downloading') layer.done = Math.max(layer.done, part * DOWNLOAD_PART);
    else if (status === 'Extracting') layer.done = Math.max(layer.done, DOWNLOAD_PART + part * (1 - DOWNLOAD_PART));
    else if (status === 'Download complete') layer.done = Math.max(layer.done, DOWNLOAD_PART);
    else if (status === 'Pull complete' || status === 'Already exists') layer.done = 1;
    const percent = Math.floor(this.#part() * 100);
    if (percent <= this.#highest) return undefined;
    this.#highest = percent;
    return percent;
  }

  #part(): number {
    const layers = [...this.#layers.values()];
    const sizes = layers.flatMap(({ size }) => (size === undefined ? [] : [size]));
    const mean = sizes.length === 0 ? 1 : sizes.reduce((sum, size) => sum + size, 0) / sizes.length;
    const all = layers.reduce((sum, { size = mean }) => sum + size, 0);
    return all === 0 ? 0 : layers.reduce((sum, { size = mean, done }) => sum + size * done, 0) / all;
  }
}
