export function audit(): string[];
