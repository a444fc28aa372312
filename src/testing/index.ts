/** The public face of the machine test kit. */
export { given, TestActor, type GivenOptions } from './given.ts';
export type { ArmedTimer } from './virtual-timers.ts';
