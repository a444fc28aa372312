/**
 * The layer table of ARCHITECTURE.md as a lint rule: who may import whom.
 *
 * 1. A file's layer is the longest folder of the table that it lies in; a file in none is not judged.
 * 2. An import is judged by the file it resolves to, so no spelling of a path gets around the table.
 * 3. Whatever the table does not allow is refused: packages and Node's own modules as well as our layers.
 */
import { dirname, relative, resolve, sep } from 'node:path';

interface Layer {
  /** Folders and files of ours, beside the layer's own folder. */
  readonly imports: readonly string[];
  /** As `imports`, for `import type` alone. */
  readonly importsTypes?: readonly string[];
  /** npm packages and `node:` modules; `*` allows any. */
  readonly packages: readonly string[];
  readonly packageTypes?: readonly string[];
}

export const LAYERS: { readonly [folder: string]: Layer } = {
  'src/protocol': { imports: [], packages: [], packageTypes: ['xstate'] },
  'src/core': { imports: ['src/protocol'], packages: ['xstate'] },
  'src/engine': { imports: ['src/protocol', 'src/core'], packages: [] },
  'src/redis': { imports: ['src/protocol'], importsTypes: ['src/engine/ports.ts', 'src/engine/read-ports.ts'], packages: ['*'] },
  'src/contracts': { imports: ['src/protocol', 'machines', 'src/provisioning'], packages: ['zod', 'node:crypto', 'msgpackr'] },
  'src/control-plane': { imports: ['src/protocol', 'src/core', 'src/engine', 'src/contracts'], packages: ['prom-client'] },
  'src/fleet': { imports: ['src/protocol', 'machines'], packages: ['zod'] },
  'src/history': { imports: ['src/protocol'], packages: ['*'] },
  'src/jobs': { imports: ['src/protocol', 'src/core', 'src/engine', 'src/fleet', 'machines'], packages: ['node:crypto', 'croner'], packageTypes: ['xstate'] },
  'src/provisioning': { imports: ['src/protocol'], packages: ['zod', 'node:crypto', 'node:fs'] },
  'src/devices': { imports: ['src/protocol', 'src/core', 'src/engine', 'src/provisioning', 'machines'], packages: ['node:crypto'], packageTypes: ['xstate'] },
  'src/worker': { imports: ['src/protocol'], packages: [] },
  'src/http': { imports: ['src/protocol'], packages: ['*'] },
  'src/agent': { imports: ['src/protocol', 'src/provisioning', 'machines'], packages: ['*'] },
  'src/testing': { imports: ['src/protocol', 'src/core'], packages: ['xstate'] },
  'src/library': {
    imports: ['src/protocol', 'src/core', 'src/engine', 'src/redis', 'src/jobs', 'src/worker', 'src/contracts', 'machines'],
    packages: ['node:crypto', 'node:os'],
    packageTypes: ['xstate', 'zod'],
  },
  'src/cli': { imports: ['src', 'machines'], packages: ['*'] },
  'src/index.ts': { imports: ['src', 'machines'], packages: ['*'] },
  machines: { imports: ['src/protocol'], importsTypes: ['src/core/actor-type.ts'], packages: ['xstate', 'zod'] },
  'visualizations/inspector': {
    imports: ['src/http/pages'],
    importsTypes: ['src/protocol'],
    packages: ['preact', '@preact/signals'],
  },
  examples: { imports: ['src/index.ts', 'src/testing', 'src/protocol', 'test/redis-server.ts'], packages: ['*'] },
};

interface Literal {
  readonly type: string;
  readonly value?: unknown;
}
interface ImportNode {
  readonly source: Literal | null;
  readonly importKind?: string;
  readonly exportKind?: string;
}
interface RuleContext {
  readonly filename: string;
  readonly cwd: string;
  report(problem: { readonly node: unknown; readonly message: string }): void;
}

/** The reason why `file` may not import `specifier`, or undefined when it may. Paths are relative to the repository, with `/`. */
export function refusal(file: string, specifier: string, typeOnly: boolean): string | undefined {
  const name = layerOf(file);
  const layer = name === undefined ? undefined : LAYERS[name];
  if (name === undefined || layer === undefined) return undefined;
  if (specifier.startsWith('.')) {
    const target = relative('/', resolve('/', dirname(file), specifier))
      .split(sep)
      .join('/');
    const allowed = [name, ...layer.imports, ...(typeOnly ? (layer.importsTypes ?? []) : [])];
    return allowed.some((folder) => contains(folder, target)) ? undefined : `${name} may not import ${target}. It may import ${listed(layer)}.`;
  }
  const allowed = [...layer.packages, ...(typeOnly ? (layer.packageTypes ?? []) : [])];
  return allowed.some((each) => each === '*' || specifier === each || specifier.startsWith(`${each}/`))
    ? undefined
    : `${name} may not import the package "${specifier}". It may import ${listed(layer)}.`;
}

function layerOf(file: string): string | undefined {
  return Object.keys(LAYERS)
    .filter((folder) => contains(folder, file))
    .reduce<string | undefined>((longest, folder) => (longest === undefined || folder.length > longest.length ? folder : longest), undefined);
}

function contains(folder: string, file: string): boolean {
  return file === folder || file.startsWith(`${folder}/`);
}

function listed({ imports, importsTypes = [], packages, packageTypes = [] }: Layer): string {
  const values = [...imports, ...packages.map((each) => (each === '*' ? 'any package' : `"${each}"`))];
  const types = [...importsTypes, ...packageTypes.map((each) => `"${each}"`)].map((each) => `types of ${each}`);
  return [...values, ...types].join(', ') || 'nothing';
}

const rule = {
  create(context: RuleContext) {
    const file = relative(context.cwd, context.filename).split(sep).join('/');
    const check = (node: unknown, source: Literal | null, typeOnly: boolean): void => {
      if (typeof source?.value !== 'string') return;
      const message = refusal(file, source.value, typeOnly);
      if (message !== undefined) context.report({ node, message });
    };
    return {
      ImportDeclaration: (node: ImportNode) => check(node, node.source, node.importKind === 'type'),
      ExportNamedDeclaration: (node: ImportNode) => check(node, node.source, node.exportKind === 'type'),
      ExportAllDeclaration: (node: ImportNode) => check(node, node.source, node.exportKind === 'type'),
      ImportExpression: (node: ImportNode) => check(node, node.source, false),
      TSImportType: (node: ImportNode) => check(node, node.source, true),
    };
  },
};

export default { meta: { name: 'castellan' }, rules: { layers: rule } };
