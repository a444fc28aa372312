/**
 * Hears of actors that came into a state in which others wait for them: the commit tells each as it is stored then (told-functions.lua).
 */
import type { Intake } from '../engine/ports.ts';
import type { ArrivedView, Arrivals } from '../engine/read-ports.ts';
import type { ActorKey } from '../protocol/ids.ts';
import { guarded } from './guarded.ts';
import type { Keys } from './keys.ts';
import { hintIn, type OpenSealed } from './seal.ts';

export function createArrivals({ subscribe }: Pick<Intake, 'subscribe'>, keys: Keys, open: OpenSealed): Arrivals {
  return {
    hear: async (type, heard) =>
      await guarded(
        'listen to those who come to rest',
        subscribe(keys.arrivals(type), (message) => {
          const text = open(message);
          const view = text === undefined ? undefined : readArrival(text);
          if (view === undefined) heard(addressIn(hintIn(message)), undefined);
          else heard(view.key, view);
        }),
      ),
  };
}

/** Address, record and document, a line each. Only a document may hold line breaks. */
function readArrival(text: string): ArrivedView | undefined {
  const keyEnd = text.indexOf('\n');
  const recordEnd = keyEnd < 0 ? -1 : text.indexOf('\n', keyEnd + 1);
  if (recordEnd < 0) return undefined;
  const document = text.slice(recordEnd + 1);
  return { key: addressIn(text), record: text.slice(keyEnd + 1, recordEnd), document: document === '' ? null : document };
}

function addressIn(text: string): ActorKey {
  const end = text.indexOf('\n');
  return (end < 0 ? text : text.slice(0, end)) as ActorKey;
}
