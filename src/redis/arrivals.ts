/**
 * Hears of actors that came into a state in which others wait for them: the commit tells each as it is stored then (functions.lua).
 */
import type { Intake } from '../engine/ports.ts';
import type { ArrivedView, Arrivals } from '../engine/read-ports.ts';
import type { ActorKey } from '../protocol/ids.ts';
import type { Keys } from './keys.ts';

export function createArrivals({ subscribe }: Pick<Intake, 'subscribe'>, keys: Keys): Arrivals {
  return {
    hear: async (type, heard) =>
      await subscribe(keys.arrivals(type), (text) => {
        const view = readArrival(text);
        if (view === undefined) heard(text as ActorKey, undefined);
        else heard(view.key, view);
      }),
  };
}

/** Address, record and document, a line each; the address alone when the rest is too large. Only a document may hold line breaks. */
function readArrival(text: string): ArrivedView | undefined {
  const keyEnd = text.indexOf('\n');
  const recordEnd = keyEnd < 0 ? -1 : text.indexOf('\n', keyEnd + 1);
  if (recordEnd < 0) return undefined;
  const document = text.slice(recordEnd + 1);
  return { key: text.slice(0, keyEnd) as ActorKey, record: text.slice(keyEnd + 1, recordEnd), document: document === '' ? null : document };
}
