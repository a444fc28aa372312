/**
 * The kernel's one entry: an actor type is registered once, an event is checked, an actor is restored, stepped and serialized.
 * Everything here is pure: no clock, no chance, no input or output (I2).
 */
export { isIndexed, registerActorType, type RegisteredType } from './registration.ts';
export { checkEvent } from './events.ts';
export { restore, serialize, type ParkedActor } from './restore.ts';
export { step } from './step.ts';
export { fold } from './fold.ts';
export { inspect, nextEvents } from './inspection.ts';
export { invocationRun } from './invocations.ts';
