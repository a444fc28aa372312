/**
 * The kernel's one entry: an actor type is registered once, an event is checked, an actor is restored, stepped and serialized.
 * Everything here is pure: no clock, no chance, no input or output (I2).
 */
export { isIndexed, registerActorType, type RegisteredType } from './registration.ts';
export { checkEvent, type EventCheck } from './events.ts';
export { restore, serialize, type ParkedActor } from './restore.ts';
export { step } from './step.ts';
export { fold, type FoldResult } from './fold.ts';
export { inspect, nextEvents, type Inspection } from './inspection.ts';
export { invocationRun, type InvocationRun } from './invocations.ts';
export { jsonFault, type JsonFault } from './json-exact.ts';
