/** User codes as people read and type them: eight letters without vowels; case, dashes and spaces do not matter. */
const ALPHABET = 'BCDFGHJKLMNPQRSTVWXZ';
const LENGTH = 8;

function lettersOf(typed: string): string {
  return typed.toUpperCase().replaceAll(/[\s\p{Pd}]/gu, '');
}

/** `XXXX-XXXX`; what is not that long stays as it is. */
export function shownCode(typed: string): string {
  const letters = lettersOf(typed);
  return letters.length === LENGTH ? `${letters.slice(0, LENGTH / 2)}-${letters.slice(LENGTH / 2)}` : letters;
}

/** What is wrong with a code, or undefined when it may be one. */
export function codeFault(typed: string): string | undefined {
  const letters = lettersOf(typed);
  if (letters === '') return 'Enter the code that the device shows.';
  const stranger = Array.from(letters).find((letter) => !ALPHABET.includes(letter));
  if (stranger !== undefined) return `“${stranger}” is in no code: they have only the letters ${ALPHABET}.`;
  return letters.length === LENGTH ? undefined : `A code has ${LENGTH} letters; this has ${letters.length}.`;
}
