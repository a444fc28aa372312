/**
 * Nodes and their fleets in one virtual world: the kernel's steps, a clock, and messages that arrive in order.
 *
 * 1. Nothing is asynchronous: what an event causes has happened when `send` or `advance` returns.
 * 2. Timers fire in due order, at their due time. `close` is a time in which nobody listened: observed time stands still,
 *    and every liveness timer has its whole deadline again after it, as the engine does it.
 * 3. Every step is checked to be the same from the stored record as from memory.
 */
import assert from 'node:assert/strict';
import { fleetType } from '../../machines/fleet/definition.ts';
import type { FleetContext } from '../../machines/fleet/machine.ts';
import { nodeType } from '../../machines/node/definition.ts';
import type { NodeStateChange } from '../../machines/node/events.ts';
import type { NodeContext } from '../../machines/node/machine.ts';
import type { HeartbeatSettings } from '../../machines/node/settings.ts';
import type { Decision, LiveActor } from '../../src/core/decision.ts';
import { registerActorType, restore, serialize, step, type RegisteredType } from '../../src/core/kernel.ts';
import type { EffectCommand, MessageCommand } from '../../src/protocol/command.ts';
import type { MachineEvent, Stimulus } from '../../src/protocol/envelope.ts';
import { idOf, typeOf, type ActorKey } from '../../src/protocol/ids.ts';

interface Actor {
  live: LiveActor;
  document: string | undefined;
  readonly due: Map<string, number>;
}

export class World {
  now = 1_700_000_000_000;
  readonly effects: (EffectCommand & { readonly actor: ActorKey })[] = [];
  /** Messages sent so far, also those that were lost. */
  readonly messages: MessageCommand[] = [];
  /** Decisions so far, by kind. */
  readonly decisions = { ignored: 0, touch: 0, transition: 0 };
  readonly #types: { readonly [type: string]: RegisteredType };
  readonly #actors = new Map<ActorKey, Actor>();
  readonly #muted = new Set<ActorKey>();

  constructor(heartbeat?: HeartbeatSettings) {
    this.#types = { node: registerActorType(nodeType(heartbeat)), fleet: registerActorType(fleetType(heartbeat)) };
  }

  send(key: ActorKey, event: MachineEvent, document?: string): Decision {
    return this.#step(key, document === undefined ? { kind: 'event', event } : { kind: 'event', event, document });
  }

  /** A status of a healthy node; the facts can be set. */
  beat(id: string, facts: Partial<MachineEvent> = {}): Decision {
    const event = { type: 'status', orgId: 'acme', name: id, services: 'ok', gpuTemperature: 50, diskPercent: 40, ...facts };
    return this.send(`node/${id}`, event, `{"at":${this.now}}`);
  }

  /** Messages to this actor are lost from now on, as if its partition had no owner. */
  mute(key: ActorKey): void {
    this.#muted.add(key);
  }

  advance(ms: number): void {
    const end = this.now + ms;
    for (;;) {
      const next = this.#nextTimer();
      if (next === undefined || next.due > end) break;
      this.now = next.due;
      next.actor.due.delete(next.timer);
      this.#step(next.key, { kind: 'timer', timer: next.timer });
    }
    this.now = end;
  }

  /** Nobody listens for so long; then all liveness deadlines start again in full. */
  close(ms: number): void {
    this.now += ms;
    for (const actor of this.#actors.values()) {
      for (const timer of actor.due.keys()) {
        const { clock, deadlineMs } = actor.live.record.timers[timer] ?? {};
        if (clock === 'liveness' && deadlineMs !== undefined) actor.due.set(timer, this.now + deadlineMs);
      }
    }
  }

  value(key: ActorKey): unknown {
    return this.#snapshot(key).value;
  }

  /** What is shown of a node. */
  shown(id: string): string {
    return (this.value(`node/${id}`) as { readonly connection: string }).connection;
  }

  watch(id: string): string {
    return (this.value(`node/${id}`) as { readonly watch: string }).watch;
  }

  node(id: string): NodeContext {
    return this.#snapshot(`node/${id}`).context as NodeContext;
  }

  fleet(org = 'acme'): FleetContext {
    return this.#snapshot(`fleet/${org}`).context as FleetContext;
  }

  document(key: ActorKey): string | undefined {
    return this.#actors.get(key)?.document;
  }

  revision(key: ActorKey): number {
    return this.#actor(key).live.record.revision;
  }

  timers(key: ActorKey): readonly string[] {
    return [...this.#actor(key).due.keys()];
  }

  nodeChanges(): readonly (NodeStateChange & { readonly nodeId: string })[] {
    return this.effects.filter(({ name }) => name === 'publishNodeState').map(({ actor, params }) => ({ ...(params as NodeStateChange), nodeId: idOf(actor) }));
  }

  incidents(): readonly string[] {
    return this.effects.filter(({ name }) => name === 'publishFleetIncident').map(({ params }) => (params as { readonly incident: string }).incident);
  }

  #step(key: ActorKey, stimulus: Stimulus): Decision {
    const type = this.#types[typeOf(key)];
    assert(type !== undefined);
    const actor = this.#actors.get(key);
    const moment = { at: this.now, address: '0:1-1:0' };
    const decision = step(type, key, actor?.live ?? null, stimulus, moment);
    if (decision.kind === 'rejected') throw new Error(`${key} rejected ${JSON.stringify(stimulus)}: ${decision.rejection.reason}`);
    this.decisions[decision.kind]++;
    if (actor !== undefined) {
      const restored = restore(type, key, serialize(actor.live));
      assert('live' in restored, 'the record fits its machine');
      assert.deepEqual(outline(step(type, key, restored, stimulus, moment)), outline(decision));
    }
    if (decision.kind === 'ignored') return decision;
    const next: Actor = actor ?? { live: decision.actor, document: undefined, due: new Map() };
    next.live = decision.actor;
    if (decision.document !== undefined) next.document = decision.document;
    this.#actors.set(key, next);
    for (const change of decision.timers) {
      if (change.kind === 'arm') next.due.set(change.key, this.now + change.delayMs);
      else next.due.delete(change.key);
    }
    if (decision.kind === 'transition') {
      for (const command of decision.commands) {
        if (command.kind === 'effect') {
          this.effects.push({ ...command, actor: key });
          continue;
        }
        this.messages.push(command);
        if (!this.#muted.has(command.to)) this.send(command.to, command.event);
      }
    }
    return decision;
  }

  #nextTimer(): { readonly key: ActorKey; readonly actor: Actor; readonly timer: string; readonly due: number } | undefined {
    let next: { readonly key: ActorKey; readonly actor: Actor; readonly timer: string; readonly due: number } | undefined;
    for (const [key, actor] of this.#actors) {
      for (const [timer, due] of actor.due) if (next === undefined || due < next.due) next = { key, actor, timer, due };
    }
    return next;
  }

  #snapshot(key: ActorKey): { readonly value: unknown; readonly context: unknown } {
    return this.#actor(key).live.record.snapshot as unknown as { readonly value: unknown; readonly context: unknown };
  }

  #actor(key: ActorKey): Actor {
    const actor = this.#actors.get(key);
    if (actor === undefined) throw new Error(`there is no ${key}`);
    return actor;
  }
}

/** All of a decision that is stored or delivered. */
function outline(decision: Decision): unknown {
  if (decision.kind === 'ignored' || decision.kind === 'rejected') return decision;
  return { ...decision, actor: JSON.parse(serialize(decision.actor)) };
}
