/** A service of the catalogue, as those who choose are shown it: what it is, what it needs, what can be set. Of the container, nothing. */
export interface CatalogueItem {
  readonly name: string;
  readonly title: string;
  readonly description: string;
  readonly kind: string;
  readonly parameters?: {
    readonly [name: string]: {
      readonly description: string;
      readonly type: 'string' | 'integer' | 'boolean';
      readonly pattern?: string;
      readonly min?: number;
      readonly max?: number;
      readonly default?: string | number | boolean;
      readonly required?: true;
    };
  };
  readonly ports: readonly { readonly container: number; readonly host: number }[];
  readonly gpu?: { readonly required: boolean; readonly memoryMb: number };
  readonly diskGb: number;
  readonly startDeadlineMs: number;
}
