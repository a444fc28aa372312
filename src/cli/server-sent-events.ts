/** Parses an event stream (WHATWG HTML, 9.2.6) as far as our own server writes it: `\n` line ends, one data line. */

export interface ServerSentEvent {
  readonly event: string;
  readonly id: string;
  readonly data: string;
}

/** A longer unfinished event is not ours. */
const EVENT_LENGTH_MAX = 8_388_608;

/** Ends when the stream ends; a stream that breaks or is aborted ends too: the caller goes on from the last id. */
export async function* readServerSentEvents(body: ReadableStream<Uint8Array>): AsyncGenerator<ServerSentEvent> {
  let unfinished = '';
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  try {
    while (true) {
      const { done, value } = await reader.read().catch(() => ({ done: true as const, value: undefined }));
      if (done) return;
      const blocks = (unfinished + value).split('\n\n');
      unfinished = blocks.pop() ?? '';
      if (unfinished.length > EVENT_LENGTH_MAX) return;
      for (const block of blocks) {
        const event = parseBlock(block);
        if (event.data !== '') yield event;
      }
    }
  } finally {
    await reader.cancel().catch(() => undefined);
  }
}

function parseBlock(block: string): ServerSentEvent {
  const fields = { event: 'message', id: '', data: '' };
  for (const line of block.split('\n')) {
    const colon = line.indexOf(':');
    const name = line.slice(0, colon);
    if (name === 'event' || name === 'id' || name === 'data') fields[name] = line.slice(colon + 1).replace(/^ /, '');
  }
  return fields;
}
