/** Types of words.js for the web app: the parts that it uses. */
import type { TransitionView } from '../../protocol/control-plane.ts';

export function statedReason(transition: TransitionView): string | undefined;
export function reasonOf(transition: TransitionView): string;
export function duration(ms: number): string;
export function changeText(transition: TransitionView): string;
