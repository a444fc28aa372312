/**
 * One step: `(actor type, actor, stimulus, moment) → decision`. Pure (I2): neither the actor nor the stimulus is changed.
 *
 * 1. Ignored: same snapshot, no action. A log alone is none: without a revision nobody would read it.
 * 2. Touch: the record stays as it was, but for the delay with which a known timer is armed again; a document may be set.
 *    Arming a new timer or losing one is a revision, because folding the journal must find the same timers (I2).
 * 3. A throw rejects the event, wherever in the actor or its children it happened; the actor before the step is still good,
 *    unless the machine's own code changed it in place: so it must leave the cache.
 */
import type { ActorRecord, ChildState } from '../protocol/record.ts';
import type { MachineEvent, Stimulus } from '../protocol/envelope.ts';
import type { Json } from '../protocol/json.ts';
import { idOf, type ActorKey } from '../protocol/ids.ts';
import type { Decision, LiveActor, Moment } from './decision.ts';
import { childrenOf, persist, type PersistedSnapshot } from './interpreter.ts';
import { jsonFault } from './json-exact.ts';
import { begin, deliver, doneEvent, errorEvent } from './quiescence.ts';
import { rejectionOf, StepRefusal } from './refusal.ts';
import type { RegisteredType } from './registration.ts';
import { invocationKey, NO_CHILDREN, Run, SETTLED, type Live, type LiveChild, type LiveNode, type Part } from './run.ts';
import { entryTimes } from './states.ts';

const IGNORED: Decision = Object.freeze({ kind: 'ignored' });

/**
 * Decides what a stimulus does. `actor` is null when it does not exist: then an event creates it, the machine's entry and the
 * event in one revision. The decision's record has the moment's address as its `head`.
 */
export function step(type: RegisteredType, key: ActorKey, actor: LiveActor | null, stimulus: Stimulus, moment: Moment): Decision {
  if (actor === null && stimulus.kind !== 'event') return IGNORED;
  if (actor !== null && actor.record.status !== 'active') return IGNORED;
  const record = actor?.record;
  const document = stimulus.kind === 'event' ? stimulus.document : undefined;
  const run = new Run(type, key, moment, record, actor?.live as Live | undefined, document);
  type.interpreter.begin();
  try {
    if (stimulus.kind === 'event') {
      if (stimulus.event.type.startsWith('xstate.')) throw new StepRefusal('reserved_event', 'An event named xstate.* may not come from outside.', 'type');
      if (record === undefined) begin(run, inputOf(type, key, stimulus.event));
      deliver(run, run.root, stimulus.event);
    } else if (record === undefined || !react(run, record, stimulus)) {
      return IGNORED;
    }
    return decide(run, actor, stimulus);
  } catch (thrown) {
    return { kind: 'rejected', rejection: rejectionOf(thrown) };
  }
}

function inputOf(type: RegisteredType, key: ActorKey, event: MachineEvent): unknown {
  const id = idOf(key);
  return type.definition.input === undefined ? { id } : type.definition.input(id, event);
}

/** A timer or a settled invocation; false when the record no longer has it. */
function react(run: Run, record: ActorRecord, stimulus: Exclude<Stimulus, { kind: 'event' }>): boolean {
  if (stimulus.kind === 'timer') {
    const timer = Object.hasOwn(record.timers, stimulus.timer) ? record.timers[stimulus.timer] : undefined;
    if (timer === undefined) return false;
    run.timers.cancel(stimulus.timer);
    if (timer.to !== undefined) {
      run.commands.push({ kind: 'message', to: timer.to, event: timer.event });
      return true;
    }
    const part = run.part(timer.target ?? ownerOf(stimulus.timer));
    if (part !== undefined) deliver(run, part, timer.event);
    return true;
  }
  const invocation = Object.hasOwn(record.invocations, stimulus.invocation) ? record.invocations[stimulus.invocation] : undefined;
  if (invocation === undefined || invocation.token !== stimulus.token) return false;
  run.dropInvocation(stimulus.invocation);
  run.childrenChanged = true;
  const id = stimulus.invocation.slice(stimulus.invocation.indexOf('|') + 1);
  const part = run.part(ownerOf(stimulus.invocation));
  const { outcome } = stimulus;
  if (part !== undefined) deliver(run, part, outcome.ok ? doneEvent(id, outcome.output) : errorEvent(id, outcome.error));
  return true;
}

function ownerOf(key: string): string {
  return key.slice(0, key.indexOf('|'));
}

function decide(run: Run, actor: LiveActor | null, stimulus: Stimulus): Decision {
  const { root, commands, emitted } = run;
  const outcome = run.timers.close(run.revision);
  const unmoved = actor !== null && root.snapshot === root.before?.snapshot && !run.childrenChanged && !run.invocationsChanged;
  if (unmoved && commands.length === 0 && emitted.length === 0 && !outcome.structural) {
    if (outcome.changes.length === 0 && run.documentSet === undefined) return IGNORED;
    const recordChanged = outcome.timers !== actor.record.timers;
    const next: LiveActor = recordChanged ? { key: run.key, record: { ...actor.record, timers: outcome.timers }, live: actor.live } : actor;
    return { kind: 'touch', actor: next, recordChanged, timers: outcome.changes, ...documentOf(run) };
  }

  const node = liveNode(root);
  const { snapshot } = node;
  const before = actor?.record;
  const beforeSnapshot = root.before?.snapshot;
  const persisted = snapshot === beforeSnapshot && before !== undefined ? before.snapshot : checkedOutput(persist(snapshot, node.hasReferences));
  const children = run.hasParts && run.childrenChanged ? liveChildren(run) : run.childrenBefore;
  const record: ActorRecord = {
    revision: run.revision,
    version: run.type.version,
    status: snapshot.status,
    snapshot: persisted,
    entered: entryTimes(run.type.machine, beforeSnapshot, snapshot, before?.entered, run.moment.at),
    timers: outcome.timers,
    children: run.childrenChanged ? childStates(run, children, before) : (before?.children ?? {}),
    invocations: run.invocations,
    createdAt: before?.createdAt ?? run.moment.at,
    updatedAt: run.moment.at,
    head: run.moment.address,
  };
  const live: Live = { root: node, children };
  return {
    kind: 'transition',
    actor: { key: run.key, record, live },
    timers: outcome.changes,
    ...documentOf(run),
    stimulus: withoutDocument(stimulus),
    from: (beforeSnapshot?.value as Json | undefined) ?? null,
    to: snapshot.value as Json,
    commands,
    emitted,
    logs: run.logs,
    ...(snapshot.status === 'done' && snapshot.output !== undefined ? { output: snapshot.output as Json } : undefined),
  };
}

function documentOf(run: Run): { readonly document: string } | undefined {
  return run.documentSet === undefined ? undefined : { document: run.documentSet };
}

/** The document is stored beside the record and is no input of the step: the journal does not hold it. */
function withoutDocument(stimulus: Stimulus): Stimulus {
  return stimulus.kind === 'event' && stimulus.document !== undefined ? { kind: 'event', event: stimulus.event } : stimulus;
}

/** The node after the step, its context checked as far as it changed. */
function liveNode(part: Part): LiveNode {
  const { snapshot, before } = part;
  if (snapshot === undefined) throw new StepRefusal('step_threw', 'The actor has no state.');
  if (before !== undefined && snapshot === before.snapshot) return before;
  const sameChildren = before !== undefined && snapshot.children === before.snapshot.children;
  if (before !== undefined && snapshot.context === before.snapshot.context && (sameChildren || !before.hasReferences)) {
    return { snapshot, hasReferences: before.hasReferences };
  }
  let hasReferences = false;
  const children = childrenOf(snapshot);
  // With references the whole context is walked: an old one may point to a child that is gone now.
  const known = before?.hasReferences === false ? before.snapshot.context : undefined;
  const fault = jsonFault(snapshot.context, known, {
    isChild: (reference) => children[reference.id] !== undefined,
    seen: () => {
      hasReferences = true;
    },
  });
  if (fault !== undefined) {
    const where = part.path === '' ? '' : ` of the child "${part.path}"`;
    throw new StepRefusal(
      'context_not_json',
      `The context${where} is not JSON: ${fault.path === '' ? 'it' : fault.path} ${fault.why}.`,
      `context.${fault.path}`,
    );
  }
  return { snapshot, hasReferences };
}

function checkedOutput(persisted: PersistedSnapshot): Json {
  for (const field of ['output', 'error'] as const) {
    if (persisted[field] === undefined) continue;
    const fault = jsonFault(persisted[field]);
    if (fault !== undefined)
      throw new StepRefusal(`${field}_not_json`, `The machine's ${field} is not JSON: ${fault.path} ${fault.why}.`, `${field}.${fault.path}`);
  }
  return persisted as unknown as Json;
}

function liveChildren(run: Run): ReadonlyMap<string, LiveChild> {
  if (run.parts.size === 0) return NO_CHILDREN;
  const children = new Map<string, LiveChild>();
  for (const [path, part] of run.parts) {
    const { source, reference } = part;
    if ('machine' in part) children.set(path, { source, reference, machine: part.machine, node: liveNode(part) });
    else children.set(path, { source, reference, machine: undefined, node: undefined });
  }
  return children;
}

/** The children as the record holds them; a running promise stands among the invocations instead. */
function childStates(run: Run, children: ReadonlyMap<string, LiveChild>, before: ActorRecord | undefined): ActorRecord['children'] {
  const states: Record<string, ChildState> = {};
  const running = new Set(Object.keys(run.invocations));
  for (const [path, { source, node }] of children) {
    if (node === undefined) {
      if (!running.has(invocationKey(path))) states[path] = { source, snapshot: SETTLED };
      continue;
    }
    const old = before?.children[path];
    const unchanged = old !== undefined && run.childrenBefore.get(path)?.node === node;
    states[path] = unchanged ? old : { source, snapshot: checkedOutput(persist(node.snapshot, node.hasReferences)) };
  }
  return states;
}
