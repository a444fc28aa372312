/** Reads an event stream (WHATWG HTML, 9.2.6) as it comes in parts. */
import { JobError } from '../../protocol/errors.ts';

export interface StreamedEvent {
  readonly event?: string;
  readonly data: string;
}

/** A longer event is no event of a model's answer. Characters. */
const EVENT_LENGTH_MAX = 131_072;

export class EventStreamReader {
  readonly #told: (event: StreamedEvent) => void;
  #line = '';
  #lastWasCarriageReturn = false;
  #event: string | undefined;
  #data: string[] = [];
  #length = 0;

  constructor(told: (event: StreamedEvent) => void) {
    this.#told = told;
  }

  push(text: string): void {
    // A line may end with CR, LF or both, and a part may end between the two.
    const rest = this.#lastWasCarriageReturn && text.startsWith('\n') ? text.slice(1) : text;
    if (text !== '') this.#lastWasCarriageReturn = text.endsWith('\r');
    const lines = rest.split(/\r\n|\r|\n/);
    lines[0] = this.#line + (lines[0] ?? '');
    this.#line = lines.pop() ?? '';
    for (const line of lines) this.#take(line);
    if (this.#length + this.#line.length > EVENT_LENGTH_MAX) {
      throw new JobError('answer_too_large', `An event of the service's answer has more than ${EVENT_LENGTH_MAX} characters.`, { retryable: false });
    }
  }

  /** What was begun and not ended is told as well: a model's last words matter more than the rule. */
  end(): void {
    if (this.#line !== '') this.#take(this.#line);
    this.#take('');
  }

  #take(line: string): void {
    if (line === '') return this.#dispatch();
    const colon = line.indexOf(':');
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '');
    if (field === 'data') this.#data.push(value);
    else if (field === 'event') this.#event = value;
    this.#length += value.length;
  }

  #dispatch(): void {
    const [event, data] = [this.#event, this.#data];
    this.#event = undefined;
    this.#data = [];
    this.#length = 0;
    if (data.length > 0) this.#told({ ...(event === undefined ? {} : { event }), data: data.join('\n') });
  }
}
