/** How the pages word states, times and reasons. */

/** The reason that the machine itself gives for what it tells the world; undefined when it tells nothing. */
export function statedReason({ commands }) {
  return commands.map(({ params }) => params?.reason).find((reason) => typeof reason === 'string');
}

/** Why a transition happened: its event and where that came from. */
export function reasonOf({ event, cause }) {
  const delay = /^xstate\.after\.([^.]+)/.exec(event.type)?.[1];
  if (delay !== undefined) return /^\d+$/.test(delay) ? `${duration(Number(delay))} passed` : `timer ${delay}`;
  if (cause.source === 'timer') return `timer ${event.type}`;
  return `${event.type} from ${cause.source.replace(/^(stream|actor):/, '')}`;
}

export function dueText(time) {
  const left = Date.parse(time) - Date.now();
  return left > 0 ? `due in ${duration(left)}` : `due ${duration(-left)} ago`;
}

/** Milliseconds in the two largest units. */
export function duration(ms) {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3_600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3_600)} h ${Math.floor((seconds % 3_600) / 60)} min`;
  return `${Math.floor(seconds / 86_400)} d ${Math.floor((seconds % 86_400) / 3_600)} h`;
}

/** What a transition left and entered: of parallel regions only those that moved. */
export function changeText({ from, to }) {
  const [before, after] = [valueText(from).split(', '), valueText(to).split(', ')];
  const [left, entered] = [before.filter((part) => !after.includes(part)), after.filter((part) => !before.includes(part))];
  return left.length + entered.length === 0 ? 'no change of state' : `${left.join(', ') || '…'} → ${entered.join(', ') || '…'}`;
}

/** `{connection: 'online', health: {disk: 'ok'}}` as `connection.online, health.disk.ok`. */
export function valueText(value) {
  if (value === null || value === undefined) return '(new)';
  if (typeof value === 'string') return value;
  return Object.entries(value)
    .flatMap(([name, inner]) =>
      valueText(inner) === ''
        ? [name]
        : valueText(inner)
            .split(', ')
            .map((part) => `${name}.${part}`),
    )
    .join(', ');
}
