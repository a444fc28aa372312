/**
 * The contract with a parcel carrier, the example of docs/contracts.md: every way in and every way out, over a machine of its own.
 *
 * In: entries `parcel … place …` of the stream `carrier:scans`, items `{"parcel"}` of the list `carrier:returns`,
 *     messages `{"parcel", "status":"delivered"}` on the channel `carrier:live`.
 * Out: entries of the stream `carrier:orders` (a parcel is to be fetched), every transition on the channel `carrier:told`.
 */
import { assign, sendTo, setup } from 'xstate';
import { z } from 'zod';
import type { ActorTypeDefinition } from '../../../src/core/actor-type.ts';
import { durableActor } from '../../../src/protocol/actor-reference.ts';
import { idOf } from '../../../src/protocol/ids.ts';
import type { Outlet } from '../../../src/protocol/outlet.ts';
import type { Transition } from '../../../src/protocol/record.ts';
import type { ChannelSource, ListSource, ReadMessage, RejectedEntry, StreamSource } from '../../../src/protocol/source.ts';

const PARCEL = /^[A-Z0-9]{4,20}$/;

// --- The machine: what a parcel is, whoever tells of it.

export const parcelType: ActorTypeDefinition = {
  type: 'parcel',
  version: '1',
  machine: setup({
    types: {
      context: {} as { id: string; place: string },
      input: {} as { id: string },
      events: {} as { type: 'scanned'; place: string } | { type: 'delivered' } | { type: 'returned' },
    },
    actions: {
      move: assign(({ context, event }) => ({ place: event.type === 'scanned' ? event.place : context.place })),
      order: sendTo(durableActor('carrier', 'orders'), ({ context }) => ({ type: 'fetch', parcel: context.id, place: context.place })),
    },
  }).createMachine({
    context: ({ input }) => ({ id: input.id, place: 'unknown' }),
    initial: 'underWay',
    states: {
      underWay: { on: { scanned: { actions: 'move' }, delivered: 'delivered', returned: { target: 'comingBack', actions: 'order' } } },
      delivered: { on: { returned: { target: 'comingBack', actions: 'order' } } },
      comingBack: { on: { scanned: { actions: 'move' } } },
    },
  }),
  events: {
    scanned: z.strictObject({ type: z.literal('scanned'), place: z.string().max(64) }),
    delivered: z.strictObject({ type: z.literal('delivered') }),
    returned: z.strictObject({ type: z.literal('returned') }),
  },
};

// --- In: a stream, read where it lies.

export const scansSource: StreamSource = {
  stream: 'carrier:scans',
  keyOf(fields) {
    const parcel = fieldOf(fields, 'parcel');
    return parcel !== undefined && PARCEL.test(parcel) ? `parcel/${parcel}` : undefined;
  },
  decode(_id, fields) {
    const parcel = fieldOf(fields, 'parcel');
    const place = fieldOf(fields, 'place');
    if (parcel === undefined || !PARCEL.test(parcel)) return refused('parcel', `must match ${PARCEL.source}`, fields.join(' '));
    if (place === undefined || place.length > 64) return refused('place', 'must be a text of at most 64 characters', fields.join(' '));
    return { ok: true, event: { type: 'scanned', place } };
  },
};

// --- In: a list, of which each item is taken once.

export const returnsSource: ListSource = {
  list: 'carrier:returns',
  side: 'left', // the carrier does RPUSH
  decode: (item) => readMessage(item, () => ({ type: 'returned' })),
};

// --- In: a channel, which has no memory.

export const liveSource: ChannelSource = {
  channel: 'carrier:live',
  decode: (message) => readMessage(message, ({ status }) => (status === 'delivered' ? { type: 'delivered' } : undefined)),
};

/** An item or a message as an event of the parcel that it names. */
function readMessage(text: string, eventOf: (message: { readonly status?: unknown }) => { readonly type: string } | undefined): ReadMessage {
  const message = objectOf(text);
  if (message === undefined) return refused('message', 'must be a JSON object', text);
  if (message.source === OUR_NAME) return { ok: 'ignored' };
  const { parcel } = message;
  if (typeof parcel !== 'string' || !PARCEL.test(parcel)) return refused('parcel', `must match ${PARCEL.source}`, text);
  const event = eventOf(message);
  if (event === undefined) return refused('status', 'must be delivered', text);
  return { ok: true, actor: `parcel/${parcel}`, event };
}

// --- Out: an outlet, for what must arrive.

export const ordersOutlet: Outlet = {
  type: 'carrier',
  encode(id, event, from) {
    if (id !== 'orders' || event.type !== 'fetch') return undefined;
    const { parcel, place } = event as { readonly type: string; readonly parcel: string; readonly place: string };
    return { stream: 'carrier:orders', fields: ['parcel', parcel, 'place', place, 'asked_by', from], maxLength: 10_000 };
  },
};

// --- Out: announcements, for those who listen at the moment.

const OUR_NAME = 'castellan';

export const announceParcels = {
  channel: 'carrier:told',
  message({ key, to, at }: Transition): readonly string[] {
    return [JSON.stringify({ parcel: idOf(key), state: to, at, source: OUR_NAME })];
  },
};

function objectOf(text: string): { readonly [field: string]: unknown } | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? (value as { readonly [field: string]: unknown }) : undefined;
  } catch {
    return undefined;
  }
}

function fieldOf(fields: readonly string[], name: string): string | undefined {
  for (let index = 0; index + 1 < fields.length; index += 2) if (fields[index] === name) return fields[index + 1];
  return undefined;
}

function refused(field: string, why: string, text: string): RejectedEntry {
  return { ok: false, code: 'invalid_field', field, reason: `The field ${field} ${why}.`, excerpt: text.slice(0, 200) };
}
