import type { CommitId } from './ports.ts';

/**
 * Why a partition is dropped. `ref`: the entry or timer that must be applied alone. `stored`: the newest commit that Redis has.
 * `refused`: a stream took in no posts of a commit, which are in the stored outbox now; what was built meanwhile might overtake them.
 */
export type Loss =
  | { readonly why: 'refused' }
  | { readonly why: 'fenced' }
  | { readonly why: 'diverged'; readonly stored: CommitId }
  | { readonly why: 'overtaken' }
  | { readonly why: 'isolate'; readonly ref: string };
