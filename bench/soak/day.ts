/** A day of trading, pressed together: from 0 to 1 of it, which share of the clients trade. */
const CURVE: readonly (readonly [until: number, share: (at: number) => number])[] = [
  [0.2, () => 0.1], // night
  [0.35, (at) => 0.1 + 0.6 * ((at - 0.2) / 0.15)], // the morning: ever more of them
  [0.45, () => 0.7],
  [0.5, () => 1], // a burst at the opening
  [0.6, () => 0.5], // noon
  [0.63, () => 1], // short ones
  [0.68, () => 0.5],
  [0.71, () => 1],
  [0.85, (at) => 0.7 - 0.6 * ((at - 0.71) / 0.14)],
  [1, () => 0.1], // evening
];

/** How many of so many clients trade at this moment of the day (0 to 1, and over again); one at least. */
export function activeAt(day: number, clients: number): number {
  const at = day - Math.floor(day);
  const share = (CURVE.find(([until]) => at < until)?.[1] ?? (() => 0.1))(at);
  return Math.max(1, Math.round(share * clients));
}
