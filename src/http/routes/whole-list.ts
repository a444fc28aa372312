/** Pages through a list that is short and comes whole (machines, partitions): its cursor is the index to go on from. */
import type { Page, PageQuery } from '../../protocol/control-plane.ts';
import { CursorGoneError } from '../../protocol/errors.ts';

export function pageThrough<Item>(
  items: readonly Item[],
  { cursor, limit }: { readonly cursor?: string | undefined; readonly limit: PageQuery['limit'] },
): Page<Item> {
  if (cursor !== undefined && !/^[0-9]{1,6}$/.test(cursor)) throw new CursorGoneError(cursor);
  const start = Number(cursor ?? 0);
  const end = start + limit;
  return { items: items.slice(start, end), next: end < items.length ? String(end) : null };
}
