/** Makes kinds of jobs, with the types that follow from their schemas. */
import type { JobDefaults, JobDefinition, JobHandler, JobKind } from '../protocol/job-handler.ts';
import type { Json } from '../protocol/json.ts';
import type { Schema } from '../protocol/schema.ts';

type InputOf<Of> = Of extends { readonly '~standard': { readonly types?: { readonly input: infer Input } | undefined } } ? Input : Json;
type OutputOf<Of> = Of extends { readonly '~standard': { readonly types?: { readonly output: infer Output } | undefined } } ? Output : Json;

export interface JobKindOptions<Type extends string, PayloadSchema extends Schema | undefined, ResultSchema extends Schema | undefined> extends JobDefaults {
  readonly type: Type;
  readonly payload?: PayloadSchema;
  readonly result?: ResultSchema;
}
export interface JobOptions<
  Type extends string,
  PayloadSchema extends Schema | undefined,
  ResultSchema extends Schema | undefined,
  Result,
> extends JobKindOptions<Type, PayloadSchema, ResultSchema> {
  readonly handler: JobHandler<OutputOf<PayloadSchema>, Result>;
}

/**
 * A kind of job: with a handler a worker can do it, without one it is for submitting alone, and `handleJob` gives it its handler
 * in the worker's program.
 */
export function defineJob<
  const Type extends string,
  Result,
  PayloadSchema extends Schema | undefined = undefined,
  ResultSchema extends Schema<Awaited<Result>> | undefined = undefined,
>(
  options: JobOptions<Type, PayloadSchema, ResultSchema, Result>,
): JobDefinition<Type, InputOf<PayloadSchema>, OutputOf<PayloadSchema>, ResultSchema extends Schema ? OutputOf<ResultSchema> : Awaited<Result>>;
export function defineJob<const Type extends string, PayloadSchema extends Schema | undefined = undefined, ResultSchema extends Schema | undefined = undefined>(
  options: JobKindOptions<Type, PayloadSchema, ResultSchema>,
): JobKind<Type, InputOf<PayloadSchema>, OutputOf<PayloadSchema>, OutputOf<ResultSchema>>;
export function defineJob(options: JobKind): JobKind {
  return options;
}

/** Gives a kind its handler. */
export function handleJob<Type extends string, Input, Payload, Result>(
  kind: JobKind<Type, Input, Payload, Result>,
  handler: JobHandler<Payload, Result>,
): JobDefinition<Type, Input, Payload, Result> {
  return { ...kind, handler };
}
