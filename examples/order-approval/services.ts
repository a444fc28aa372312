/**
 * Stand-ins for the services around the orders. They fail as real ones do, and tell a repeat by its key.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Outside } from './actor-types.ts';
import type { Services } from './machine.ts';

/** Answers take so long, ms. */
const LATENCY_MS = 60;

/** `say` hears what a service does. The risk check of every order fails twice and then succeeds. */
export function createServices(say: (service: string, text: string) => void): Services {
  return {
    async assessRisk({ order, attempt }, signal) {
      await sleep(LATENCY_MS, undefined, { signal });
      if (attempt <= 2) {
        say('risk', `check ${attempt} of ${order}: 503, try again later`);
        throw new Error('503');
      }
      say('risk', `check ${attempt} of ${order}: harmless`);
      return 0.1;
    },
    async authorise({ key, totalCents }, signal) {
      await sleep(LATENCY_MS, undefined, { signal });
      say('bank', `puts ${totalCents / 100} € aside under the key ${key}`);
      return { authorisation: `auth-${key}` };
    },
    async capture({ key, authorisation }, signal) {
      await sleep(LATENCY_MS, undefined, { signal });
      say('bank', `takes the money of ${authorisation}`);
      return { receipt: `receipt-${key}` };
    },
  };
}

/** The mail service is down for the first mail, and sends nothing twice. */
export function createOutside(say: (service: string, text: string) => void): Outside {
  const seen = new Set<string>();
  let down = true;
  const once = (key: string, service: string, text: string): void => {
    if (seen.has(key)) return say(service, `has seen the key ${key} and does nothing`);
    seen.add(key);
    say(service, text);
  };
  return {
    async mail({ to, text }, key) {
      await sleep(LATENCY_MS);
      if (down) {
        down = false;
        say('mail', `is down; it will be asked again under the key ${key}`);
        throw new Error('the mail service is down');
      }
      once(key, 'mail', `to ${to}: "${text}" (key ${key})`);
    },
    async addTask(text, key) {
      await sleep(LATENCY_MS);
      once(key, 'tasks', `manager: ${text}`);
    },
  };
}
