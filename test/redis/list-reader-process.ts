/** A process that reads a list until it is killed: `node list-reader-process.ts <url> <prefix> <list> <name>`. */
import { connectedReader } from './list-readers.ts';

const [url, prefix, list, name] = process.argv.slice(2) as [string, string, string, string];
const reader = await connectedReader(url, prefix, name);
process.send?.('reading');
await reader.read(list, new AbortController().signal);
