/**
 * Castellan as a library: durable XState machines over Redis. See docs/bring-your-own-machine.md.
 *
 * ```ts
 * const castellan = await createCastellan({ redis: 'redis://127.0.0.1:6379', types: [order] }).start();
 * await castellan.send('order', 'o-17', { type: 'submit' }, { dedupeId: 'click-17' });
 * ```
 */
import type { ActorType } from './library/actor-type.ts';
import { JobClient, type JobClientOptions } from './library/jobs.ts';
import { Castellan, CastellanClient, type CastellanOptions, type ClientOptions } from './library/castellan.ts';
import { JobWorker, type CreateWorkerOptions } from './library/worker.ts';

/**
 * An engine that runs the actor types, and a client of it. Connects nothing before `start()`.
 * Throws MachineNotDurableError with every fault, and MissingExecutorError.
 */
export function createCastellan<const Types extends readonly ActorType[]>(options: CastellanOptions<Types>): Castellan<Types> {
  return new Castellan(options);
}

/** A client alone: sends, reads, waits and follows, while the engine runs in another process. Throws MachineNotDurableError. */
export function createClient<const Types extends readonly ActorType[]>(options: ClientOptions<Types>): CastellanClient<Types> {
  return new CastellanClient(options);
}

/**
 * A worker: takes jobs from queues and does them. Connects nothing before `start()`. Throws InvalidSettingError.
 *
 * ```ts
 * const resize = defineJob({ type: 'resize', payload: z.object({ width: z.number() }), handler: async ({ payload, signal }) => … });
 * const worker = await createWorker({ redis: 'redis://127.0.0.1:6379', jobs: [resize], concurrency: 20 }).start();
 * ```
 */
export function createWorker(options: CreateWorkerOptions): JobWorker {
  return new JobWorker(options);
}

export { defineJob, handleJob, type JobKindOptions, type JobOptions } from './worker/define-job.ts';
export type { CreateWorkerOptions, JobWorker } from './library/worker.ts';
export type { AnyJobDefinition, Job, JobDefaults, JobDefinition, JobHandler, JobKind } from './protocol/job-handler.ts';
export type { WorkerCounts } from './worker/worker.ts';

/** A client that submits jobs, waits for them and manages queues and schedules, while engine and workers run anywhere. Connects nothing before `start()`. */
export function createJobClient(options: JobClientOptions): JobClient {
  return new JobClient(options);
}

export { actorType, type ActorOf, type ActorType, type ActorTypeOptions, type Effect, type EffectExecutor, type EventOf } from './library/actor-type.ts';
export { type EventSchemas, type ExecutorsOf } from './library/actor-type.ts';
export type { Castellan, CastellanClient, CastellanOptions, ClientOptions, Condition, EmittedEvents, FollowOptions, Log } from './library/castellan.ts';
export type { SendOptions, Settled, WaitOptions } from './library/castellan.ts';

export {
  createTaskUpdates,
  type ChannelMessages,
  type MessageOf,
  type TaskUpdates,
  type TaskUpdatesOptions,
  type UpdateHandler,
} from './library/task-updates.ts';
export type { GeneralUpdateMessage, TaskStatus, TaskUpdate, TaskUpdateMessage } from './contracts/task-message.ts';
export { closeRedis, initRedis, RedisStreamsClient, shieldJobId } from './library/redis-streams-client.ts';
export type { ReadEvent, ReadStreamOptions, ReadTask, RedisStreamsOptions } from './library/redis-streams-client.ts';
export type { ShieldCodec } from './contracts/shield-codec.ts';
export type { ShieldEvent, ShieldTask } from './contracts/shield-entry.ts';
export type { RedisOption } from './library/redis-option.ts';
export type { GroupInfo, StreamInfo } from './redis/group-streams.ts';

export { jobRequest, type AddedJob, type AddOptions, type AnyJobKind, type JobClient, type JobClientOptions } from './library/jobs.ts';
export type {
  Backoff,
  JobCommandResult,
  JobLogLine,
  JobQuery,
  JobRequest,
  JobRequirements,
  JobState,
  JobView,
  QueueLimits,
  QueueView,
  RequeuePolicy,
  ScheduleRequest,
  ScheduleView,
  SubmittedJob,
} from './protocol/job.ts';

export { durableActor } from './protocol/actor-reference.ts';
export * from './protocol/errors.ts';
export { DEFAULT_SETTINGS, type EngineSettings } from './engine/settings.ts';
export { DEFAULT_STORE_SETTINGS, type StoreSettings } from './redis/store.ts';
export { startEmbeddedRedis, type EmbeddedRedis, type EmbeddedRedisOptions } from './redis/embedded.ts';
export { SET_DOCUMENT, type ActorTypeDefinition, type SetDocumentParams } from './core/actor-type.ts';

export type { ActorState } from './engine/client.ts';
export type { EngineReport } from './engine/engine.ts';
export type { FollowedTransition } from './engine/hub.ts';
export type { AppendResult, Retention } from './engine/ports.ts';
export type { Command, EffectCommand, MessageCommand } from './protocol/command.ts';
export type { DeadLetter } from './protocol/dead-letter.ts';
export type { ActorStatus, Cause, EventSource, InvocationOutcome, MachineEvent, Stimulus } from './protocol/envelope.ts';
export type { ActorKey } from './protocol/ids.ts';
export type { Json, JsonObject } from './protocol/json.ts';
export type { ActorRecord, MachineEventJson, TimerState, Transition } from './protocol/record.ts';
export type { Schema } from './protocol/schema.ts';
export type { Outlet, OutletEntry } from './protocol/outlet.ts';
export type { ChannelSource, DecodedEntry, DecodedMessage, EntryFields, ListSource, ReadMessage, RejectedEntry, StreamSource } from './protocol/source.ts';
