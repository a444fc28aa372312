/**
 * What both sides of the job benchmark submit: the size of a small inference request. A payload below 64 bytes would flatter BullMQ's
 * memory, because Redis packs a hash of tiny values; nobody's jobs are that small.
 */
const PROMPT =
  'Summarise the following incident report in two sentences and name the component at fault: the ingest service stopped taking entries at 03:12 because';

export function jobPayload(number: number): { readonly number: number; readonly model: string; readonly prompt: string } {
  return { number, model: 'meta-llama/Llama-3-8b', prompt: PROMPT };
}

export function jobResult(number: number): { readonly number: number; readonly text: string } {
  return { number, text: 'The disk of the ingest node was full; the ingest service is at fault.' };
}
