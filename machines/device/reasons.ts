/** "Why is it not running?", in words for a person, and in which state a node's report leaves its device. */
import type { DeviceContext, Report } from './context.ts';

/** States of an approved device, as the machine names them. */
export const OPERATING_STATES = ['registered', 'configuring', 'configured', 'servicesRunning', 'partiallyRunning', 'failed', 'rolledBack', 'drifted'] as const;
export type OperatingState = (typeof OPERATING_STATES)[number];

/** A reason is shown in lists; the whole report stands in the document. Characters. */
const REASON_MAX = 1_024;
const SERVICE_TEXT_MAX = 600;

const RUNNING: ReadonlySet<string> = new Set(['healthy', 'unchanged']);

/** What the report makes of the device, and what it says is missing. */
export function outcomeOf(report: Report, { desired }: DeviceContext): { readonly state: OperatingState; readonly fault: string | null } {
  const { phase, desiredRevision, appliedRevision, services, error } = report;
  const ill = services.filter((service) => service.phase === 'failed' || (service.phase === 'stopped' && isMissed(service.name, report, desired)));
  const untold = ill.filter(({ message }) => message === undefined || error?.message.includes(message) !== true);
  const faults = [...(error === undefined ? [] : [error.field === undefined ? error.message : `${error.field}: ${error.message}`]), ...untold.map(faultOf)];
  const why = faults.join('; ');
  switch (phase) {
    case 'applying':
      return { state: 'configuring', fault: limited(progressOf(report)) };
    case 'recorded':
      return { state: 'configured', fault: 'its services are recorded and not started, as autoStartServices is false' };
    case 'applied':
      if (ill.length > 0) return { state: 'partiallyRunning', fault: limited(why) };
      if (services.every((service) => service.phase === 'stopped')) return { state: 'configured', fault: 'no service was chosen' };
      return { state: 'servicesRunning', fault: null };
    case 'rolled-back':
      return {
        state: 'rolledBack',
        fault: limited(`${revisionOf(desiredRevision)} was taken back, ${runningOn(appliedRevision)}: ${why || 'no reason was given'}`),
      };
    case 'rejected':
      return {
        state: 'failed',
        fault: limited(`the node refused ${revisionOf(desiredRevision)}, ${runningOn(appliedRevision)}: ${why || 'no reason was given'}`),
      };
    case 'drifted':
      return { state: 'drifted', fault: limited(`a service is not as it should be and is being repaired: ${why || listed(services)}`) };
    case 'failed':
      return { state: 'failed', fault: limited(`${revisionOf(desiredRevision)} could not be applied: ${why || 'no reason was given'}`) };
  }
}

/** A service that stands still is missed unless that was asked for, or is what taking a revision back means. */
function isMissed(name: string, { phase, desiredRevision }: Report, desired: DeviceContext['desired']): boolean {
  if (phase === 'rolled-back') return false;
  if (phase !== 'applied' || desiredRevision === null || desired === null) return phase !== 'applied';
  return desired.config.services?.some((choice) => choice.name === name) === true;
}

/** `state`: the one that the device is in. */
export function reasonOf(state: OperatingState, context: DeviceContext): string | null {
  const { node, nodeId, desired, seenAs, silent, fault } = context;
  const away = node === 'offline' ? `its node ${nodeId ?? ''} is offline` : null;
  switch (state) {
    case 'registered': {
      const unseen = seenAs === null ? `its node ${nodeId ?? ''} has not reported yet` : away;
      return [desired === null ? 'no configuration was saved' : null, unseen].filter((part) => part !== null).join('; ') || 'it was just approved';
    }
    case 'configuring': {
      if (away !== null) return `${revisionOf(desired?.revision ?? null)} waits: ${away}`;
      if (silent) return `${revisionOf(desired?.revision ?? null)} was pushed again: the agent has not reported on it`;
      return fault ?? `${revisionOf(desired?.revision ?? null)} was pushed; the agent has not reported on it yet`;
    }
    default:
      return away === null ? fault : fault === null ? away : `${away}; ${fault}`;
  }
}

/** Of a node that was pushed a revision and refuses something that it cannot take for ours. */
export function refusalOf({ desired }: DeviceContext, { error }: Report): string {
  const why = error === undefined ? 'no reason was given' : error.message;
  return limited(`${revisionOf(desired?.revision ?? null)} was pushed; the agent has refused a configuration that it does not take for ours: ${why}`);
}

function progressOf({ services, desiredRevision }: Report): string {
  const waiting = services.filter(({ phase }) => !RUNNING.has(phase));
  // Without the percentage: each would be a revision of the actor. It stands in the document.
  return waiting.length === 0 ? `${revisionOf(desiredRevision)} is being applied` : `${revisionOf(desiredRevision)} is being applied: ${listed(waiting)}`;
}

function listed(services: Report['services']): string {
  return services.map(({ name, phase }) => `${name} is ${phase}`).join(', ');
}

function faultOf({ name, phase, message }: Report['services'][number]): string {
  return message === undefined ? `${name} ${phase}` : `${name} ${phase}: ${message.slice(-SERVICE_TEXT_MAX)}`;
}

function revisionOf(revision: number | null): string {
  return revision === null ? 'a manual configuration' : `revision ${revision}`;
}

function runningOn(revision: number | null): string {
  return revision === null ? 'and the node is as it was before' : `and revision ${revision} runs on`;
}

function limited(text: string): string {
  return text.length <= REASON_MAX ? text : `${text.slice(0, REASON_MAX - 1)}…`;
}
