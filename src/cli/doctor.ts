/** `castellan doctor`: what this machine lacks, and the one command that gets it. */
import { Command } from 'commander';
import { DOCTOR_CHECKS, type Finding } from './doctor-checks.ts';
import { environmentWith, type Environment } from './settings.ts';

export interface Diagnosis extends Finding {
  readonly check: string;
}

/** All checks, in their order. A check that itself fails is a finding. */
export async function diagnose(environment: Environment): Promise<readonly Diagnosis[]> {
  return await Promise.all(
    DOCTOR_CHECKS.map(async ({ name, run }): Promise<Diagnosis> => {
      try {
        return { check: name, ...(await run(environment)) };
      } catch (error) {
        return { check: name, status: 'missing', detail: error instanceof Error ? error.message : String(error) };
      }
    }),
  );
}

/** Aligned lines for a person; under each finding that is not ok, what to do. */
export function renderDiagnoses(diagnoses: readonly Diagnosis[]): string {
  const width = Math.max(...diagnoses.map(({ check }) => check.length));
  const lines = diagnoses.flatMap(({ check, status, detail, fix }) => [
    `${status.padEnd(7)}  ${check.padEnd(width)}  ${detail}`,
    ...(fix === undefined ? [] : [`${' '.repeat(9 + width)}  → ${fix}`]),
  ]);
  const missing = diagnoses.filter(({ status }) => status === 'missing').length;
  const verdict = missing === 0 ? 'Castellan can start here: npm start' : `Castellan cannot start here yet: ${missing} missing.`;
  return [...lines, '', verdict].join('\n');
}

export function doctorCommand(): Command {
  return new Command('doctor')
    .description('say what this machine lacks, and the command that gets it; exit code 1 when something needed is missing')
    .option('--json', 'for programs')
    .action(async (flags: { readonly json?: boolean }) => {
      const diagnoses = await diagnose(environmentWith({}));
      console.log(flags.json ? JSON.stringify(diagnoses, null, 2) : renderDiagnoses(diagnoses));
      if (diagnoses.some(({ status }) => status === 'missing')) process.exitCode = 1;
    });
}
