import { describe, expect, it } from 'vitest';
import type { Glance } from '../../src/engine/ports.ts';
import { millisecondsOf, partitionOf, type ActorKey } from '../../src/protocol/ids.ts';
import { emptyCommit, envelope } from './requests.ts';
import { SUITE_DEDUPE } from './store-harness.ts';
import type { SuiteContext } from './suite-context.ts';

const READ = { inboxes: [], sources: [], withActors: false, count: 10, sourceCount: 10 };

export function appendSuite(suite: SuiteContext): void {
  describe('appends and reads', () => {
    it('gives back what was appended, in order, after a position', async () => {
      const actor = suite.actorFor('read');
      const partition = partitionOf(actor);
      const results = await suite.store.append([
        envelope(actor, { event: { type: 'first', n: 1 } }),
        envelope(actor, { causation: '1:2-3:4', traceparent: '00-ab', replyTo: 'me', dedupeId: 'fields' }),
      ]);
      const [one, two] = results.map((result) => (result instanceof Error ? '' : result.id)) as [string, string];
      const before = await suite.store.time();
      const { time, inboxes } = await suite.store.read({ ...READ, inboxes: [{ partition, after: '0-0' }] });
      expect(time).toBeGreaterThanOrEqual(before);
      expect(inboxes).toEqual([
        [
          [one, [actor, '{"type":"first","n":1}']],
          [two, [actor, '{"type":"go"}', 'd', 'fields', 'c', '1:2-3:4', 't', '00-ab', 'r', 'me']],
        ],
      ]);
      const empty = suite.freshPartition();
      const both = [partition, empty].map((number) => ({ partition: number, after: '0-0' }));
      const beside = await suite.store.read({ ...READ, inboxes: both, withActors: true });
      expect(beside.inboxes).toEqual([inboxes[0], []]);
      expect(beside.actors).toEqual([[{ key: actor, record: null }], []]);
      const later = await suite.store.read({ ...READ, inboxes: [{ partition, after: one }], count: 1 });
      expect(later.inboxes[0]?.map(([id]) => id)).toEqual([two]);
      const short = await suite.store.read({ ...READ, inboxes: [{ partition, after: '0-0' }], count: 1 });
      expect(short.inboxes[0]?.map(([id]) => id)).toEqual([one]);
    });

    it('keeps an entry until the position has passed it', async () => {
      const actor = suite.actorFor('keep');
      const partition = partitionOf(actor);
      const state = await suite.own(partition);
      const results = await suite.store.append(Array.from({ length: 300 }, () => envelope(actor)));
      const ids = results.map((result) => (result instanceof Error ? '' : result.id));
      await suite.commitOne({ ...emptyCommit(partition, state, 1), inbox: ids[199] as string });
      const { inboxes } = await suite.store.read({ ...READ, inboxes: [{ partition, after: ids[199] as string }], count: 500 });
      expect(inboxes[0]?.map(([id]) => id)).toEqual(ids.slice(200));
    });

    for (const withActors of [false, true]) {
      it(`reads sources in place and tells their oldest id, ${withActors ? 'with' : 'without'} actors`, async () => {
        const source = `suite:source-${withActors}`;
        const one = await suite.harness.addToSource(source, ['nodeId', 'a', 'payload', '{}']);
        const two = await suite.harness.addToSource(source, ['nodeId', 'b', 'payload', '{}']);
        const bytes = await suite.harness.addToSource(`${source}:binary`, ['title', 'Über']);
        const { sources } = await suite.store.read({
          ...READ,
          withActors,
          sources: [
            { stream: source, after: one },
            { stream: `${source}:binary`, after: '0-0', binary: true },
            { stream: 'suite:missing', after: '0-0' },
            { stream: source, after: '0-0' },
          ],
        });
        expect(sources).toEqual([
          { entries: [[two, ['nodeId', 'b', 'payload', '{}']]], firstId: one },
          { entries: [[bytes, ['title', Buffer.from('Über').toString('latin1')]]], firstId: bytes },
          { entries: [], firstId: null },
          { entries: [expect.objectContaining([one]), expect.objectContaining([two])], firstId: one },
        ]);
      });
    }

    it('appends a dedupe id once, also within one call', async () => {
      const actor = suite.actorFor('dedupe');
      const same = envelope(actor, { dedupeId: 'once' });
      const results = await suite.store.append([same, envelope(actor), same]);
      const again = await suite.store.append([same]);
      const [first, , third, fourth] = [...results, ...again].map((result) => (result instanceof Error ? undefined : result));
      expect(first).toMatchObject({ partition: partitionOf(actor), repeated: false });
      expect(third).toEqual({ ...first, repeated: true });
      expect(fourth).toEqual({ ...first, repeated: true });
      const { inboxes } = await suite.store.read({ ...READ, inboxes: [{ partition: partitionOf(actor), after: '0-0' }] });
      expect(inboxes[0]).toHaveLength(2);
    });

    it('forgets a dedupe id after the window', async () => {
      const same = envelope(suite.actorFor('window'), { dedupeId: 'old' });
      const [first] = await suite.store.append([same]);
      await suite.harness.passTime(SUITE_DEDUPE.windowMs + 5);
      const [second, third] = await suite.store.append([same, same]);
      expect(second).toMatchObject({ repeated: false });
      expect(third).toEqual({ ...(second as object), repeated: true });
      expect(second).not.toEqual(first);
    });

    it('forgets the oldest dedupe ids beyond the limit', async () => {
      const actor = suite.actorFor('limit');
      const ids = Array.from({ length: SUITE_DEDUPE.idsMax + 2 }, (_, index) => `id-${index}`);
      const results = await suite.store.append(ids.map((dedupeId) => envelope(actor, { dedupeId })));
      // Asked for newest first: an id that was forgotten is remembered anew and pushes out another.
      const repeated = await suite.store.append([...ids].reverse().map((dedupeId) => envelope(actor, { dedupeId })));
      expect(results.every((result) => !(result instanceof Error) && !result.repeated)).toBe(true);
      expect(repeated.map((result) => !(result instanceof Error) && result.repeated)).toEqual([true, true, true, true, true, false, false]);
    });

    it('refuses a larger event than 1 MiB and takes its neighbours', async () => {
      const actor = suite.actorFor('large');
      const [small, large] = await suite.store.append([envelope(actor), envelope(actor, { event: { type: 'go', text: 'ä'.repeat(600_000) } })]);
      expect(small).toMatchObject({ repeated: false });
      expect(large).toMatchObject({ code: 'invalid_event', field: 'event' });
    });

    it('appends numbered messages with their source and number', async () => {
      const actor = suite.actorFor('message');
      await suite.store.appendMessages([
        { envelope: envelope(actor, { source: 'actor:node/a' }), from: 3, number: 41 },
        { envelope: envelope(actor, { source: 'actor:node/a' }), from: 3, number: 42 },
      ]);
      const { inboxes } = await suite.store.read({ ...READ, inboxes: [{ partition: partitionOf(actor), after: '0-0' }] });
      expect(inboxes[0]?.map(([, fields]) => fields.slice(4))).toEqual([
        ['f', '3', 'n', '41'],
        ['f', '3', 'n', '42'],
      ]);
    });

    describe('rings', () => {
      /** What is heard of one partition while `action` runs. */
      const heard = async (partition: number, action: () => Promise<unknown>): Promise<Glance | undefined> => {
        const rung = Promise.withResolvers<Glance | undefined>();
        await suite.harness.doorbell.listen(
          (number, glance) => {
            if (number === partition) rung.resolve(glance);
          },
          () => undefined,
        );
        await action();
        const glance = await rung.promise;
        await suite.harness.doorbell.close();
        return glance;
      };

      it('the sources when their writers ring', async () => {
        const sources = Promise.withResolvers<void>();
        await suite.harness.doorbell.listen(
          () => undefined,
          () => sources.resolve(),
        );
        await suite.harness.ringSources();
        await sources.promise;
        await suite.harness.doorbell.close();
      });

      it('the partition, with what a read would have answered', async () => {
        const actor = suite.actorFor('ring');
        const partition = partitionOf(actor);
        const state = await suite.own(partition, 'engine-a', ['suite:beats', 'suite:none']);
        const beat = await suite.harness.addToSource('suite:beats', ['nodeId', 'a']);
        const before = await suite.store.time();
        const first = await heard(partition, () => suite.store.append([envelope(actor)]));
        const [id, fields] = first?.inbox.added[0] ?? ['', []];
        const sources = new Map([
          ['suite:beats', { before: beat, added: [] }],
          ['suite:none', { before: '0-0', added: [] }],
        ]);
        expect(first).toEqual({
          partition,
          time: expect.any(Number),
          commit: state.commit,
          inbox: { before: '0-0', added: [[id, fields]] },
          sources,
          unknown: actor,
        });
        expect(first?.time).toBeGreaterThanOrEqual(before);
        expect(first?.time).toBeLessThanOrEqual(millisecondsOf(id));
        const { inboxes } = await suite.store.read({ ...READ, inboxes: [{ partition, after: '0-0' }] });
        expect(inboxes[0]).toEqual([[id, fields]]);

        const commit = { ...emptyCommit(partition, state, 1), inbox: id, records: [[actor, '{}']] as const };
        await suite.commitOne(commit);
        const second = await heard(partition, () => suite.store.append([envelope(actor, { dedupeId: 'twice' })]));
        expect(second).toMatchObject({ commit: commit.id, inbox: { before: id }, unknown: undefined });
        expect(await heard(partition, () => suite.store.append([envelope(actor, { dedupeId: 'twice' })]))).toBeUndefined();
      });

      it('and brings nothing when the owner is behind, of several at once, of a large one, or where nobody owns', async () => {
        const actor = suite.actorFor('plain-ring');
        const partition = partitionOf(actor);
        expect(await heard(partition, () => suite.store.append([envelope(actor)]))).toBeUndefined();
        const state = await suite.own(partition);
        expect(await heard(partition, () => suite.store.append([envelope(actor)]))).toBeUndefined();
        const { inboxes } = await suite.store.read({ ...READ, inboxes: [{ partition, after: '0-0' }] });
        await suite.commitOne({ ...emptyCommit(partition, state, 1), inbox: inboxes[0]?.at(-1)?.[0] as string });
        expect(await heard(partition, () => suite.store.append([envelope(actor), envelope(actor)]))).toBeUndefined();
        const later = await suite.store.read({ ...READ, inboxes: [{ partition, after: '0-0' }] });
        await suite.commitOne({ ...emptyCommit(partition, state, 2), previous: `${state.epoch}-1`, inbox: later.inboxes[0]?.at(-1)?.[0] as string });
        const large = { type: 'go', text: 'x'.repeat(9_000) };
        expect(await heard(partition, () => suite.store.append([envelope(actor, { event: large })]))).toBeUndefined();
      });
    });
  });

  describe('best-effort messages', () => {
    it('publishes', async () => {
      const heard = await suite.harness.hear('suite:channel', 2, () =>
        suite.store.publish([
          ['suite:channel', 'one'],
          ['suite:channel', 'two'],
        ]),
      );
      expect(heard).toEqual(['one', 'two']);
    });

    it('tells who came to rest, whole while it is small, with the document as it is stored', async () => {
      const [actor, large] = [suite.actorFor('rest'), suite.actorFor('rest-large')];
      const channel = suite.harness.arrivalsChannel('node');
      const rest = async (key: ActorKey, record: string, documents: readonly (readonly [ActorKey, string])[] = []): Promise<readonly string[]> => {
        const state = await suite.own(partitionOf(key));
        const commit = { ...emptyCommit(partitionOf(key), state, 1), records: [['node/other', '[]'] as const, [key, record] as const], documents };
        return await suite.harness.hear(channel, 1, async () => void (await suite.commitOne({ ...commit, arrivals: [{ type: 'node', record: 1 }] })));
      };
      expect(await rest(actor, '[1]', [[actor, '{"load":"½"}']])).toEqual([`${actor}\n[1]\n{"load":"½"}`]);
      expect(await rest(actor, '[2]')).toEqual([`${actor}\n[2]\n{"load":"½"}`]);
      expect(await rest(large, JSON.stringify(['x'.repeat(1_020)]))).toEqual([`${large}\n${JSON.stringify(['x'.repeat(1_020)])}\n`]);
      expect(await rest(large, JSON.stringify(['x'.repeat(1_021)]))).toEqual([large]);
    });

    it('tells a waiting sender the outcome', async () => {
      const heard = await suite.harness.hear(suite.harness.replyChannel('sender'), 1, () =>
        suite.store.reply([{ to: 'sender', entry: '1-0', outcome: { kind: 'ignored' } }]),
      );
      expect(heard.map((text) => JSON.parse(text))).toEqual([{ entry: '1-0', outcome: { kind: 'ignored' } }]);
    });
  });
}
