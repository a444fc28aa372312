/**
 * Generated: what can happen to a job at all. Walks from the first state along every event, as the machine alone does it, and looks
 * at every edge on the way.
 */
import { getAdjacencyMap } from 'xstate/graph';
import { describe, expect, it } from 'vitest';
import type { AnyMachineSnapshot, AnyStateNode } from 'xstate';
import { contextOf, type JobContext } from '../../machines/job/context.ts';
import type { JobSpec } from '../../machines/job/events.ts';
import { JOB_END_STATES, JOB_STATES } from '../../src/protocol/job.ts';
import { definition, report, submit } from './jobs.ts';

type Event = { readonly type: string };

const { machine } = definition;
const SPECS: readonly Partial<JobSpec>[] = [
  {},
  { delayMs: 1, removeOnDone: true },
  { requires: { tags: ['gpu'] }, requeue: 'never' },
  { children: [{ type: 'PART', via: 'queue', jobId: 'c' }], parent: 'p' },
  { via: 'rebalance', userId: 'u' },
  { via: 'none' },
];
const REPORTS = ['claimed', 'alive', 'end', 'error', 'released', 'aborted'];

/** Attempts that an exploration goes through: what follows is the same again. */
const ATTEMPTS_MAX = 2;

function eventsIn(snapshot: AnyMachineSnapshot, first: Event): readonly Event[] {
  if (snapshot.value === 'new') return [first];
  const { attempt = 0 } = snapshot.context as { readonly attempt?: number };
  const reports = [...REPORTS.flatMap((name) => [report(name, attempt), report(name, attempt - 1)]), report('error', attempt, { retryable: false })];
  const states = ['online', 'degraded', 'offline'].map((state) => ({ type: 'nodeState', state }));
  const children = [true, false].map((ok) => ({ type: 'childEnded', child: 'c', ok }));
  const people = [{ type: 'cancel' }, { type: 'retry' }, { type: 'stalled', entry: `${attempt}-0` }, { type: 'adopt', spec: {}, entry: '9-0' }];
  const own = [{ type: 'timeout' }, { type: 'untaken' }, { type: 'look' }];
  const placed = [{ nodeId: 'gpu-1' }, { reason: 'none' }].map((output) => ({ type: 'xstate.done.actor.place', output, actorId: 'place' }));
  const timers = (snapshot._nodes as AnyStateNode[]).flatMap((node) => node.after.map(({ eventType }) => ({ type: eventType })));
  return [...reports, ...states, ...children, ...people, ...own, ...placed, ...timers];
}

interface Walk {
  readonly states: ReadonlySet<string>;
  readonly edges: ReadonlySet<string>;
}

interface Step {
  readonly event: Event;
  readonly state: AnyMachineSnapshot;
}

function walk(spec: Partial<JobSpec>): Walk {
  const first = submit(spec);
  const states = new Set<string>();
  const edges = new Set<string>();
  const map = getAdjacencyMap(machine, {
    input: contextOf('j', first),
    events: (snapshot: AnyMachineSnapshot) => eventsIn(snapshot, first) as never,
    // What decides where it goes; counters and words do not, but for those that end it.
    serializeState: ({ value, context }: AnyMachineSnapshot) => {
      const { attempt, doubt, open, unborn, childFailed, failures = 0, losses = 0 } = context as JobContext;
      return JSON.stringify([value, attempt, doubt, open, unborn?.length, childFailed !== undefined, Math.min(failures, 2), Math.min(losses, 1)]);
    },
    stopWhen: ({ context }: AnyMachineSnapshot) => ((context as { readonly attempt?: number }).attempt ?? 0) > ATTEMPTS_MAX,
    limit: 50_000,
  });
  for (const { state, transitions } of Object.values(map)) {
    states.add(String((state as AnyMachineSnapshot).value));
    for (const { event, state: next } of Object.values(transitions) as readonly Step[])
      edges.add(`${String((state as AnyMachineSnapshot).value)} --${event.type}--> ${String(next.value)}`);
  }
  return { states, edges };
}

const walks = SPECS.map(walk);
const edges = new Set(walks.flatMap((each) => [...each.edges]));

describe('every job', () => {
  it('reaches every state that people are shown, and the one that is swept', () => {
    expect([...new Set(walks.flatMap(({ states }) => [...states]))].toSorted()).toEqual([...JOB_STATES, 'dropped', 'new'].toSorted());
  });

  it('is at rest only in states that people are shown', () => {
    expect([...edges].filter((edge) => edge.endsWith('--> new') && !edge.startsWith('new'))).toEqual([]);
  });

  it('that is done stays so, but for one that is only followed and was enqueued again', () => {
    const out = [...edges].filter((edge) => /^(done|dropped) /.test(edge) && !/--> (done|dropped)$/.test(edge));
    expect(out).toEqual(['done --adopt--> queued']);
  });

  it('leaves its end only by a person, or when it is not handed out by us', () => {
    const ends: readonly string[] = JOB_END_STATES;
    for (const { edges: own } of walks.slice(0, 4)) {
      const out = [...own].filter((edge) => ends.includes(edge.split(' ')[0] ?? '') && edge.split(' ')[0] !== edge.split(' ').at(-1));
      for (const edge of out) expect(edge).toContain('--retry-->');
    }
  });

  it('can be cancelled wherever it has not ended', () => {
    for (const state of JOB_STATES.filter((each) => !JOB_END_STATES.includes(each))) expect(edges).toContain(`${state} --cancel--> cancelled`);
  });
});

it('every state that a job can be in says what it means, and has a tag', () => {
  const silent = Object.values(machine.root.states).filter((node) => typeof node.meta?.description !== 'string' || node.tags.length === 0);
  expect(silent.map(({ id }) => id)).toEqual([]);
});
