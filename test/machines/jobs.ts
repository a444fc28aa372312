/** Jobs for the tests of their machine. */
import { jobType } from '../../machines/job/definition.ts';
import type { JobSpec } from '../../machines/job/events.ts';
import { registerActorType } from '../../src/core/kernel.ts';
import type { MachineEvent } from '../../src/protocol/envelope.ts';
import type { Json } from '../../src/protocol/json.ts';
import { given, type TestActor } from '../../src/testing/index.ts';

export const definition = jobType({ place: () => Promise.reject(new Error('never run here')) });
export const type = registerActorType(definition);

export const WORKER = { worker: 'castellan:gpu-1:1', nodeId: 'gpu-1' };

export function submit(spec: Partial<JobSpec> = {}): MachineEvent {
  return { type: 'submit', spec: { type: 'ECHO', via: 'queue', ...spec } as unknown as Json };
}

/** `job/j1`, submitted. */
export function submitted(spec: Partial<JobSpec> = {}, id = 'j1'): TestActor {
  return given(type, { id }).when(submit(spec));
}

/** A report of the worker about an attempt. */
export function report(name: string, attempt = 1, more: object = {}): MachineEvent {
  return { type: name, attempt, ...WORKER, entry: `${attempt}-0`, ...more };
}

/** With a worker of ours. */
export function processing(spec: Partial<JobSpec> = {}, id = 'j1'): TestActor {
  return submitted(spec, id).when(report('claimed'));
}

/** Attempts that the newest verb posted. */
export function posted(job: TestActor): readonly Json[] {
  return job.messages.filter(({ event }) => event.type === 'post').map(({ event }) => event['attempt'] as Json);
}

export function buried(job: TestActor): readonly object[] {
  return job.messages.filter(({ event }) => event.type === 'bury').map(({ event }) => event);
}

export function context(job: TestActor): { readonly [field: string]: Json } {
  return job.context as { readonly [field: string]: Json };
}
