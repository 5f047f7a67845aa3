// How finely the highest rate is found. A choice: finer takes more runs.
const PRECISION = 1.05;
const STEP = 1.25;
// From a tenth of the guess to ten times it.
const STEPS_LIMIT = 12;

/**
 * The highest rate that `sustained` answers for, to a twentieth, from a tenth of a guess to ten times it; 0 where even that tenth
 * is too much. It asks about six times near the guess, and 16 times at most.
 */
export async function highestRate(guess: number, sustained: (rate: number) => Promise<boolean>): Promise<number> {
  let good = 0;
  let bad = Number.POSITIVE_INFINITY;
  let rate = guess;
  for (let step = 0; step < STEPS_LIMIT && (good === 0 || bad === Number.POSITIVE_INFINITY); step++) {
    if (await sustained(Math.round(rate))) good = rate;
    else bad = rate;
    rate = good === 0 ? bad / STEP : good * STEP;
  }
  while (good > 0 && bad < Number.POSITIVE_INFINITY && bad / good > PRECISION) {
    const middle = Math.sqrt(good * bad);
    if (await sustained(Math.round(middle))) good = middle;
    else bad = middle;
  }
  return Math.round(good);
}
