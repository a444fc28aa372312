/** How the engine runs the promise of an invocation that stands in a record. */
import type { ActorRecord } from '../protocol/record.ts';
import type { Json } from '../protocol/json.ts';
import type { ActorSource, PreparedMachine, RegisteredType } from './registration.ts';
import { childPath } from './run.ts';

/** Runs the promise; the signal aborts when the invoking state is left or the owner stops. */
export type InvocationRun = (input: Json, signal: AbortSignal) => Promise<unknown>;

/** The promise logic of an invocation, by its key `<child path>|<invoke id>`; undefined when the machine has none of that name. */
export function invocationRun(type: RegisteredType, record: ActorRecord, key: string): InvocationRun | undefined {
  const invocation = Object.hasOwn(record.invocations, key) ? record.invocations[key] : undefined;
  const owner = machineAt(type, record, key.slice(0, key.indexOf('|')));
  const source = invocation === undefined ? undefined : owner?.actors.get(invocation.source);
  if (source?.kind !== 'promise') return undefined;
  return async (input, signal) => await source.run({ input, signal });
}

function machineAt(type: RegisteredType, record: ActorRecord, path: string): PreparedMachine | undefined {
  let machine: PreparedMachine | undefined = type.machine;
  let at = '';
  for (const id of path === '' ? [] : path.split('/')) {
    at = childPath(at, id);
    const source: ActorSource | undefined = machine?.actors.get(record.children[at]?.source ?? '');
    machine = source?.kind === 'machine' ? source.machine : undefined;
  }
  return machine;
}
